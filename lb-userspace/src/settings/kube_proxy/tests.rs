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
