//! kube-proxy's command line gives what its words mean here, and what has no effect is named.

use std::ffi::OsString;

use clap::{Args as _, Command};

use super::super::fate;
use super::*;
use crate::settings::tests::{ConfigFile, read, read_remarked};
use crate::settings::{Settings, settings_of};

/// What kube-proxy itself lists, which a test with the program compares.
const LIST: &str = include_str!("../flags-1.36.txt");

/// kube-proxy's flags, as it writes them; what follows is the type of their value.
fn listed() -> Vec<(&'static str, Option<&'static str>)> {
    let names = LIST.lines().map(|line| {
        let line = line.strip_prefix("--").expect("a flag");
        match line.split_once(' ') {
            Some((name, kind)) => (name, Some(kind)),
            None => (line, None),
        }
    });
    names.collect()
}

fn arguments<'w>(words: &[&'w str]) -> impl Iterator<Item = OsString> + use<'w> {
    let words = ["lb"].iter().chain(words);
    words.map(OsString::from).collect::<Vec<_>>().into_iter()
}

#[test]
fn every_flag_of_kubernetes_1_36_has_a_row_and_no_other() {
    let listed = listed();
    let rows: Vec<_> = FLAGS.iter().map(|(name, _)| *name).collect();
    let names: Vec<_> = listed.iter().map(|(name, _)| *name).collect();
    assert_eq!(rows, names);
    for (name, kind) in listed {
        let (_, flag) = FLAGS.iter().find(|(of, _)| *of == name).expect(name);
        // Those that clap reads know themselves.
        if !matches!(flag, Same(_) | Means(_)) {
            let is_switch = kind.is_none_or(|kind| kind.ends_with("[=true]"));
            assert_eq!(SWITCHES.contains(&name), is_switch, "{name}");
        }
    }
}

#[test]
fn rows_name_settings_and_fields_that_there_are() {
    let settings: Vec<_> = settings_of(&Settings::augment_args(Command::new("lb"))).collect();
    let is_ours = |setting: &Arg, name: &str| {
        let aliases = setting.get_all_aliases().unwrap_or_default();
        setting.get_long() == Some(name) || aliases.contains(&name)
    };
    for (name, flag) in FLAGS {
        let setting = settings.iter().find(|setting| is_ours(setting, name));
        let long = setting.and_then(Arg::get_long);
        match flag {
            Same(ours) => assert_eq!(long, Some(*ours), "{name}"),
            _ => assert_eq!(long, None, "{name} is read by clap"),
        }
        if let As(path) = flag {
            assert!(fate(path).is_some(), "{name}: {path}");
        }
    }
}

/// A flag of kube-proxy's, a value, what it amounts to, and whether it is named as ignored.
type Row = (&'static str, &'static str, &'static [&'static str], bool);

