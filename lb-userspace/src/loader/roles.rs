//! Which links get programs, and which ones? Decided from what the kernel says of the links, or by
//! the user's patterns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::netlink::Facts;
use crate::netlink::facts::Link;
use crate::settings::LinkPattern;

/// What a link is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Leads to other nodes or outside.
    Uplink,
    /// The host's side of a pod's link.
    Pod,
}

/// What the user said about links; empty = to be detected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// `--uplink`.
    pub uplinks: Vec<LinkPattern>,
    /// `--pod-link`.
    pub pod_links: Vec<LinkPattern>,
}

/// Kinds of links that tunnel to other nodes: an overlay's.
const TUNNELS: [&str; 14] = [
    "vxlan",
    "geneve",
    "ipip",
    "ip6tnl",
    "sit",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "erspan",
    "wireguard",
    "xfrm",
    "vti",
    "tun",
];

/// Kinds of links that lead elsewhere if the node has an address there; the physical ones have none.
const CARRIERS: [&str; 8] = [
    "", "vlan", "bond", "team", "macvlan", "ipvlan", "hsr", "ipoib",
];

/// Kinds of links whose other end is a pod's (or a virtual machine's) where they are a bridge's port.
const GUESTS: [&str; 4] = ["veth", "tun", "macvtap", "ipvtap"];

/// The links that get programs, by index. A link that both patterns name is an uplink.
#[must_use]
pub fn roles(
    facts: &Facts,
    patterns: &Patterns,
    node_addresses: &BTreeSet<IpAddr>,
) -> BTreeMap<u32, Role> {
    let mut roles = BTreeMap::new();
    for (&index, link) in &facts.links {
        if link.loopback {
            continue;
        }
        let is_uplink = match patterns.uplinks.as_slice() {
            [] => leads_elsewhere(facts, index, link, node_addresses),
            patterns => matches(patterns, link),
        };
        let is_pod_link = || match patterns.pod_links.as_slice() {
            [] => leads_to_pod(facts, link),
            patterns => matches(patterns, link),
        };
        if is_uplink {
            roles.insert(index, Role::Uplink);
        } else if is_pod_link() {
            roles.insert(index, Role::Pod);
        }
    }
    roles
}

fn matches(patterns: &[LinkPattern], link: &Link) -> bool {
    patterns.iter().any(|pattern| pattern.matches(&link.name))
}

/// A default route or one of the node's own addresses makes an uplink of any link; any address
/// makes one of a link that by its kind leads to other machines.
fn leads_elsewhere(
    facts: &Facts,
    index: u32,
    link: &Link,
    node_addresses: &BTreeSet<IpAddr>,
) -> bool {
    let kind = link.kind.as_str();
    let is_guest = link
        .master
        .is_some_and(|master| is_bridge(facts, master) && GUESTS.contains(&kind));
    if is_guest || kind == "dummy" {
        return false;
    }
    let has_node_address = || {
        let mut addresses = link.addresses.iter();
        addresses.any(|address| node_addresses.contains(&address.ip))
    };
    let has_address = || link.addresses.iter().any(|address| address.global);
    facts.default_routes.contains(&index)
        || has_node_address()
        || (link.up && has_address() && (CARRIERS.contains(&kind) || TUNNELS.contains(&kind)))
}

/// The host's side of a veth pair, or a guest's port of a bridge. A bond's members are neither: what
/// they carry is the bond's.
fn leads_to_pod(facts: &Facts, link: &Link) -> bool {
    let master = || facts.links.get(&link.master?);
    let is_port = || link.master.is_some_and(|master| is_bridge(facts, master));
    let is_member =
        || master().is_some_and(|master| matches!(master.kind.as_str(), "bond" | "team"));
    match link.kind.as_str() {
        "veth" => is_port() || (link.peer_elsewhere && !is_member()),
        kind => GUESTS.contains(&kind) && is_port(),
    }
}

