//! kube-proxy's file gives what its words mean here, and what has no effect is named.

use std::ffi::OsString;

use super::{KIND, VERSION};
use crate::settings::tests::{ConfigFile, read, read_remarked};
use crate::settings::{Settings, SettingsError};

/// What kubeadm writes, with the values of a cluster.
const KUBEADM: &str = "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: \"\"
  burst: 0
  contentType: \"\"
  kubeconfig: \"\"
  qps: 0
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
detectLocal:
  bridgeInterface: \"\"
  interfaceNamePrefix: \"\"
detectLocalMode: \"\"
enableProfiling: false
healthzBindAddress: \"\"
hostnameOverride: Node-A
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: \"0\"
  verbosity: 0
metricsBindAddress: \"\"
mode: \"\"
nodePortAddresses: null
oomScoreAdj: null
";

/// Settings and remarks of kube-proxy's file.
fn read_kube_proxys(name: &str, text: &str) -> Result<(Settings, Vec<String>), SettingsError> {
    let file = ConfigFile::new(name, text);
    let arguments = ["lb".to_owned(), file.flag()];
    read_remarked(arguments.iter().map(OsString::from), &[])
}

#[test]
fn what_kubeadm_wrote_for_kube_proxy_is_taken_without_a_remark() {
    let (settings, remarks) = read_kube_proxys("kubeadm", KUBEADM).expect("settings");
    assert_eq!(remarks, Vec::<String>::new());
    let the_same = read(
        &[
            "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56",
            "--node-name=node-a",
            "--nodeport-addresses=0.0.0.0/0,::/0",
        ],
        &[],
    );
    assert_eq!(settings, the_same.expect("settings"));
}

#[test]
fn kube_proxys_fields_are_taken_mapped_or_named() {
    let head = format!("apiVersion: {VERSION}\nkind: {KIND}\n");
    for (name, text, flags, remarked) in [
        (
            "nftables",
            "mode: nftables\nnftables: {masqueradeAll: true, syncPeriod: 30s}",
            &["--masquerade-all"][..],
            &[][..],
        ),
        (
            "other-mode",
            "mode: ipvs\nnftables: {masqueradeAll: true}\nnodePortAddresses: [primary]\n\
             ipvs: {scheduler: rr, syncPeriod: 1m}",
            &[],
            &[
                ":6: ipvs.scheduler: rr: ignored: there is no IPVS",
                ":6: ipvs.syncPeriod: 1m: ignored",
            ],
        ),
        (
            "addresses",
            "mode: nftables\nbindAddress: 192.0.2.1\nhealthzBindAddress: 127.0.0.1:7\n\
             metricsBindAddress: 0.0.0.0\nnodePortAddresses: [192.0.2.0/24, 10.0.0.0/8]",
            &[
                "--node-address=192.0.2.1",
                "--healthz-bind-address=127.0.0.1:7",
                "--metrics-bind-address=0.0.0.0:10249",
                "--nodeport-addresses=192.0.2.0/24,10.0.0.0/8",
            ],
            &[],
        ),
        (
            "by-node",
            "mode: nftables\ndetectLocalMode: NodeCIDR\nclusterCIDR: 10.42.0.0/16",
            &[],
            &[],
        ),
        (
            "by-link",
            "mode: nftables\ndetectLocalMode: InterfaceNamePrefix\n\
             detectLocal: {interfaceNamePrefix: cali}",
            &["--pod-link=cali*"],
            &[],
        ),
        (
            "times",
            "mode: nftables\nconntrack: {tcpEstablishedTimeout: 2h0m30s, udpTimeout: 0s, min: 7}",
            &["--timeouts=tcp-established=7230"],
            &[":4: conntrack.min: 7: ignored: flows of Services are not nf_conntrack's here"],
        ),
        (
            "unknown",
            "mode: nftables\nfeatureGates: {A: true}\nmodes: [a]\nipvs: {strictArp: true}",
            &[],
            &[
                ":4: featureGates.A: true: ignored: they are kube-proxy's",
                ":6: ipvs.strictArp: true: ignored",
                ":5: modes: a: ignored: Kubernetes 1.36 has no such field",
            ],
        ),
    ] {
        let (settings, remarks) = read_kube_proxys(name, &(head.clone() + text)).expect(name);
        assert_eq!(settings, read(flags, &[]).expect(name), "{name}");
        assert_eq!(remarks.len(), remarked.len(), "{name}: {remarks:?}");
        for (remark, expected) in remarks.iter().zip(remarked) {
            assert!(remark.contains(expected), "{name}: {remark}");
        }
    }
}

/// Every field of Kubernetes 1.36, with a value that asks for something.
const EVERYTHING: &str = "\
bindAddress: 192.0.2.1
bindAddressHardFail: true
clientConnection: {acceptContentTypes: a, burst: 1, contentType: b, kubeconfig: /etc/lb/kubeconfig, qps: 2}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 1s
conntrack: {maxPerCore: 1, min: 2, tcpBeLiberal: true, tcpCloseWaitTimeout: 3s, tcpEstablishedTimeout: 4s,
  udpStreamTimeout: 5s, udpTimeout: 6s}
