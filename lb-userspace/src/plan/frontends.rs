//! What do clients dial to reach a Service, and which policy holds for whom?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::addr::Family;
use lb_common::layout::{
    FRONTEND_ADDRESS, FRONTEND_CLUSTER_IP, FRONTEND_EXTERNAL_IP, FRONTEND_LOAD_BALANCER,
    FRONTEND_LOOPBACK, FRONTEND_MAGLEV, FRONTEND_NODE_PORT, FRONTEND_SOURCE_RANGES, FrontendKey,
};

use super::claims::Rank;
use super::service::Problems;
use crate::model::{Algorithm, Node, Policy, Service, ServicePort};

/// A frontend of a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendPlan {
    /// `FRONTEND_*` bits.
    pub flags: u32,
    /// Which endpoints serve pods and nodes.
    pub inside: Policy,
    /// Which endpoints serve everybody else.
    pub outside: Policy,
    /// The Service's field that asks for it.
    pub field: String,
}

impl FrontendPlan {
    /// Whether only some sources are served.
    #[must_use]
    pub const fn is_restricted(&self) -> bool {
        self.flags & FRONTEND_SOURCE_RANGES != 0
    }

    /// How strong the claim is where another Service wants the same.
    #[must_use]
    pub const fn rank(&self) -> Rank {
        if self.flags & (FRONTEND_CLUSTER_IP | FRONTEND_ADDRESS) != 0 {
            Rank::ClusterIp
        } else if self.flags & FRONTEND_NODE_PORT != 0 {
            Rank::NodePort
        } else {
            Rank::External
        }
    }
}

/// The frontends of each of the ports in one address family. Like kube-proxy, nothing of a family
/// in which the Service has no ClusterIP.
pub(super) fn frontends<A: Family>(
    service: &Service,
    ports: &[(usize, &ServicePort)],
    node: &Node,
    problems: &mut Problems,
) -> Vec<BTreeMap<FrontendKey<A>, FrontendPlan>> {
    let mut collection = Collection {
        service,
        algorithm: service.algorithm.unwrap_or(node.algorithm),
        found: vec![BTreeMap::new(); ports.len()],
        by_key: BTreeMap::new(),
        problems,
    };
    if !service.cluster_ips.iter().copied().any(is_of::<A>) {
        collection.report_strangers::<A>();
        return collection.found;
    }
    collection.add_cluster_ips(ports);
    collection.add_external(ports);
    collection.add_node_ports(ports, node);
    collection.found
}

/// The frontends found so far; stronger ones are added first.
struct Collection<'a, A: Family> {
    service: &'a Service,
    /// How external addresses choose.
    algorithm: Algorithm,
    /// By the port's place in `ports`.
    found: Vec<BTreeMap<FrontendKey<A>, FrontendPlan>>,
    /// Which port has a frontend: place in `ports` and in the Service.
    by_key: BTreeMap<FrontendKey<A>, (usize, usize)>,
    problems: &'a mut Problems,
}