fn is_bridge(facts: &Facts, index: u32) -> bool {
    let link = facts.links.get(&index);
    link.is_some_and(|link| matches!(link.kind.as_str(), "bridge" | "openvswitch"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::facts::Address;

    const BRIDGE: u32 = 90;
    const BOND: u32 = 91;

    /// A link as a row of the table: kind, what it is like, what it becomes.
    struct Row {
        name: &'static str,
        kind: &'static str,
        like: &'static [Like],
        role: Option<Role>,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Like {
        Address,
        LinkLocal,
        NodeAddress,
        DefaultRoute,
        PeerElsewhere,
        PortOf(u32),
        Down,
        Loopback,
    }
    use Like::*;

    const fn row(
        name: &'static str,
        kind: &'static str,
        like: &'static [Like],
        role: Option<Role>,
    ) -> Row {
        Row {
            name,
            kind,
            like,
            role,
        }
    }

    const ROWS: &[Row] = &[
        row("lo", "", &[Loopback, Address], None),
        row("eth0", "", &[Address, DefaultRoute], Some(Role::Uplink)),
        row("second-nic", "", &[Address], Some(Role::Uplink)),
        row("unnumbered", "", &[LinkLocal], None),
        row("unplugged", "", &[Address, Down], None),
        row("bond-port", "", &[PortOf(BOND)], None),
        row("bridge-port", "", &[PortOf(BRIDGE)], None),
        row("eth0.100", "vlan", &[Address], Some(Role::Uplink)),
        row("bond0", "bond", &[Address], Some(Role::Uplink)),
        row("flannel.1", "vxlan", &[Address], Some(Role::Uplink)),
        row("tunl0", "ipip", &[Down], None),
        row("wg0", "wireguard", &[Address], Some(Role::Uplink)),
        row("cni0", "bridge", &[Address], None),
        row(
            "br0",
            "bridge",
            &[Address, DefaultRoute],
            Some(Role::Uplink),
        ),
        row("br-node", "bridge", &[NodeAddress], Some(Role::Uplink)),
        row("kube-ipvs0", "dummy", &[Address, NodeAddress], None),
        row("routed-veth", "veth", &[PeerElsewhere], Some(Role::Pod)),
        row(
            "ptp-veth",
            "veth",
            &[PeerElsewhere, Address],
            Some(Role::Pod),
        ),
        row(
            "bridged-veth",
            "veth",
            &[PeerElsewhere, PortOf(BRIDGE)],
            Some(Role::Pod),
        ),
        row(
            "node-in-pod",
            "veth",
            &[PeerElsewhere, Address, DefaultRoute],
            Some(Role::Uplink),
        ),
        row(
            "node-of-test",
            "veth",
            &[PeerElsewhere, NodeAddress],
            Some(Role::Uplink),
        ),
        row("pair-here", "veth", &[Address], None),
        row("tap0", "tun", &[PortOf(BRIDGE)], Some(Role::Pod)),
        row("tailscale0", "tun", &[Address], Some(Role::Uplink)),
        row("bonded-veth", "veth", &[PeerElsewhere, PortOf(BOND)], None),
        row("netkit0", "netkit", &[PeerElsewhere], None),
        row("ifb0", "ifb", &[], None),
    ];

    fn facts() -> Facts {
        let mut facts = Facts::default();
        for (index, row) in (1..).zip(ROWS) {
            let is = |like| row.like.contains(&like);
            let address = |ip: &str, global| Address {
                ip: ip.parse().expect("an address"),
                global,
                preferred: true,
            };
            let mut link = Link {
                name: row.name.to_owned(),
                kind: row.kind.to_owned(),
                loopback: is(Loopback),
                up: !is(Down),
                peer_elsewhere: is(PeerElsewhere),
                master: row.like.iter().find_map(|like| match like {
                    PortOf(master) => Some(*master),
                    _ => None,
                }),
                ..Link::default()
            };
            if is(Address) {
                link.addresses.push(address("192.0.2.7", true));
            }
            if is(LinkLocal) {
                link.addresses.push(address("fe80::7", false));
            }
            if is(NodeAddress) {
                link.addresses.push(address("192.0.2.1", true));
            }
            if is(DefaultRoute) {
                facts.default_routes.insert(index);
            }
            facts.links.insert(index, link);
        }
        for (index, kind) in [(BRIDGE, "bridge"), (BOND, "bond")] {
            let link = Link {
                name: format!("{kind}-master"),
                kind: kind.to_owned(),
                ..Link::default()
            };
            facts.links.insert(index, link);
        }
        facts
    }

    #[test]
    fn links_are_told_apart() {
        let node = ["192.0.2.1".parse().expect("an address")].into();
        let roles = roles(&facts(), &Patterns::default(), &node);
        for (index, row) in (1..).zip(ROWS) {
            assert_eq!(roles.get(&index).copied(), row.role, "{}", row.name);
        }
    }

    #[test]
    fn patterns_stand_in_for_detection_but_never_name_loopback() {
        let patterns = Patterns {
            uplinks: vec!["e*".parse().expect("a pattern")],
            pod_links: vec!["*".parse().expect("a pattern")],
        };
        let roles = roles(&facts(), &patterns, &[].into());
        for (index, row) in (1..).zip(ROWS) {
            let expected = match row.name {
                "lo" => None,
                name if name.starts_with('e') => Some(Role::Uplink),
                _ => Some(Role::Pod),
            };
            assert_eq!(roles.get(&index).copied(), expected, "{}", row.name);
        }
    }
}
