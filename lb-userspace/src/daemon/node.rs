//! What is this node, as far as plans depend on it? Settings win over the Node object, which wins
//! over what the links say.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use lb_common::addr::Family;

use crate::input::NodeObject;
use crate::model::Node;
use crate::settings::{NodePortAddress, Settings};

/// Where every machine reaches itself.
const LOCALHOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Addresses that the links have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkAddresses {
    /// All of them that others may know: not those of the loopback link, nor link-local ones.
    pub all: BTreeSet<IpAddr>,
    /// Those of the links with a default route, the preferred ones first.
    pub primary: Vec<IpAddr>,
}

/// The node that plans are made for.
#[must_use]
pub(crate) fn node(
    settings: &Settings,
    object: &NodeObject,
    service_cidrs: &[IpNet],
    links: &LinkAddresses,
) -> Node {
    let primary = primary(settings, object, links);
    let mut addresses = links.all.clone();
    addresses.extend(&primary);
    let mut node_port_addresses: BTreeSet<IpAddr> = settings
        .nodeport_addresses
        .iter()
        .flat_map(|wanted| match wanted {
            NodePortAddress::Primary => primary.clone(),
            NodePortAddress::In(network) => addresses
                .iter()
                .copied()
                .filter(|ip| network.contains(ip))
                .collect(),
        })
        .collect();
    if settings.nodeport_localhost {
        node_port_addresses.extend(LOCALHOST);
    }
    Node {
        name: settings.node_name(),
        zone: object.zone.clone(),
        addresses,
        node_port_addresses,
        pod_cidrs: first_of([&settings.cluster_cidr, &object.pod_cidrs]),
        service_cidrs: service_cidrs.to_vec(),
        masquerade_all: settings.masquerade_all,
        algorithm: settings.algorithm,
        answer_ping: settings.answer_ping,
    }
}

/// The node's primary addresses, at most one of each family.
#[must_use]
pub(crate) fn primary(
    settings: &Settings,
    object: &NodeObject,
    links: &LinkAddresses,
) -> Vec<IpAddr> {
    let candidates = first_of([&settings.node_address, &object.addresses, &links.primary]);
    let v4 = candidates.iter().find(|ip| ip.is_ipv4());
    let v6 = candidates.iter().find(|ip| ip.is_ipv6());
    v4.into_iter().chain(v6).copied().collect()
}

/// The primary address of one family; all zero if there is none.
#[must_use]
pub(crate) fn primary_of<A: Family>(primary: &[IpAddr]) -> A {
    primary
        .iter()
        .copied()
        .find_map(A::from_ip)
        .unwrap_or_default()
}

/// The first list that says anything.
fn first_of<T: Clone, const N: usize>(lists: [&Vec<T>; N]) -> Vec<T> {
    lists
        .into_iter()
        .find(|list| !list.is_empty())
        .cloned()
        .unwrap_or_default()
}
