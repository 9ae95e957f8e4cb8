//! Which endpoints of a service port serve the clients on this node, and why not the others?
//!
//! The rules are Kubernetes': ready endpoints; where there are none, those that still serve while
//! they terminate, judged for each policy by itself; topology hints all or nothing, and never under
//! a `Local` policy.

use std::collections::BTreeMap;

use lb_common::addr::Family;

use crate::model::{Endpoint, Node, Policy, Protocol, Slice};

/// The endpoints of a service port in one address family, sorted by address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement<'w, A> {
    /// Every endpoint, each once.
    pub endpoints: Vec<Judged<'w, A>>,
    /// What the topology hints were good for.
    pub hints: Hints,
}

/// An endpoint and what each policy makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged<'w, A> {
    /// Its address.
    pub address: A,
    /// Its port, host order.
    pub port: u16,
    /// As it was written.
    pub endpoint: &'w Endpoint,
    /// It is on this node.
    pub local: bool,
    /// Under policy `Cluster`.
    pub in_cluster: Standing,
    /// Under policy `Local`.
    pub in_local: Standing,
}

/// Whether an endpoint takes new connections, and why (not).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Yes: it is ready.
    Ready,
    /// Yes: it terminates, but still serves, and there is no ready one.
    LastResort,
    /// No: it terminates, and there are ready ones, or it no longer serves.
    Draining,
    /// No: it is not ready.
    NotReady,
    /// No: it is on another node, and the policy is `Local`.
    OtherNode,
    /// No: the hints give it to other nodes or zones.
    HintedElsewhere,
}

impl Standing {
    /// Whether the endpoint takes new connections.
    #[must_use]
    pub const fn takes(self) -> bool {
        matches!(self, Self::Ready | Self::LastResort)
    }
}

/// What the topology hints of the ready endpoints were good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hints {
    /// Only endpoints hinted for this node serve it.
    SameNode,
    /// Only endpoints hinted for this node's zone serve it.
    SameZone,
    /// Ignored: no ready endpoint has any, or some lack them.
    Incomplete,
    /// Ignored: every ready endpoint has them, but none for this node or its zone.
    NotForUs,
}

impl<A> Judged<'_, A> {
    /// What a policy makes of it.
    #[must_use]
    pub const fn under(&self, policy: Policy) -> Standing {
        match policy {
            Policy::Cluster => self.in_cluster,
            Policy::Local => self.in_local,
        }
    }
}

/// Judges the endpoints that the slices have for a Service's port of this name and protocol.
#[must_use]
pub fn judge<'w, A: Family>(
    slices: impl Iterator<Item = &'w Slice>,
    port_name: &str,
    protocol: Protocol,
    node: &Node,
) -> Judgement<'w, A> {
    let found = collect::<A>(slices, port_name, protocol, node);
    let hints = weigh_hints(found.values().copied(), node);
    let is_ready = |endpoint: &Endpoint| endpoint.ready;
    let any_ready = found.values().any(|endpoint| is_ready(endpoint));
    let any_local_ready = found
        .values()
        .any(|endpoint| is_ready(endpoint) && is_local(endpoint, node));
    let endpoints = found.into_iter().map(|((address, port), endpoint)| {
        let local = is_local(endpoint, node);
        let in_cluster = match standing(endpoint, any_ready) {
            Standing::Ready if !hinted_here(endpoint, hints, node) => Standing::HintedElsewhere,
            standing => standing,
        };
        let in_local = if local {
            standing(endpoint, any_local_ready)
        } else {
            Standing::OtherNode
        };
        Judged {
            address,
            port,
            endpoint,
            local,
            in_cluster,
            in_local,
        }
    });
    Judgement {
        endpoints: endpoints.collect(),
        hints,
    }
}

/// Each address and port once. Of two that are the same the ready one counts, then the one that
/// serves longest, then the local one, then the first slice's.
fn collect<'w, A: Family>(
    slices: impl Iterator<Item = &'w Slice>,
    port_name: &str,
    protocol: Protocol,
    node: &Node,
) -> BTreeMap<(A, u16), &'w Endpoint> {
    let rank = |endpoint: &Endpoint| {
        (
            endpoint.ready,
            !endpoint.terminating,
            endpoint.serving,
            is_local(endpoint, node),
        )
    };
    let mut found: BTreeMap<(A, u16), &Endpoint> = BTreeMap::new();
    for slice in slices {
        let ports = slice
            .ports
            .iter()
            .filter(|port| port.name == port_name && port.protocol == protocol)
            .filter_map(|port| port.port.filter(|number| *number != 0));
        for port in ports {
            for endpoint in &slice.endpoints {
                let Some(address) = A::from_ip(endpoint.address) else {
                    continue;
                };
                let known = found.entry((address, port)).or_insert(endpoint);
                if rank(endpoint) > rank(known) {
                    *known = endpoint;
                }
            }
        }
    }
    found
}

fn is_local(endpoint: &Endpoint, node: &Node) -> bool {
    !node.name.is_empty() && endpoint.node.as_deref() == Some(&*node.name)
}

/// What an endpoint's conditions make of it; `any_ready`: one that may be chosen instead is ready.
fn standing(endpoint: &Endpoint, any_ready: bool) -> Standing {
    if endpoint.ready {
        Standing::Ready
    } else if !endpoint.terminating {
        Standing::NotReady
    } else if endpoint.serving && !any_ready {
        Standing::LastResort
    } else {
        Standing::Draining
    }
}

/// Hints count only if every ready endpoint has them and one of them is for us; a hint for the node
/// beats one for the zone.
fn weigh_hints<'w>(endpoints: impl Iterator<Item = &'w Endpoint>, node: &Node) -> Hints {
    let ready: Vec<&Endpoint> = endpoints.filter(|endpoint| endpoint.ready).collect();
    let all = |has: fn(&Endpoint) -> bool| !ready.is_empty() && ready.iter().all(|e| has(e));
    let nodes = all(|endpoint| !endpoint.extras.node_hints.is_empty());
    let zones = all(|endpoint| !endpoint.extras.zone_hints.is_empty());
    if nodes
        && ready
            .iter()
            .any(|e| e.extras.node_hints.contains(&node.name))
    {
        Hints::SameNode
    } else if zones
        && ready
            .iter()
            .any(|e| e.extras.zone_hints.contains(&node.zone))
    {
        Hints::SameZone
    } else if nodes || zones {
        Hints::NotForUs
    } else {
        Hints::Incomplete
    }
}

fn hinted_here(endpoint: &Endpoint, hints: Hints, node: &Node) -> bool {
    match hints {
        Hints::SameNode => endpoint.extras.node_hints.contains(&node.name),
        Hints::SameZone => endpoint.extras.zone_hints.contains(&node.zone),
        Hints::Incomplete | Hints::NotForUs => true,
    }
}