impl<A: Family> Collection<'_, A> {
    fn add_cluster_ips(&mut self, ports: &[(usize, &ServicePort)]) {
        let policy = self.service.internal_policy;
        let addresses = &self.service.cluster_ips;
        for address in addresses.iter().copied().filter_map(A::from_ip) {
            let plan = |flags| FrontendPlan {
                flags,
                inside: policy,
                outside: policy,
                field: "spec.clusterIPs".to_owned(),
            };
            for (place, (i, port)) in ports.iter().enumerate() {
                let key = frontend_key(address, port.port, port);
                self.add(key, (place, *i), plan(FRONTEND_CLUSTER_IP));
            }
            if let Some((i, _)) = ports.first() {
                let marker = FrontendKey {
                    address,
                    ..FrontendKey::default()
                };
                self.add(marker, (0, *i), plan(FRONTEND_ADDRESS));
            }
        }
    }

    fn add_external(&mut self, ports: &[(usize, &ServicePort)]) {
        let restricted = self.service.source_ranges.iter();
        let restricted = restricted.map(ipnet::IpNet::network).any(is_of::<A>);
        let load_balancer = FRONTEND_LOAD_BALANCER
            | if restricted {
                FRONTEND_SOURCE_RANGES
            } else {
                0
            };
        let service = self.service;
        for (flags, addresses, field) in [
            (FRONTEND_EXTERNAL_IP, &service.external_ips, EXTERNAL_IPS),
            (load_balancer, &service.load_balancer_ips, INGRESS),
        ] {
            for address in addresses.iter().copied().filter_map(A::from_ip) {
                for (place, (i, port)) in ports.iter().enumerate() {
                    let key = frontend_key(address, port.port, port);
                    let plan = self.external(flags, field);
                    self.add(key, (place, *i), plan);
                }
            }
        }
        let has_vip = service.load_balancer_ips.iter().copied().any(is_of::<A>);
        if has_vip && !restricted && !service.source_ranges.is_empty() {
            self.problems.add(
                "spec.loadBalancerSourceRanges",
                format!(
                    "has no {family} range, so every {family} client is admitted, as under kube-proxy; add an {family} range to restrict them",
                    family = family_name::<A>(),
                ),
            );
        }
    }

    fn add_node_ports(&mut self, ports: &[(usize, &ServicePort)], node: &Node) {
        let addresses = node.node_port_addresses.iter().copied();
        for address in addresses.filter_map(A::from_ip) {
            for (place, (i, port)) in ports.iter().enumerate() {
                if let Some(node_port) = port.node_port {
                    let key = frontend_key(address, node_port, port);
                    let field = format!("spec.ports[{i}].nodePort");
                    let loopback = if address.to_ip().is_loopback() {
                        FRONTEND_LOOPBACK
                    } else {
                        0
                    };
                    let plan = self.external(FRONTEND_NODE_PORT | loopback, &field);
                    self.add(key, (place, *i), plan);
                }
            }
        }
    }

    /// Pods and nodes that dial an external address are served as under `Cluster`.
    fn external(&self, flags: u32, field: &str) -> FrontendPlan {
        let maglev = match self.algorithm {
            Algorithm::Random => 0,
            Algorithm::Maglev => FRONTEND_MAGLEV,
        };
        FrontendPlan {
            flags: flags | maglev,
            inside: Policy::Cluster,
            outside: self.service.external_policy,
            field: field.to_owned(),
        }
    }

    fn add(&mut self, key: FrontendKey<A>, port: (usize, usize), plan: FrontendPlan) {
        let (place, i) = port;
        let (first_place, first) = *self.by_key.entry(key).or_insert(port);
        if first_place != place {
            self.problems.add(
                plan.field,
                format!(
                    "{}:{} is a frontend of spec.ports[{first}] already: not served for spec.ports[{i}]; give it another port",
                    key.address, key.port
                ),
            );
            return;
        }
        let external = FRONTEND_EXTERNAL_IP | FRONTEND_LOAD_BALANCER;
        let known = self.found[place].entry(key).or_insert_with(|| plan.clone());
        if known.flags & plan.flags & external == 0
            && known.flags & external != 0
            && plan.flags & external != 0
        {
            known.flags |= plan.flags;
        }
    }

    fn report_strangers<A2: Family>(&mut self) {
        let family = family_name::<A2>();
        for (addresses, field) in [
            (&self.service.external_ips, EXTERNAL_IPS),
            (&self.service.load_balancer_ips, INGRESS),
        ] {
            for address in addresses.iter().copied().filter(|ip| is_of::<A2>(*ip)) {
                self.problems.add(
                    field,
                    format!(
                        "{address} is not served: the Service has no {family} clusterIP; add {family} to spec.ipFamilies"
                    ),
                );
            }
        }
    }
}

const EXTERNAL_IPS: &str = "spec.externalIPs";
const INGRESS: &str = "status.loadBalancer.ingress";

fn is_of<A: Family>(address: IpAddr) -> bool {
    A::from_ip(address).is_some()
}

const fn family_name<A: Family>() -> &'static str {
    if A::BITS == 32 { "IPv4" } else { "IPv6" }
}

fn frontend_key<A: Family>(address: A, port: u16, of: &ServicePort) -> FrontendKey<A> {
    FrontendKey {
        address,
        port,
        protocol: of.protocol.number(),
        reserved: 0,
    }
}

/// Bits and network of the sources that the Service's load balancer addresses admit.
///
/// Where a range admits this node, it admits the load balancer's addresses, too: if one of them is
/// on an interface of the node, the node's own packets to it have it as their source.
pub(super) fn source_ranges<A: Family>(service: &Service, node: &Node) -> BTreeSet<(u32, A)> {
    let range = |range: &ipnet::IpNet| {
        let network = A::from_ip(range.network())?;
        Some((u32::from(range.prefix_len()), network))
    };
    let mut ranges: BTreeSet<_> = service.source_ranges.iter().filter_map(range).collect();
    let own = node.addresses.iter().filter(|ip| is_of::<A>(**ip));
    let admits_node = own
        .flat_map(|address| {
            service
                .source_ranges
                .iter()
                .map(move |r| r.contains(address))
        })
        .any(|admits| admits);
    if admits_node {
        let vips = service.load_balancer_ips.iter().copied();
        ranges.extend(vips.filter_map(A::from_ip).map(|vip| (A::BITS, vip)));
    }
    ranges
}
