//! Can this machine do what is asked of it, and if not, what helps? Decided from facts alone.

mod others;

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::drops::Hook;
use serde::Serialize;

use super::{Column, Record, column};
use crate::loader::features::{Feature, NETNS_COOKIE, OLDEST, SET_RETVAL, SOCK_DESTROY, TCX};
use crate::loader::probe::Probe;
use crate::loader::roles::{Patterns, Role, roles};
use crate::loader::xdp_needs_one_buffer;
use crate::model::ObjectName;
use crate::settings::{Settings, SocketScope};

/// What the machine is like.
#[derive(Debug)]
pub struct Machine {
    /// Why there are no kernel programs in this binary, if so.
    pub object_missing: Option<String>,
    /// What the loader sees of it.
    pub probe: Probe,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingRecord {
    /// What it is about.
    pub subject: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty if nothing.
    pub remedy: String,
    #[serde(skip)]
    object: ObjectName,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Good to know: something works in another way, or less well.
    Note,
    /// Something that was asked for does not work.
    Bad,
}

/// Sysctls that have to be on, and what follows if they are not.
const SYSCTLS_ON: [(&str, &str); 3] = [
    ("net.ipv4.ip_forward", "packets to pods are not forwarded"),
    (
        "net.ipv6.conf.all.forwarding",
        "IPv6 packets to pods are not forwarded",
    ),
    (
        "net.core.bpf_jit_enable",
        "programs are interpreted, which is slow",
    ),
];

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What is well and what is not, for these settings.
#[must_use]
pub fn doctor(machine: &Machine, settings: &Settings) -> Vec<FindingRecord> {
    let mut findings = vec![
        programs(machine),
        kernel(machine),
        capabilities(machine),
        btf(machine),
        bpffs(machine, settings),
    ];
    findings.extend(sysctls(&machine.probe));
    findings.extend(hooks(machine, settings));
    findings.extend(missing_features(machine, settings));
    findings.extend(
        machine
            .probe
            .occupants
            .iter()
            .map(|other| others::occupant(other, settings)),
    );
    findings.extend(others::kube_proxy(&machine.probe.kube_proxy));
    findings
}

/// Sysctls that are in the way; those that the kernel lacks are not.
fn sysctls(probe: &Probe) -> Vec<FindingRecord> {
    let mut findings = Vec::new();
    for (name, follows) in SYSCTLS_ON {
        if probe.sysctls.get(name).is_some_and(|value| value == "0") {
            findings.push(bad(
                "sysctl",
                format!("{name} is 0: {follows}"),
                format!("sysctl -w {name}=1"),
            ));
        }
    }
    findings
}

fn programs(machine: &Machine) -> FindingRecord {
    match &machine.object_missing {
        None => good("programs", "in this binary".to_owned()),
        Some(why) => bad("programs", why.clone(), "cargo xtask build".to_owned()),
    }
}

fn kernel(machine: &Machine) -> FindingRecord {
    let (major, minor) = machine.probe.kernel;
    if machine.probe.kernel >= OLDEST {
        good("kernel", format!("{major}.{minor}"))
    } else {
        let (major_needed, minor_needed) = OLDEST;
        bad(
            "kernel",
            format!("{major}.{minor} is too old"),
            format!("boot a kernel from {major_needed}.{minor_needed} on"),
        )
    }
}

fn capabilities(machine: &Machine) -> FindingRecord {
    let has = |capability: u32| machine.probe.capabilities >> capability & 1 != 0;
    let may_load = has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON));
    if may_load && has(CAP_NET_ADMIN) {
        good("capabilities", "may load and attach programs".to_owned())
    } else {
        bad(
            "capabilities",
            "may not load or attach programs".to_owned(),
            "run as root, or with CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON".to_owned(),
        )
    }
}

fn btf(machine: &Machine) -> FindingRecord {
    if machine.probe.btf {
        good("btf", "/sys/kernel/btf/vmlinux".to_owned())
    } else {
        note(
            "btf",
            "the kernel does not describe its types: what it can do is judged by its version"
                .to_owned(),
        )
    }
}

fn bpffs(machine: &Machine, settings: &Settings) -> FindingRecord {
    let dir = settings.pin_dir.display();
    if machine.probe.bpffs {
        good("bpffs", dir.to_string())
    } else {
        bad(
            "bpffs",
            format!("{dir} is not on a BPF file system"),
            "mount -t bpf bpf /sys/fs/bpf".to_owned(),
        )
    }
}

