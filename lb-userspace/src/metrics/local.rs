//! How many ports of Services ask for endpoints on this node, and have them only on others? They drop
//! what they are sent, while the Service serves elsewhere; counted as kube-proxy counts them.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::addr::{Family, Ip4, Ip6};

use crate::model::{ObjectName, Policy, Service, ServiceKind, World};
use crate::plan::endpoints::judge;

/// Ports by policy (internal, external) and family (IPv4, IPv6).
pub type Counts = [[u32; 2]; 2];

/// The ports of all Services.
#[derive(Debug, Default)]
pub struct LacksLocal {
    /// Services that have such ports.
    services: BTreeMap<ObjectName, Counts>,
}

impl LacksLocal {
    /// Follows the world, in which these Services, or the node, may have changed.
    pub fn follow(&mut self, world: &World, touched: &BTreeSet<ObjectName>) -> Counts {
        for name in touched {
            let counts = world
                .service(name)
                .map_or_else(Counts::default, |service| of_service(world, name, service));
            if counts == Counts::default() {
                self.services.remove(name);
            } else {
                self.services.insert(name.clone(), counts);
            }
        }
        self.services.values().fold(Counts::default(), |sum, one| {
            [0, 1].map(|policy| [0, 1].map(|family| sum[policy][family] + one[policy][family]))
        })
    }
}

fn of_service(world: &World, name: &ObjectName, service: &Service) -> Counts {
    let is_dialled_from_outside = match service.kind {
        ServiceKind::NodePort | ServiceKind::LoadBalancer => true,
        _ => !service.external_ips.is_empty(),
    };
    let policies = [
        service.internal_policy == Policy::Local,
        service.external_policy == Policy::Local && is_dialled_from_outside,
    ];
    if policies == [false, false] {
        return Counts::default();
    }
    let ports = [
        ports_without::<Ip4>(world, name, service),
        ports_without::<Ip6>(world, name, service),
    ];
    policies.map(|is_local| if is_local { ports } else { [0, 0] })
}

/// Ports that have endpoints, but none here.
fn ports_without<A: Family>(world: &World, name: &ObjectName, service: &Service) -> u32 {
    let mut addresses = service.cluster_ips.iter();
    if !addresses.any(|address| A::from_ip(*address).is_some()) {
        return 0;
    }
    let is_without = |port_name: &str, protocol| {
        let judged = judge::<A>(world.slices(name), port_name, protocol, world.node());
        let mut endpoints = judged.endpoints.iter();
        let mut others = judged.endpoints.iter().map(|judged| judged.endpoint);
        !endpoints.any(|endpoint| endpoint.under(Policy::Local).takes())
            && others.any(|other| other.ready || (other.serving && other.terminating))
    };
    let ports = service.ports.iter();
    ports
        .filter(|port| is_without(&port.name, port.protocol))
        .map(|_| 1)
        .sum()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::{
        Change, Endpoint, Node, Protocol, ServicePort, Slice, SlicePort, TargetPort,
    };

    fn name() -> ObjectName {
        ObjectName::new("default", "kubia")
    }

    fn endpoint(node: &str, ready: bool, terminating: bool) -> Endpoint {
        Endpoint {
            ready,
            serving: ready || terminating,
            terminating,
            node: Some(node.into()),
            ..Endpoint::at([10, 42, 0, 7].into())
        }
    }

    /// A Service with an IPv4 ClusterIP and a NodePort, and these policies and endpoints.
    fn counts(internal: Policy, external: Policy, endpoint: Option<Endpoint>) -> Counts {
        let mut world = World::default();
        world.apply(Change::Node(Node {
            name: "node-a".into(),
            ..Node::default()
        }));
        let port = ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30_123),
            target_port: TargetPort::Number(8080),
        };
        let service = Service {
            kind: ServiceKind::NodePort,
            cluster_ips: vec![IpAddr::from([10, 43, 165, 39])],
            ports: vec![port],
            internal_policy: internal,
            external_policy: external,
            ..Service::default()
        };
        let slice = Slice {
            service: name(),
            ports: vec![SlicePort {
                port: Some(8080),
                ..SlicePort::default()
            }],
            endpoints: endpoint.into_iter().collect(),
        };
        world.apply(Change::Service(name(), Some(service.into())));
        world.apply(Change::Slice(name(), Some(slice.into())));
        let mut lacks = LacksLocal::default();
        let counts = lacks.follow(&world, &[name()].into());
        world.apply(Change::Service(name(), None));
        assert_eq!(lacks.follow(&world, &[name()].into()), Counts::default());
        counts
    }

    #[test]
    fn a_port_counts_that_serves_on_other_nodes_alone() {
        use Policy::{Cluster, Local};
        let there = |ready, terminating| Some(endpoint("node-b", ready, terminating));
        let here = |ready, terminating| Some(endpoint("node-a", ready, terminating));
        let none = Counts::default();
        for (internal, external, endpoint, expected) in [
            (Cluster, Cluster, there(true, false), none),
            (Local, Cluster, there(true, false), [[1, 0], [0, 0]]),
            (Cluster, Local, there(true, false), [[0, 0], [1, 0]]),
            (Local, Local, there(true, false), [[1, 0], [1, 0]]),
            // Who still serves while it terminates is somebody; who is not ready is not.
            (Local, Local, there(false, true), [[1, 0], [1, 0]]),
            (Local, Local, there(false, false), none),
            (Local, Local, here(true, false), none),
            (Local, Local, here(false, true), none),
            (Local, Local, None, none),
        ] {
            let what = format!("{internal:?} {external:?} {endpoint:?}");
            assert_eq!(counts(internal, external, endpoint), expected, "{what}");
        }
    }
}