detectLocal: {bridgeInterface: br0, interfaceNamePrefix: cali}
detectLocalMode: InterfaceNamePrefix
enableProfiling: true
featureGates: {A: true}
healthzBindAddress: 127.0.0.1:7
hostnameOverride: node-a
iptables: {localhostNodePorts: true, masqueradeAll: true, masqueradeBit: 1, minSyncPeriod: 2s, syncPeriod: 3s}
ipvs: {excludeCIDRs: [10.0.0.0/8], minSyncPeriod: 1s, scheduler: rr, strictARP: true, syncPeriod: 2s, tcpFinTimeout: 3s,
  tcpTimeout: 4s, udpTimeout: 5s}
logging: {flushFrequency: 1s, format: json, options: {json: {infoBufferSize: 1, splitStream: true},
  text: {infoBufferSize: 2, splitStream: true}}, verbosity: 3, vmodule: [{filePattern: a*, verbosity: 9}]}
metricsBindAddress: 127.0.0.1:8
mode: iptables
nftables: {masqueradeAll: true, masqueradeBit: 1, minSyncPeriod: 2s, syncPeriod: 3s}
nodePortAddresses: [192.0.2.0/24]
oomScoreAdj: -1
portRange: 1-2
showHiddenMetricsForVersion: '1.35'
windowsRunAsService: true
winkernel: {enableDSR: true, forwardHealthCheckVip: true, networkName: a, rootHnsEndpointName: b, sourceVip: c}
";

#[test]
fn no_field_of_kubernetes_1_36_is_passed_over_in_silence() {
    let head = format!("apiVersion: {VERSION}\nkind: {KIND}\n");
    let (settings, remarks) = read_kube_proxys("everything", &(head + EVERYTHING)).expect("read");
    let flags = [
        "--node-address=192.0.2.1",
        "--kubeconfig=/etc/lb/kubeconfig",
        "--cluster-cidr=10.244.0.0/16",
        "--timeouts=tcp-half-closed=3,tcp-established=4,udp-assured=5,udp=6",
        "--pod-link=cali*",
        "--healthz-bind-address=127.0.0.1:7",
        "--node-name=node-a",
        "--nodeport-localhost",
        "--masquerade-all",
        "--metrics-bind-address=127.0.0.1:8",
        "--nodeport-addresses=192.0.2.0/24",
    ];
    assert_eq!(settings, read(&flags, &[]).expect("settings"));
    let named: Vec<_> = remarks
        .iter()
        .map(|remark| {
            let (path, _) = remark
                .split_once(": ")
                .expect("a place")
                .1
                .split_once(':')
                .expect("a path");
            path
        })
        .collect();
    let expected = [
        "bindAddressHardFail",
        "clientConnection.acceptContentTypes",
        "clientConnection.burst",
        "clientConnection.contentType",
        "clientConnection.qps",
        "configSyncPeriod",
        "conntrack.maxPerCore",
        "conntrack.min",
        "conntrack.tcpBeLiberal",
        "detectLocal.bridgeInterface",
        "enableProfiling",
        "featureGates.A",
        "iptables.masqueradeBit",
        "iptables.minSyncPeriod",
        "iptables.syncPeriod",
        "ipvs.excludeCIDRs",
        "ipvs.minSyncPeriod",
        "ipvs.scheduler",
        "ipvs.strictARP",
        "ipvs.syncPeriod",
        "ipvs.tcpFinTimeout",
        "ipvs.tcpTimeout",
        "ipvs.udpTimeout",
        "logging.flushFrequency",
        "logging.format",
        "logging.options.json.infoBufferSize",
        "logging.options.json.splitStream",
        "logging.options.text.infoBufferSize",
        "logging.options.text.splitStream",
        "logging.verbosity",
        "logging.vmodule",
        "nftables.masqueradeBit",
        "nftables.minSyncPeriod",
        "nftables.syncPeriod",
        "oomScoreAdj",
        "portRange",
        "showHiddenMetricsForVersion",
        "windowsRunAsService",
        "winkernel.enableDSR",
        "winkernel.forwardHealthCheckVip",
        "winkernel.networkName",
        "winkernel.rootHnsEndpointName",
        "winkernel.sourceVip",
    ];
    // What belongs to the other mode has a meaning, but not here.
    assert_eq!(named, expected);
    let of_modules = "logging.vmodule: filePattern=a*,verbosity=9: ignored";
    assert!(
        remarks.iter().any(|remark| remark.contains(of_modules)),
        "{remarks:?}"
    );
}

#[test]
fn a_wrong_value_of_kube_proxys_is_told_with_its_line() {
    let text = KUBEADM.replace("10.244.0.0/16,", "10.244.0.0,");
    let error = read_kube_proxys("wrong", &text).unwrap_err().to_string();
    assert!(
        error.contains(":10: clusterCIDR: value \"10.244.0.0,fd00"),
        "{error}"
    );
    let text = KUBEADM.replace("kind: KubeProxy", "kind: Kubelet");
    let error = read_kube_proxys("kind", &text).unwrap_err().to_string();
    assert!(
        error.contains("write `kind: KubeProxyConfiguration`"),
        "{error}"
    );
}