/// What each hook serves here.
fn hooks(machine: &Machine, settings: &Settings) -> Vec<FindingRecord> {
    let patterns = Patterns {
        uplinks: settings.uplink.clone(),
        pod_links: settings.pod_link.clone(),
    };
    let found = roles(&machine.probe.links, &patterns, &primary(machine, settings));
    let of = |role| -> Vec<&str> {
        let indices = found.iter().filter(|(_, is)| **is == role);
        let links = indices.filter_map(|(index, _)| machine.probe.links.links.get(index));
        links.map(|link| link.name.as_str()).collect()
    };
    let has = |hook| settings.hooks.contains(&hook);
    let mut findings = Vec::new();
    if has(Hook::Tc) {
        findings.push(links(
            "tc",
            "clients outside and on other nodes",
            "--uplink",
            &of(Role::Uplink),
        ));
        findings.push(links(
            "tc",
            "this node's pods",
            "--pod-link",
            &of(Role::Pod),
        ));
    }
    if has(Hook::Xdp) {
        findings.push(links(
            "xdp",
            "clients outside, faster",
            "--uplink",
            &of(Role::Uplink),
        ));
        for (index, _) in found.iter().filter(|(_, role)| **role == Role::Uplink) {
            let link = &machine.probe.links.links[index];
            if let Some(why) = xdp_needs_one_buffer(link.mtu) {
                let remedy = "nothing: tc serves it where XDP cannot; or give it a smaller MTU";
                findings.push(FindingRecord {
                    remedy: remedy.to_owned(),
                    ..note("xdp", format!("{}: {why}", link.name))
                });
            }
        }
    }
    findings.push(sockets(machine, settings));
    findings.extend(others::rp_filter(&machine.probe.sysctls, &of(Role::Uplink)));
    findings
}

/// The node's addresses that other nodes know: those given, else those of the links that lead out.
fn primary(machine: &Machine, settings: &Settings) -> BTreeSet<IpAddr> {
    if !settings.node_address.is_empty() {
        return settings.node_address.iter().copied().collect();
    }
    let links = &machine.probe.links;
    let leading_out = links
        .default_routes
        .iter()
        .filter_map(|index| links.links.get(index));
    let addresses = leading_out.flat_map(|link| &link.addresses);
    let global = addresses.filter(|address| address.global);
    global.map(|address| address.ip).collect()
}

fn links(subject: &'static str, whom: &str, flag: &str, names: &[&str]) -> FindingRecord {
    if names.is_empty() {
        let mut finding = note(
            subject,
            format!("no link to {whom}, so they are not served"),
        );
        finding.remedy = format!("if there is one, name it by {flag}");
        finding
    } else {
        good(subject, format!("serves {whom}: {}", names.join(", ")))
    }
}

fn sockets(machine: &Machine, settings: &Settings) -> FindingRecord {
    let cgroup = settings
        .cgroup
        .as_ref()
        .map(|dir| dir.display().to_string());
    match (
        settings.socket_scope(),
        cgroup.or_else(|| {
            let root = machine.probe.cgroup.as_ref();
            root.map(|dir| dir.display().to_string())
        }),
    ) {
        (SocketScope::Off, _) => note(
            "socket",
            "this node's own clients are not served".to_owned(),
        ),
        (_, None) => bad(
            "socket",
            "no cgroup2 for this node's own clients".to_owned(),
            "mount -t cgroup2 none /sys/fs/cgroup, or --socket off".to_owned(),
        ),
        (SocketScope::Host, Some(cgroup)) => good(
            "socket",
            format!("serves this node's own clients in {cgroup}"),
        ),
        (SocketScope::All, Some(cgroup)) => good(
            "socket",
            format!("serves this node's own clients and pods in {cgroup}"),
        ),
    }
}

/// Features that this kernel lacks, and what is done instead.
fn missing_features(machine: &Machine, settings: &Settings) -> Vec<FindingRecord> {
    let is_socket = settings.socket_scope() != SocketScope::Off;
    let features: [(Feature, bool); 4] = [
        (TCX, machine.probe.features.tcx),
        (SET_RETVAL, machine.probe.features.set_retval || !is_socket),
        (
            SOCK_DESTROY,
            machine.probe.features.sock_destroy || !(is_socket && settings.socket_connected_udp),
        ),
        (
            NETNS_COOKIE,
            machine.probe.kernel >= NETNS_COOKIE.since || !is_socket,
        ),
    ];
    let missing = features.into_iter().filter(|(_, there)| !there);
    missing
        .map(|(feature, _)| note("kernel", feature.to_string()))
        .collect()
}

pub(super) fn good(subject: &'static str, found: String) -> FindingRecord {
    finding(subject, Verdict::Good, found, String::new())
}

pub(super) fn note(subject: &'static str, found: String) -> FindingRecord {
    finding(subject, Verdict::Note, found, String::new())
}

pub(super) fn bad(subject: &'static str, found: String, remedy: String) -> FindingRecord {
    finding(subject, Verdict::Bad, found, remedy)
}

fn finding(
    subject: &'static str,
    verdict: Verdict,
    found: String,
    remedy: String,
) -> FindingRecord {
    FindingRecord {
        subject,
        verdict,
        found,
        remedy,
        object: ObjectName::default(),
    }
}

impl Record for FindingRecord {
    const KIND: &'static str = "finding";
    const NAMESPACED: bool = false;
    const COLUMNS: &'static [Column<Self>] = &[
        column("SUBJECT", |finding| finding.subject.to_owned()),
        column("VERDICT", |finding| {
            match finding.verdict {
                Verdict::Good => "good",
                Verdict::Note => "note",
                Verdict::Bad => "BAD",
            }
            .to_owned()
        }),
        column("FOUND", |finding| finding.found.clone()),
        column("REMEDY", |finding| finding.remedy.clone()),
    ];

    fn object(&self) -> &ObjectName {
        &self.object
    }

    fn name(&self) -> String {
        self.subject.to_owned()
    }
}

#[cfg(test)]
mod tests;
