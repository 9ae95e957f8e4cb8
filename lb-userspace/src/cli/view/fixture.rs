//! A small cluster to be looked at: planned as `lb run` would, with what its state file would say.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lb_common::addr::Ip4;
use lb_common::drops::{DropReason, Hook};
use lb_common::flow::{mirror, mirror_key};
use lb_common::layout::{FLOW_OUTSIDE, FLOW_SNAT, Flow, FlowKey};
use lb_common::tcp;

use crate::input::{Allocations, Unmapped, UnmappedReason, manifests};
use crate::model::{
    Change, Endpoint, Node, Object, ObjectName, Place, Policy, Problem, Protocol, Service,
    ServiceKind, ServicePort, Slice, SlicePort, TargetPort,
};
use crate::plan::{CompleteList, ConfigBase, Planner};
use crate::state::{Details, FORMAT, State};
use crate::tables::{Capacities, Tables};

/// Everything that a node would show.
pub(in crate::cli) struct Fixture {
    pub(in crate::cli) tables: Tables,
    pub(super) state: State,
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName::new(namespace, name)
}

fn port(
    name: &str,
    protocol: Protocol,
    port: u16,
    target: u16,
    node_port: Option<u16>,
) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        protocol,
        port,
        node_port,
        target_port: TargetPort::Number(target),
    }
}

fn service(name: &ObjectName, service: Service) -> Change {
    Change::Service(name.clone(), Some(service.into()))
}

/// A pod behind a Service; `node` tells where.
fn pod(address: &str, target: &str, node: &str) -> Endpoint {
    Endpoint {
        node: Some(node.into()),
        target: Some(format!("Pod/{target}").into()),
        ..Endpoint::at(ip(address))
    }
}

fn terminating(endpoint: Endpoint) -> Endpoint {
    Endpoint {
        ready: false,
        terminating: true,
        ..endpoint
    }
}

fn slice(
    service: &ObjectName,
    ports: &[(&str, Protocol, u16)],
    endpoints: Vec<Endpoint>,
) -> Change {
    let family = if endpoints.iter().all(|endpoint| endpoint.address.is_ipv4()) {
        "v4"
    } else {
        "v6"
    };
    Change::Slice(
        name(&service.namespace, &format!("{}-{family}", service.name)),
        Some(Arc::new(Slice {
            service: service.clone(),
            ports: ports
                .iter()
                .map(|(name, protocol, port)| SlicePort {
                    name: (*name).to_owned(),
                    protocol: *protocol,
                    port: Some(*port),
                })
                .collect(),
            endpoints,
        })),
    )
}

fn kubia(changes: &mut Vec<Change>) {
    let pods = || {
        vec![
            pod("10.42.0.10", "kubia-vs2kl", "node-a"),
            pod("10.42.1.9", "kubia-4nj9r", "node-b"),
            terminating(pod("10.42.1.10", "kubia-hk7cm", "node-b")),
        ]
    };
    let of = name("default", "kubia");
    changes.push(service(
        &of,
        Service {
            cluster_ips: vec![ip("10.43.165.39")],
            ports: vec![port("", Protocol::Tcp, 80, 8080, None)],
            affinity_seconds: Some(10_800),
            ..Service::default()
        },
    ));
    changes.push(slice(&of, &[("", Protocol::Tcp, 8080)], pods()));
    let of = name("default", "kubia-nodeport");
    changes.push(service(
        &of,
        Service {
            kind: ServiceKind::NodePort,
            cluster_ips: vec![ip("10.43.254.206")],
            ports: vec![port("", Protocol::Tcp, 80, 8080, Some(30_123))],
            external_policy: Policy::Local,
            ..Service::default()
        },
    ));
    changes.push(slice(&of, &[("", Protocol::Tcp, 8080)], pods()));
    let of = name("default", "kubia-https");
    changes.push(service(
        &of,
        Service {
            cluster_ips: vec![ip("10.43.7.83")],
            ports: vec![
                port("http", Protocol::Tcp, 80, 8080, None),
                port("https", Protocol::Tcp, 443, 8443, None),
            ],
            ..Service::default()
        },
    ));
}

