//! What should become of a packet, said as slowly and plainly as possible? It shares no code with
//! the plan, the tables or the decision.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use lb_userspace::model::{
    Endpoint, Node, ObjectName, Policy, Service, ServiceKind, ServicePort, World,
};

use super::ask::Question;

/// What should become of flows like this; the backends of `Forward`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Forward(BTreeSet<SocketAddr>),
    Refuse,
    Drop,
    Pass,
}

/// Why a Service feels addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    ClusterIp,
    External { restricted: bool },
    NodePort,
}

/// What should become of it.
pub(crate) fn expected(world: &World, question: &Question) -> Expected {
    let node = world.node();
    let mut addressed: Vec<(u8, &ObjectName, &Service, &ServicePort, Kind)> = Vec::new();
    for (name, service) in world.services() {
        for port in &service.ports {
            if let Some(kind) = addresses(service, port, node, question) {
                let rank = match kind {
                    Kind::ClusterIp => 0,
                    Kind::External { .. } => 1,
                    Kind::NodePort => 2,
                };
                addressed.push((rank, name, service, port, kind));
            }
        }
    }
    addressed.sort_by_key(|(rank, name, ..)| (*rank, *name));
    match addressed.first() {
        Some((_, name, service, port, kind)) => serve(world, name, service, port, *kind, question),
        None => unserved(world, question),
    }
}

fn addresses(
    service: &Service,
    port: &ServicePort,
    node: &Node,
    question: &Question,
) -> Option<Kind> {
    let address = question.destination;
    let has_family = service
        .cluster_ips
        .iter()
        .any(|ip| ip.is_ipv4() == address.is_ipv4());
    if !is_served(service) || !has_family || port.protocol != question.protocol {
        return None;
    }
    let is_port = port.port == question.port;
    let is_load_balancer = service.load_balancer_ips.contains(&address);
    if is_port && service.cluster_ips.contains(&address) {
        Some(Kind::ClusterIp)
    } else if is_port && (is_load_balancer || service.external_ips.contains(&address)) {
        let restricted = is_load_balancer
            && service
                .source_ranges
                .iter()
                .any(|range| range.network().is_ipv4() == address.is_ipv4());
        Some(Kind::External { restricted })
    } else if port.node_port == Some(question.port) && node.node_port_addresses.contains(&address) {
        Some(Kind::NodePort)
    } else {
        None
    }
}

fn is_served(service: &Service) -> bool {
    !matches!(
        service.kind,
        ServiceKind::Headless | ServiceKind::ExternalName(_)
    )
}

fn serve(
    world: &World,
    name: &ObjectName,
    service: &Service,
    port: &ServicePort,
    kind: Kind,
    question: &Question,
) -> Expected {
    let node = world.node();
    if kind == (Kind::External { restricted: true }) && !admitted(service, node, question.source) {
        return Expected::Drop;
    }
    let is_inside = node.addresses.contains(&question.source)
        || node
            .pod_cidrs
            .iter()
            .any(|net| net.contains(&question.source));
    let policy = match kind {
        Kind::ClusterIp => service.internal_policy,
        _ if is_inside => Policy::Cluster,
        _ => service.external_policy,
    };
    let all: Vec<(SocketAddr, &Endpoint)> = endpoints(world, name, port, question.destination);
    let chosen = match policy {
        Policy::Cluster => cluster(&all, node),
        Policy::Local => {
            let local = all.iter().copied().filter(|(_, e)| is_here(e, node));
            usable(&local.collect::<Vec<_>>())
        }
    };
    if !chosen.is_empty() {
        Expected::Forward(chosen)
    } else if usable(&all).is_empty() {
        Expected::Refuse
    } else {
        Expected::Drop
    }
}

fn admitted(service: &Service, node: &Node, source: IpAddr) -> bool {
    let ranges = &service.source_ranges;
    let admits = |address: &IpAddr| ranges.iter().any(|range| range.contains(address));
    admits(&source)
        || (service.load_balancer_ips.contains(&source) && node.addresses.iter().any(admits))
}

/// Each address and port once, the best of those that are the same.
fn endpoints<'w>(
    world: &'w World,
    name: &ObjectName,
    port: &ServicePort,
    family_of: IpAddr,
) -> Vec<(SocketAddr, &'w Endpoint)> {
    let mut all: Vec<(SocketAddr, &Endpoint)> = Vec::new();
    for slice in world.slices(name) {
        for slice_port in &slice.ports {
            if slice_port.name != port.name || slice_port.protocol != port.protocol {
                continue;
            }
            let Some(number) = slice_port.port else {
                continue;
            };
            for endpoint in &slice.endpoints {
                if endpoint.address.is_ipv4() == family_of.is_ipv4() {
                    all.push((SocketAddr::new(endpoint.address, number), endpoint));
                }
            }
        }
    }
    let node = world.node();
    all.sort_by_key(|(address, e)| {
        let worse = (!e.ready, e.terminating, !e.serving, !is_here(e, node));
        (*address, worse)
    });
    all.dedup_by_key(|(address, _)| *address);
    all
}

fn is_here(endpoint: &Endpoint, node: &Node) -> bool {
    endpoint.node.as_deref() == Some(&*node.name)
}

fn ready(all: &[(SocketAddr, &Endpoint)]) -> BTreeSet<SocketAddr> {
    let ready = all.iter().filter(|(_, endpoint)| endpoint.ready);
    ready.map(|(address, _)| *address).collect()
}

fn usable(all: &[(SocketAddr, &Endpoint)]) -> BTreeSet<SocketAddr> {
    let ready = ready(all);
    if !ready.is_empty() {
        return ready;
    }
    let last = all.iter().filter(|(_, e)| e.serving && e.terminating);
    last.map(|(address, _)| *address).collect()
}

fn cluster(all: &[(SocketAddr, &Endpoint)], node: &Node) -> BTreeSet<SocketAddr> {
    let ready: Vec<(SocketAddr, &Endpoint)> =
        all.iter().copied().filter(|(_, e)| e.ready).collect();
    for (has, is_ours) in [
        (
            ready.iter().all(|(_, e)| !e.extras.node_hints.is_empty()),
            (|e, node| e.extras.node_hints.contains(&node.name)) as fn(&Endpoint, &Node) -> bool,
        ),
        (
            ready.iter().all(|(_, e)| !e.extras.zone_hints.is_empty()),
            |e, node| e.extras.zone_hints.contains(&node.zone),
        ),
    ] {
        let ours = ready.iter().filter(|(_, e)| is_ours(e, node));
        let ours: BTreeSet<SocketAddr> = ours.map(|(address, _)| *address).collect();
        if has && !ours.is_empty() {
            return ours;
        }
    }
    usable(all)
}

fn unserved(world: &World, question: &Question) -> Expected {
    let mut services = world.services();
    let address = question.destination;
    let has_it = |service: &Service| {
        is_served(service) && !service.ports.is_empty() && service.cluster_ips.contains(&address)
    };
    if services.any(|(_, service)| has_it(service)) {
        Expected::Refuse
    } else if world
        .node()
        .service_cidrs
        .iter()
        .any(|net| net.contains(&address))
    {
        Expected::Drop
    } else {
        Expected::Pass
    }
}
