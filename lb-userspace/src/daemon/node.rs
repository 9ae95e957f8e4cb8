//! What is this node, as far as plans depend on it? Settings win over the Node object, which wins
//! over what the links say.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use lb_common::addr::{Family, Ip4, Ip6};

use super::links::Links;
use super::ports;
use super::standby::Standby;
use crate::input::{NodeObject, Update};
use crate::loader::Clock;
use crate::model::Node;
use crate::plan::ConfigBase;
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

/// What the planner cannot know by itself.
pub(super) fn base(
    settings: &Settings,
    said: &Update,
    clock: &Clock,
    links: &Links,
    standby: &Standby,
) -> ConfigBase {
    let primary = primary(settings, &said.node, &links.addresses());
    ConfigBase {
        // That of adopted tables wins.
        hash_key: getrandom::u64().unwrap_or_default(),
        snat_ports: ports::snat_ports(settings.nodeport_range),
        hz: clock.hz,
        node4: primary_of::<Ip4>(&primary),
        node6: primary_of::<Ip6>(&primary),
        takeover: standby.is_beside_kube_proxy(),
        standby: standby.is_on(settings),
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