fn load_balancers(changes: &mut Vec<Change>) {
    let given = Service {
        kind: ServiceKind::LoadBalancer,
        cluster_ips: vec![ip("10.43.9.9")],
        load_balancer_ips: vec![ip("146.148.47.155")],
        external_ips: vec![ip("192.0.2.80")],
        source_ranges: vec!["203.0.113.0/24".parse().expect("a network")],
        ports: vec![port("", Protocol::Tcp, 80, 8080, Some(30_061))],
        ..Service::default()
    };
    let asked = Service {
        kind: ServiceKind::LoadBalancer,
        cluster_ips: vec![ip("10.43.9.10")],
        ports: vec![port("", Protocol::Tcp, 80, 8080, Some(30_062))],
        ..Service::default()
    };
    changes.push(service(&name("shop", "given"), given));
    changes.push(service(&name("shop", "asked"), asked));
}

fn dns(changes: &mut Vec<Change>) {
    let of = name("kube-system", "dns");
    changes.push(service(
        &of,
        Service {
            cluster_ips: vec![ip("10.43.0.10"), ip("fd00:10:43::a")],
            ports: vec![
                port("dns", Protocol::Udp, 53, 53, None),
                port("dns-tcp", Protocol::Tcp, 53, 53, None),
            ],
            ..Service::default()
        },
    ));
    let ports = [("dns", Protocol::Udp, 53), ("dns-tcp", Protocol::Tcp, 53)];
    let six = vec![pod("fd00:10:42::5", "dns-0", "node-a")];
    changes.push(slice(
        &of,
        &ports,
        vec![pod("10.42.0.5", "dns-0", "node-a")],
    ));
    changes.push(slice(&of, &ports, six));
}

fn left_to_dns(changes: &mut Vec<Change>) -> Vec<Unmapped> {
    let headless = name("default", "kubia-headless");
    changes.push(service(
        &headless,
        Service {
            kind: ServiceKind::Headless,
            ports: vec![port("", Protocol::Tcp, 80, 8080, None)],
            ..Service::default()
        },
    ));
    vec![
        Unmapped {
            service: name("default", "backend-service"),
            reason: UnmappedReason::ExternalName(
                "backend-service.example.svc.cluster.local".to_owned(),
            ),
        },
        Unmapped {
            service: headless,
            reason: UnmappedReason::Headless,
        },
    ]
}

fn problems() -> Vec<Problem> {
    vec![
        Problem {
            object: Object {
                kind: "Service".to_owned(),
                name: name("shop", "asked"),
            },
            field: "spec.loadBalancerIP".to_owned(),
            why: "78.11.24.19 belongs to Service shop/given already: give another address"
                .to_owned(),
            place: Some(Place {
                file: "examples/shop.yaml".into(),
                line: 12,
            }),
        },
        Problem {
            object: Object {
                kind: "Link".to_owned(),
                name: name("", "eth0"),
            },
            field: String::new(),
            why: "its driver has no XDP: tc serves it".to_owned(),
            place: None,
        },
    ]
}

/// This node, which serves NodePorts on these addresses.
fn node(addresses: &[&str]) -> Change {
    let addresses: BTreeSet<IpAddr> = addresses.iter().map(|address| ip(address)).collect();
    Change::Node(Node {
        name: "node-a".to_owned(),
        node_port_addresses: addresses.clone(),
        addresses,
        ..Node::default()
    })
}

impl Fixture {
    pub(in crate::cli) fn new() -> Self {
        let mut changes = vec![node(&["192.0.2.10"])];
        kubia(&mut changes);
        load_balancers(&mut changes);
        dns(&mut changes);
        let unmapped = left_to_dns(&mut changes);
        Self::of(changes, unmapped, problems())
    }

