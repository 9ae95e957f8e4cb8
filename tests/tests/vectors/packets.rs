//! Where packets go, and who sees the client's address.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::ask::{Node, set};
use crate::cases::{Case, Packet, cases};
use crate::none;
use crate::programs::Programs;

#[test]
fn packets_go_where_kube_proxy_would_send_them() {
    let mut failures = Vec::new();
    for (name, case) in cases() {
        let node = Node::of(&case.manifest(), &case.flags());
        for packet in &case.packets {
            let answer = node.ask(&packet.src, &packet.destination(), &packet.proto);
            let faults = [packet.misled(&answer), case.misaddressed(packet, &answer)];
            for fault in faults.into_iter().flatten() {
                let problems = node.problems();
                failures.push(format!("{name}: {}: {fault}{problems}", packet.name));
            }
        }
    }
    none(&failures);
}

#[test]
fn the_programs_send_packets_where_kube_proxy_would() {
    let mut programs = Programs::load().expect("programs");
    let (mut failures, mut judged) = (Vec::new(), 0);
    for (name, case) in cases() {
        let node = Node::of(&case.manifest(), &case.flags());
        for packet in &case.packets {
            let answer = node.ask(&packet.src, &packet.destination(), &packet.proto);
            let observed = match programs.ask(&node, &answer) {
                Ok(observed) => observed,
                Err(why) => {
                    failures.push(format!("{name}: {}: {why:#}", packet.name));
                    continue;
                }
            };
            for (program, seen) in observed {
                judged += 1;
                let faults = [
                    packet.misled(&seen),
                    case.misaddressed(packet, &seen),
                    unlike(&seen, &answer),
                ];
                for fault in faults.into_iter().flatten() {
                    failures.push(format!("{name}: {}: {program}: {fault}", packet.name));
                }
            }
        }
    }
    none(&failures);
    println!("{judged} packets judged");
    assert!(judged > 0);
}

/// The programs do otherwise than `lb explain` says.
pub(crate) fn unlike(seen: &Value, answer: &Value) -> Option<String> {
    let part = |of: &Value| {
        let verdict = of["verdict"].as_str().map(str::to_owned);
        (verdict, set(of, "backends"), set(of, "snatBackends"))
    };
    let (seen, explained) = (part(seen), part(answer));
    (seen != explained).then(|| format!("{seen:?}, but `lb explain` says {explained:?}"))
}

impl Packet {
    pub(crate) fn destination(&self) -> String {
        let address: IpAddr = self.dst.parse().expect("an address");
        SocketAddr::new(address, self.dst_port).to_string()
    }

    /// The verdict that is expected, with the backends where there are any.
    pub(crate) fn expected(&self) -> (&str, BTreeSet<String>) {
        match self.expect.as_str() {
            "REJECT" => ("reject", BTreeSet::new()),
            "DROP" => ("drop", BTreeSet::new()),
            "" => ("pass", BTreeSet::new()),
            backends => ("forward", backends.split(", ").map(str::to_owned).collect()),
        }
    }

    /// Verdict or backends are others than expected.
    fn misled(&self, answer: &Value) -> Option<String> {
        let (verdict, backends) = self.expected();
        let found = (answer["verdict"].as_str()?, set(answer, "backends"));
        (found != (verdict, backends.clone()))
            .then(|| format!("{found:?}, not {:?}", (verdict, backends)))
    }
}

impl Case {
    /// A client's address is replaced that must be kept, or kept that must be replaced.
    fn misaddressed(&self, packet: &Packet, answer: &Value) -> Option<String> {
        let backends = set(answer, "backends");
        let snat = set(answer, "snatBackends");
        let outside = answer["sourceClass"] == "outside";
        let is = |backend: &str| {
            let backend: SocketAddr = backend.parse().expect("address and port");
            backend.ip().to_string() == packet.src
        };
        for backend in &backends {
            let hairpin = is(backend);
            let forbidden = outside && self.keeps_sources(packet) && !self.masquerades_all();
            let needed = hairpin || (outside && self.is_remote(backend));
            if forbidden && snat.contains(backend) {
                return Some(format!("{backend} would not see the client's address"));
            }
            if needed && !snat.contains(backend) {
                return Some(format!("replies of {backend} would not come back"));
            }
        }
        None
    }
}
