//! Of what is the cluster of these tests made?

use std::net::IpAddr;

use crate::explain::{Answer, Known, Question, Traffic, explain};
use crate::model::{
    Change, Endpoint, Extra, Node, ObjectName, Policy, Protocol, Service, ServicePort, Slice,
    SlicePort, TargetPort,
};
use crate::plan::{CompleteList, ConfigBase, Planner};
use crate::state::{Details, State};
use crate::tables::{Capacities, Tables};

/// Tables and state of the cluster.
pub(super) struct Cluster {
    pub(super) tables: Tables,
    state: State,
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// An object of namespace `default`.
pub(super) fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

fn port(name: &str, port: u16, node_port: Option<u16>) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        protocol: Protocol::Tcp,
        port,
        node_port,
        target_port: TargetPort::Number(8080),
    }
}

fn service(cluster_ip: &str, ports: &[ServicePort]) -> Service {
    Service {
        cluster_ips: vec![ip(cluster_ip)],
        ports: ports.to_vec(),
        ..Service::default()
    }
}

fn endpoint(address: &str, node: &str, ready: bool) -> Endpoint {
    Endpoint {
        ready,
        serving: ready,
        node: Some(node.into()),
        target: Some(format!("Pod/at-{address}").into()),
        extras: Extra {
            since: (!ready).then(|| "2026-01-01T00:00:00Z".to_owned()),
            ..Extra::default()
        }
        .into(),
        ..Endpoint::at(ip(address))
    }
}

fn slice(of: &str, port_name: &str, endpoints: Vec<Endpoint>) -> Change {
    slice_over(Protocol::Tcp, of, port_name, endpoints)
}

fn slice_over(protocol: Protocol, of: &str, port_name: &str, endpoints: Vec<Endpoint>) -> Change {
    let slice = Slice {
        service: name(of),
        ports: vec![SlicePort {
            name: port_name.to_owned(),
            protocol,
            port: Some(8080),
        }],
        endpoints,
    };
    Change::Slice(name(&format!("{of}-1")), Some(slice.into()))
}

fn node() -> Change {
    Change::Node(Node {
        name: "node-a".to_owned(),
        addresses: [ip("192.0.2.10"), ip("192.0.2.11")].into(),
        node_port_addresses: [ip("192.0.2.10")].into(),
        pod_cidrs: vec!["10.42.0.0/16".parse().expect("a network")],
        service_cidrs: vec!["10.43.0.0/16".parse().expect("a network")],
        ..Node::default()
    })
}

/// A node with four Services: healthy, on other nodes only, without a ready endpoint, and by SCTP.
pub(super) fn cluster() -> Cluster {
    let kubia = Service {
        external_ips: vec![ip("192.0.2.11")],
        ..service("10.43.165.39", &[port("http", 80, Some(30_123))])
    };
    let local = Service {
        load_balancer_ips: vec![ip("146.148.47.155")],
        proxied_ips: vec![ip("146.148.47.156")],
        source_ranges: vec!["203.0.113.0/24".parse().expect("a network")],
        external_policy: Policy::Local,
        affinity_seconds: Some(10_800),
        ..service("10.43.0.2", &[port("", 80, None)])
    };
    let sip = ServicePort {
        protocol: Protocol::Sctp,
        ..port("", 9, None)
    };
    let changes = vec![
        node(),
        Change::Service(name("kubia"), Some(kubia.into())),
        slice(
            "kubia",
            "http",
            vec![
                endpoint("10.42.0.10", "node-a", true),
                endpoint("10.42.1.9", "node-b", true),
                endpoint("10.42.1.10", "node-b", true),
            ],
        ),
        Change::Service(name("local"), Some(local.into())),
        slice(
            "local",
            "",
            vec![
                endpoint("10.42.1.20", "node-b", true),
                endpoint("10.42.1.21", "node-b", true),
            ],
        ),
        Change::Service(
            name("sick"),
            Some(service("10.43.0.3", &[port("", 80, None)]).into()),
        ),
        slice(
            "sick",
            "",
            vec![
                endpoint("10.42.0.30", "node-a", false),
                endpoint("10.42.1.30", "node-b", false),
            ],
        ),
        Change::Service(name("sip"), Some(service("10.43.0.4", &[sip]).into())),
        slice_over(
            Protocol::Sctp,
            "sip",
            "",
            vec![endpoint("10.42.0.40", "node-a", true)],
        ),
    ];
    let base = ConfigBase {
        hash_key: 7,
        hz: 100,
        ..ConfigBase::default()
    };
    let mut planner = Planner::adopt(base, Capacities::default(), Tables::default(), 0);
    planner.complete(CompleteList(changes), 0);
    let details = Details::of(planner.world());
    Cluster {
        tables: planner.tables().clone(),
        state: State {
            services: details.services().collect(),
            targets: details.targets().collect(),
            ..State::default()
        },
    }
}

impl Cluster {
    /// Asks on this node.
    pub(super) fn ask(&self, source: &str, destination: &str, traffic: Option<&Traffic>) -> Answer {
        let question = Question::parse(source, destination, None).expect("a question");
        let known = Known {
            tables: &self.tables,
            state: &self.state,
            traffic,
        };
        explain(&question, &known).expect("one family")
    }
}

/// Asks without knowing what the programs wrote.
pub(super) fn offline(source: &str, destination: &str) -> Answer {
    cluster().ask(source, destination, None)
}