const TABLE: &[Row] = &[
    (
        "bind-address",
        "192.0.2.1",
        &["--node-address=192.0.2.1"],
        false,
    ),
    ("bind-address", "0.0.0.0", &[], false),
    ("bind-address-hard-fail", "true", &[], true),
    ("boot-id-file", "/etc/boot-id", &[], true),
    (
        "cluster-cidr",
        "10.42.0.0/16,fd00:42::/56",
        &["--cluster-cidr=10.42.0.0/16,fd00:42::/56"],
        false,
    ),
    ("config-sync-period", "1m", &[], true),
    ("config-sync-period", "15m0s", &[], false),
    ("conntrack-max-per-core", "1", &[], true),
    ("conntrack-max-per-core", "0", &[], false),
    ("conntrack-min", "7", &[], true),
    ("conntrack-tcp-be-liberal", "true", &[], true),
    (
        "conntrack-tcp-timeout-close-wait",
        "30m",
        &["--timeouts=tcp-half-closed=1800"],
        false,
    ),
    (
        "conntrack-tcp-timeout-established",
        "2h0m30s",
        &["--timeouts=tcp-established=7230"],
        false,
    ),
    ("conntrack-tcp-timeout-established", "0", &[], false),
    ("conntrack-udp-timeout", "5s", &["--timeouts=udp=5"], false),
    (
        "conntrack-udp-timeout-stream",
        "6s",
        &["--timeouts=udp-assured=6"],
        false,
    ),
    ("detect-local-mode", "ClusterCIDR", &[], false),
    ("feature-gates", "A=true,B=false", &[], true),
    (
        "healthz-bind-address",
        "127.0.0.1:7",
        &["--healthz-bind-address=127.0.0.1:7"],
        false,
    ),
    (
        "hostname-override",
        "Node-A",
        &["--node-name=node-a"],
        false,
    ),
    (
        "iptables-localhost-nodeports",
        "true",
        &["--nodeport-localhost"],
        false,
    ),
    ("iptables-masquerade-bit", "1", &[], true),
    ("iptables-min-sync-period", "2s", &[], true),
    ("iptables-sync-period", "2s", &[], true),
    ("ipvs-exclude-cidrs", "10.0.0.0/8", &[], true),
    ("ipvs-min-sync-period", "2s", &[], true),
    ("ipvs-scheduler", "rr", &[], true),
    ("ipvs-strict-arp", "true", &[], true),
    ("ipvs-sync-period", "2s", &[], true),
    ("ipvs-tcp-timeout", "2s", &[], true),
    ("ipvs-tcpfin-timeout", "2s", &[], true),
    ("ipvs-udp-timeout", "2s", &[], true),
    ("kube-api-burst", "100", &[], true),
    ("kube-api-content-type", "application/json", &[], true),
    ("kube-api-qps", "100", &[], true),
    (
        "kubeconfig",
        "/etc/lb.conf",
        &["--kubeconfig=/etc/lb.conf"],
        false,
    ),
    ("log-flush-frequency", "1s", &[], true),
    ("log-json-info-buffer-size", "1Ki", &[], true),
    ("log-json-split-stream", "true", &[], true),
    ("log-text-info-buffer-size", "1Ki", &[], true),
    ("log-text-split-stream", "true", &[], true),
    ("logging-format", "json", &[], true),
    ("machine-id-file", "/etc/machine-id", &[], true),
    ("masquerade-all", "true", &["--masquerade-all"], false),
    (
        "master",
        "https://192.0.2.1:6443",
        &["--api-server=https://192.0.2.1:6443"],
        false,
    ),
    (
        "metrics-bind-address",
        "0.0.0.0:10249",
        &["--metrics-bind-address=0.0.0.0:10249"],
        false,
    ),
    (
        "nodeport-addresses",
        "192.0.2.0/24",
        &["--nodeport-addresses=192.0.2.0/24"],
        false,
    ),
    ("oom-score-adj", "-1", &[], true),
    ("pod-bridge-interface", "br0", &[], true),
    // Alone it means nothing.
    ("pod-interface-name-prefix", "cali", &[], false),
    ("profiling", "true", &[], true),
    ("proxy-mode", "nftables", &[], false),
    (
        "proxy-mode",
        "ipvs",
        &["--nodeport-addresses=0.0.0.0/0,::/0"],
        false,
    ),
    ("show-hidden-metrics-for-version", "1.35", &[], true),
    ("v", "2", &[], true),
    ("vmodule", "a*=9", &[], true),
];

#[test]
fn kube_proxys_flags_are_taken_mapped_or_named() {
    let elsewhere = [
        "cleanup",
        "config",
        "help",
        "init-only",
        "version",
        "write-config-to",
    ];
    for (name, _) in FLAGS {
        let is_shown = TABLE.iter().any(|(of, ..)| of == name);
        assert_ne!(is_shown, elsewhere.contains(name), "{name}");
    }
    for (name, value, same, is_ignored) in TABLE {
        let is_switch = listed()
            .iter()
            .any(|(of, kind)| of == name && kind.is_none());
        let mut spellings = vec![vec![format!("--{name}={value}")]];
        if is_switch {
            spellings.push(vec![format!("--{name}")]);
        } else {
            spellings.push(vec![format!("--{name}"), (*value).to_owned()]);
        }
        if *name == "v" {
            spellings.extend([
                vec!["-v".into(), "2".into()],
                vec!["-v=2".into()],
                vec!["-v2".into()],
            ]);
        }
        let expected = read(same, &[]).expect(name);
        for words in spellings {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let (settings, remarks) = read_remarked(arguments(&words), &[]).expect(name);
            assert_eq!(settings, expected, "{words:?}");
            assert_eq!(!remarks.is_empty(), *is_ignored, "{words:?}: {remarks:?}");
            for remark in remarks {
                let place = format!("{}: {value}: ignored: ", flag_of(name));
                assert!(remark.starts_with(&place), "{remark}");
            }
        }
    }
}