    /// What manifests make of a node called node-a.
    pub(super) fn of_manifests(paths: Vec<PathBuf>) -> Self {
        let options = manifests::Options {
            paths,
            node_name: "node-a".to_owned(),
            service_cidrs: Vec::new(),
            node_port_range: manifests::NODE_PORT_RANGE,
            allocations: Allocations::default(),
            kept: None,
        };
        let update = manifests::read_once(options).expect("manifests");
        let mut changes = vec![node(&["172.18.0.2", "fd00:172:18::2"])];
        changes.extend(update.changes);
        Self::of(changes, update.unmapped, update.problems)
    }

    fn of(changes: Vec<Change>, unmapped: Vec<Unmapped>, problems: Vec<Problem>) -> Self {
        let mut planner = Planner::adopt(
            ConfigBase::default(),
            Capacities::default(),
            Tables::default(),
            0,
        );
        drop(planner.complete(CompleteList(changes), 0));
        let details = Details::of(planner.world());
        Self {
            tables: planner.tables().clone(),
            state: State {
                format: FORMAT,
                version: "0.1.0".to_owned(),
                pid: 812,
                node: "node-a".to_owned(),
                problems: [problems, planner.problems()].concat(),
                unmapped,
                services: details.services().collect(),
                targets: details.targets().collect(),
                ..State::default()
            },
        }
    }

    /// Id of a service port.
    fn port_id(&self, service: &str) -> u32 {
        let found = self.tables.services.iter();
        let mut found = found.filter(|(_, name)| name.to_string() == service);
        *found.next().expect(service).0
    }

    /// An outside client's connection with its replies, and one from a pod without.
    pub(super) fn flows(&self) -> Vec<(FlowKey<Ip4>, Flow<Ip4>)> {
        let key = FlowKey {
            source: Ip4::new(203, 0, 113, 7),
            destination: Ip4::new(192, 0, 2, 10),
            source_port: 40_000,
            destination_port: 30_123,
            protocol: Protocol::Tcp.number(),
            reserved: [0; 3],
        };
        let flow = Flow {
            source: Ip4::new(192, 0, 2, 10),
            source_port: 61_001,
            destination: Ip4::new(10, 42, 1, 9),
            destination_port: 8080,
            flags: FLOW_SNAT | FLOW_OUTSIDE,
            state: tcp::observe(tcp::SYN, tcp::ACK),
            service_port: self.port_id("default/kubia-nodeport"),
            created: 1_000,
            last_seen: 5_000,
            packets: 12,
            bytes: 1_440,
            ..Flow::default()
        };
        let (reply_key, reply) = (mirror_key(&key, &flow), mirror(&key, &flow));
        let reply = Flow {
            state: tcp::observe(tcp::SYN, tcp::ACK),
            last_seen: 9_000,
            packets: 9,
            bytes: 9_000,
            ..reply
        };
        let lone_key = FlowKey {
            source: Ip4::new(10, 42, 0, 77),
            destination: Ip4::new(10, 43, 165, 39),
            destination_port: 80,
            ..key
        };
        let lone = Flow {
            source: lone_key.source,
            source_port: lone_key.source_port,
            flags: 0,
            packets: 1,
            bytes: 60,
            service_port: self.port_id("default/kubia"),
            ..flow
        };
        vec![(key, flow), (lone_key, lone), (reply_key, reply)]
    }
}

/// Counters as a node would have them.
pub(super) fn counters() -> Vec<(Hook, DropReason, u64)> {
    let moved = [
        (Hook::Tc, DropReason::UndefinedPort, 3),
        (Hook::Socket, DropReason::NoEndpoints, 17),
    ];
    let all = Hook::ALL.iter().flat_map(|hook| {
        let reasons = DropReason::ALL.iter();
        reasons.map(move |reason| (*hook, *reason))
    });
    all.map(|(hook, reason)| {
        let packets = moved
            .iter()
            .find(|(h, r, _)| (*h, *r) == (hook, reason))
            .map_or(0, |(_, _, packets)| *packets);
        (hook, reason, packets)
    })
    .collect()
}
