//! A machine as it should be, one on which nothing works, and an old one.

use std::collections::BTreeMap;

use clap::Parser;

use super::*;
use crate::cli::golden;
use crate::cli::print::aligned;
use crate::loader::features::Features;
use crate::loader::kube_proxy::Leftover;
use crate::loader::probe::{Occupant, Place};
use crate::netlink::Facts as Links;
use crate::netlink::facts::{Address, Link};
use crate::netlink::filters::Direction;

#[derive(Parser, Debug)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

/// A node as it should be: one uplink, one pod.
fn machine() -> Machine {
    let uplink = Link {
        name: "eth0".to_owned(),
        up: true,
        ethernet: true,
        addresses: vec![Address {
            ip: "172.18.0.2".parse().expect("an address"),
            global: true,
            preferred: true,
        }],
        ..Link::default()
    };
    let pod = Link {
        name: "veth1".to_owned(),
        kind: "veth".to_owned(),
        up: true,
        ethernet: true,
        peer_elsewhere: true,
        ..Link::default()
    };
    let probe = Probe {
        kernel: (6, 12),
        features: Features {
            tcx: true,
            set_retval: true,
            sock_destroy: true,
            ..Features::default()
        },
        btf: true,
        capabilities: u64::MAX,
        bpffs: true,
        cgroup: Some("/sys/fs/cgroup".into()),
        sysctls: rp_filters([("all", "0"), ("eth0", "1")]),
        links: Links {
            links: [(2, uplink), (3, pod)].into(),
            default_routes: [2].into(),
        },
        occupants: Vec::new(),
        kube_proxy: Ok(Vec::new()),
    };
    Machine {
        object_missing: None,
        probe,
    }
}

fn rp_filters<const N: usize>(values: [(&str, &str); N]) -> BTreeMap<String, String> {
    let named = values.into_iter().map(|(link, value)| {
        let name = format!("net.ipv4.conf.{link}.rp_filter");
        (name, value.to_owned())
    });
    named.collect()
}

fn examine(machine: &Machine, flags: &[&str]) -> Vec<FindingRecord> {
    let flags = ["lb"].iter().chain(flags);
    doctor(machine, &Flags::parse_from(flags).settings)
}

fn verdicts(findings: &[FindingRecord], verdict: Verdict) -> Vec<&'static str> {
    let findings = findings.iter().filter(|finding| finding.verdict == verdict);
    findings.map(|finding| finding.subject).collect()
}

fn table(findings: &[FindingRecord]) -> String {
    let cells = |finding| {
        FindingRecord::COLUMNS
            .iter()
            .map(move |c| (c.cell)(finding))
    };
    let rows: Vec<Vec<_>> = findings
        .iter()
        .map(|finding| cells(finding).collect())
        .collect();
    aligned(&rows, &mut Vec::new())
}

#[test]
fn a_machine_as_it_should_be() {
    let findings = examine(&machine(), &["--hooks=tc,xdp,socket"]);
    golden::check("src/cli/view/golden/doctor-well.txt", &table(&findings));
    assert_eq!(verdicts(&findings, Verdict::Bad), [""; 0]);
    assert_eq!(verdicts(&findings, Verdict::Note), [""; 0]);
}

#[test]
fn a_machine_on_which_nothing_works() {
    let findings = examine(
        &Machine {
            object_missing: Some("this `lb` holds no kernel programs".to_owned()),
            probe: Probe {
                kernel: (4, 19),
                features: Features::default(),
                btf: false,
                capabilities: 0,
                bpffs: false,
                cgroup: None,
                sysctls: [("net.ipv4.ip_forward".to_owned(), "0".to_owned())].into(),
                links: Links::default(),
                occupants: vec![Occupant {
                    link: "eth0".to_owned(),
                    place: Place::Tcx(Direction::In),
                    name: "policy".to_owned(),
                }],
                kube_proxy: Ok(vec![
                    Leftover::Nftables(12),
                    Leftover::Iptables("nat".to_owned()),
                    Leftover::Ipvs(3, true),
                ]),
            },
        },
        &[],
    );
    golden::check("src/cli/view/golden/doctor-ill.txt", &table(&findings));
    let bad = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Bad);
    assert!(bad.clone().all(|finding| !finding.remedy.is_empty()));
    assert_eq!(bad.count(), 6);
}

#[test]
fn an_old_kernel_is_told_what_is_done_instead() {
    let mut old = machine();
    old.probe.kernel = (5, 10);
    old.probe.features = Features::default();
    assert_eq!(verdicts(&examine(&old, &[]), Verdict::Note), ["kernel"; 4]);
    assert_eq!(
        verdicts(&examine(&old, &["--socket=off"]), Verdict::Note),
        ["socket", "kernel"]
    );
}

#[test]
fn a_strict_rp_filter_matters_only_where_there_are_two_ways_out() {
    for (values, uplinks, verdict) in [
        (vec![], vec!["eth0", "eth1"], None),
        (
            vec![("all", "0"), ("eth0", "1")],
            vec!["eth0"],
            Some(Verdict::Good),
        ),
        (
            vec![("all", "0"), ("eth0", "0")],
            vec!["eth0", "eth1"],
            Some(Verdict::Good),
        ),
        (
            vec![("all", "2"), ("eth0", "1")],
            vec!["eth0", "eth1"],
            Some(Verdict::Good),
        ),
        (
            vec![("all", "1"), ("eth0", "0")],
            vec!["eth0", "eth1"],
            Some(Verdict::Note),
        ),
    ] {
        let sysctls = values
            .iter()
            .flat_map(|value| rp_filters([*value]))
            .collect();
        let finding = others::rp_filter(&sysctls, &uplinks);
        let found = finding.as_ref().map(|finding| finding.verdict);
        assert_eq!(found, verdict, "{values:?} {uplinks:?}");
        if verdict == Some(Verdict::Note) {
            let remedy = finding.map(|finding| finding.remedy);
            assert_eq!(
                remedy.as_deref(),
                Some("sysctl -w net.ipv4.conf.eth0.rp_filter=2")
            );
        }
    }
}

#[test]
fn packets_too_big_for_xdp_are_said_to_be_tcs() {
    let mut jumbo = machine();
    let uplink = jumbo.probe.links.links.get_mut(&2).expect("the uplink");
    uplink.mtu = 9_000;
    let findings = examine(&jumbo, &["--hooks=tc,xdp,socket"]);
    assert_eq!(verdicts(&findings, Verdict::Note), ["xdp"]);
    assert_eq!(verdicts(&examine(&jumbo, &[]), Verdict::Note), [""; 0]);
}