#[test]
fn a_whole_command_line_works_as_it_is() {
    let words = [
        "--kubeconfig=/etc/kube-proxy.conf",
        "--hostname-override",
        "node-a",
        "--detect-local-mode=InterfaceNamePrefix",
        "--pod-interface-name-prefix",
        "cali",
        "--proxy-mode=iptables",
        "--conntrack_max_per_core=32768",
        "--conntrack-min",
        "1000",
        "--conntrack-tcp-timeout-established=1h",
        "--conntrack-tcp-timeout-close-wait=1m0s",
        "--oom-score-adj=-998",
        "--v=2",
    ];
    let (settings, remarks) = read_remarked(arguments(&words), &[]).expect("settings");
    let the_same = [
        "--kubeconfig=/etc/kube-proxy.conf",
        "--node-name=node-a",
        "--pod-link=cali*",
        "--nodeport-addresses=0.0.0.0/0,::/0",
        "--timeouts=tcp-half-closed=60,tcp-established=3600",
    ];
    assert_eq!(settings, read(&the_same, &[]).expect("settings"));
    let expected = [
        "--conntrack-min: 1000: ignored: flows of Services are not nf_conntrack's here",
        "-v: 2: ignored: RUST_LOG says how much is logged",
        "--oom-score-adj: -998: ignored: forwarding goes on without the daemon; the DaemonSet's priority class \
         protects it",
    ];
    assert_eq!(remarks, expected);
}

#[test]
fn what_is_nearer_wins_over_what_follows_from_the_mode() {
    let file = ConfigFile::new(
        "mode",
        "apiVersion: lb/v1\nnodeportAddresses: [10.0.0.0/8]\n",
    );
    let iptables = "--proxy-mode=iptables";
    let expected = |addresses: &str| {
        let flag = format!("--nodeport-addresses={addresses}");
        read(&[&flag], &[]).expect("settings")
    };
    for (words, environment, addresses) in [
        (&[iptables][..], &[][..], "0.0.0.0/0,::/0"),
        (&[iptables, "--nodeport-addresses=primary"], &[], "primary"),
        (
            &[iptables],
            &[("LB_NODEPORT_ADDRESSES", "192.0.2.0/24")],
            "192.0.2.0/24",
        ),
        (&[iptables, &file.flag()], &[], "10.0.0.0/8"),
    ] {
        let settings = read(words, environment).expect("settings");
        assert_eq!(settings, expected(addresses), "{words:?}");
    }
}

#[test]
fn kube_proxys_flags_win_over_environment_and_file_and_ours_over_them() {
    let file = ConfigFile::new("less", "apiVersion: lb/v1\nnodeAddress: 192.0.2.1\n");
    let variable = [("LB_NODE_ADDRESS", "192.0.2.2")];
    let (file, theirs) = (&*file.flag(), "--bind-address=192.0.2.3");
    for (words, last) in [
        (&[file][..], "192.0.2.2"),
        (&[file, theirs], "192.0.2.3"),
        (&[file, "--node-address=192.0.2.4", theirs], "192.0.2.4"),
    ] {
        let settings = read(words, &variable).expect("settings");
        assert_eq!(
            settings.node_address,
            [last.parse::<std::net::IpAddr>().expect("one")]
        );
    }
}

#[test]
fn pods_are_told_by_the_nodes_own_networks_where_that_is_asked_for() {
    for cidr in [
        &["--cluster-cidr=10.42.0.0/16"][..],
        &["--cluster-cidr", "10.42.0.0/16"],
    ] {
        let words: Vec<_> = cidr
            .iter()
            .chain(&["--detect-local-mode=NodeCIDR"])
            .copied()
            .collect();
        let (settings, remarks) = read_remarked(arguments(&words), &[]).expect("settings");
        assert_eq!(settings, read(&[], &[]).expect("settings"));
        let expected = "--cluster-cidr: 10.42.0.0/16: ignored: --detect-local-mode is NodeCIDR";
        assert_eq!(remarks, [expected]);
    }
}

#[test]
fn what_asks_for_something_else_is_refused_with_the_remedy() {
    for (words, expected) in [
        (
            &["--init-only"][..],
            "--init-only: value \"true\": nothing has to be done before the start",
        ),
        (
            &["--write-config-to", "a.yaml"],
            "--write-config-to: value \"a.yaml\": docs/configuration.md",
        ),
        (
            &["--version"],
            "--version: value \"true\": call `lb version`",
        ),
        (&["--bind-address=here"], "--bind-address: value \"here\""),
        (
            &["--conntrack-min"],
            "--conntrack-min: value \"\": takes a value",
        ),
        (
            &["--conntrack-udp-timeout=long"],
            "--conntrack-udp-timeout: value \"udp=long\"",
        ),
    ] {
        let error = read(words, &[]).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(read(&["--init-only=false"], &[]).is_ok());
    assert!(
        read(&["--", "--init-only"], &[]).is_err(),
        "an argument is none of these"
    );
}
