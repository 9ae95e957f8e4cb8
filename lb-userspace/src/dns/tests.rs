//! Which answer does each kind of Service get, and does a change touch its own names only?

use std::fmt::Write as _;
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};

use super::*;
use crate::model::{
    Endpoint, Extra, Node, Protocol, Service, ServiceKind, ServicePort, Slice, SlicePort,
    TargetPort,
};

/// A world and its names.
struct Cluster {
    world: World,
    directory: Directory,
}

impl Cluster {
    fn new(changes: Vec<Change>) -> Self {
        let mut cluster = Self {
            world: World::default(),
            directory: Directory::new(Domain::default()),
        };
        let node = Node {
            service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
            ..Node::default()
        };
        cluster.apply(vec![Change::Node(node)]);
        cluster.apply(changes);
        cluster.directory.complete();
        cluster
    }

    /// Applies changes; returns the Services that they touched.
    fn apply(&mut self, changes: Vec<Change>) -> BTreeSet<ObjectName> {
        let touched = Directory::touched(&self.world, &changes);
        for change in changes {
            self.world.apply(change);
        }
        self.directory.update(&self.world, &touched);
        touched
    }

    /// The answer to `NAME TYPE`, a line for each record.
    fn ask(&self, question: &str) -> String {
        let (name, kind) = question.split_once(' ').unwrap();
        let name = Name::from_ascii(name).unwrap();
        let kind: RecordType = kind.parse().unwrap();
        let answer = self.directory.read(|zone| answer(zone, &name, kind, 0));
        let Some(answer) = answer else {
            return "elsewhere".to_owned();
        };
        let mut text = String::new();
        if answer.code != ResponseCode::NoError {
            writeln!(text, "{:?}", answer.code).unwrap();
        }
        for (section, records) in [
            ("", &answer.answers),
            ("authority ", &answer.authorities),
            ("additional ", &answer.additionals),
        ] {
            for record in records {
                writeln!(text, "{section}{}", show(record)).unwrap();
            }
        }
        if let Some(rest) = answer.rest {
            writeln!(text, "elsewhere {rest}").unwrap();
        }
        text.trim_end().to_owned()
    }
}

/// A record without what all of them share.
fn show(record: &Record) -> String {
    let kind = record.record_type();
    if kind == RecordType::SOA {
        return format!("{} SOA", record.name);
    }
    format!("{} {kind} {}", record.name, record.data)
}

fn service(name: &str, kind: ServiceKind, addresses: &[&str], ports: &[(&str, u16)]) -> Change {
    let ports = ports.iter().map(|(name, port)| ServicePort {
        name: (*name).to_owned(),
        protocol: Protocol::Tcp,
        port: *port,
        node_port: None,
        target_port: TargetPort::Number(8080),
    });
    let service = Service {
        kind,
        cluster_ips: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ports: ports.collect(),
        ..Service::default()
    };
    Change::Service(ObjectName::new("default", name), Some(service.into()))
}

fn endpoint(address: &str, ready: bool, hostname: Option<&str>) -> Endpoint {
    Endpoint {
        ready,
        serving: ready,
        extras: Extra {
            hostname: hostname.map(str::to_owned),
            ..Extra::default()
        }
        .into(),
        ..Endpoint::at(address.parse().unwrap())
    }
}

fn slice(name: &str, service: &str, ports: &[(&str, u16)], endpoints: &[Endpoint]) -> Change {
    let ports = ports.iter().map(|(name, port)| SlicePort {
        name: (*name).to_owned(),
        protocol: Protocol::Tcp,
        port: Some(*port),
    });
    let slice = Slice {
        service: ObjectName::new("default", service),
        ports: ports.collect(),
        endpoints: endpoints.to_vec(),
    };
    Change::Slice(ObjectName::new("default", name), Some(slice.into()))
}

#[test]
fn a_service_with_addresses() {
    let cluster = Cluster::new(vec![service(
        "kubia",
        ServiceKind::NodePort,
        &["10.43.7.83", "fd00:10:43::53"],
        &[("http", 80), ("https", 443)],
    )]);
    for (question, expected) in [
        (
            "kubia.default.svc.cluster.local. A",
            "kubia.default.svc.cluster.local. A 10.43.7.83",
        ),
        (
            "KUBIA.default.svc.Cluster.local. AAAA",
            "KUBIA.default.svc.Cluster.local. AAAA fd00:10:43::53",
        ),
        (
            "_https._tcp.kubia.default.svc.cluster.local. SRV",
            "_https._tcp.kubia.default.svc.cluster.local. SRV 0 100 443 kubia.default.svc.cluster.local.\n\
             additional kubia.default.svc.cluster.local. A 10.43.7.83\n\
             additional kubia.default.svc.cluster.local. AAAA fd00:10:43::53",
        ),
        (
            "83.7.43.10.in-addr.arpa. PTR",
            "83.7.43.10.in-addr.arpa. PTR kubia.default.svc.cluster.local.",
        ),
        (
            "dns-version.cluster.local. TXT",
            "dns-version.cluster.local. TXT 1.1.0",
        ),
    ] {
        assert_eq!(cluster.ask(question), expected, "{question}");
    }
}

#[test]
fn what_says_nothing_and_what_is_not_there() {
    let cluster = Cluster::new(vec![service(
        "kubia",
        ServiceKind::ClusterIp,
        &["10.43.7.83"],
        &[("http", 80)],
    )]);
    let nothing = "authority cluster.local. SOA";
    let missing = "NXDomain\nauthority cluster.local. SOA";
    for (question, expected) in [
        ("kubia.default.svc.cluster.local. AAAA", nothing),
        ("kubia.default.svc.cluster.local. MX", nothing),
        ("_tcp.kubia.default.svc.cluster.local. A", nothing),
        ("default.svc.cluster.local. A", nothing),
        ("svc.cluster.local. A", nothing),
        ("cluster.local. A", nothing),
        ("cluster.local. SOA", "cluster.local. SOA"),
        ("other.default.svc.cluster.local. A", missing),
        ("_http._udp.kubia.default.svc.cluster.local. SRV", missing),
        ("10-42-0-10.kubia.default.svc.cluster.local. A", missing),
        ("kubia.defaul.svc.cluster.local. A", missing),
        ("defaul.svc.cluster.local. A", missing),
        ("kubia.default.pod.cluster.local. A", missing),
        ("kubia.default.cluster.local. A", missing),
        ("kubia\\.default.svc.cluster.local. A", missing),
        ("kubia. A", "elsewhere"),
        ("cluster.localhost. A", "elsewhere"),
        ("9.9.42.10.in-addr.arpa. PTR", "elsewhere"),
        (
            "84.7.43.10.in-addr.arpa. PTR",
            "NXDomain\nauthority 43.10.in-addr.arpa. SOA",
        ),
        (
            "83.7.43.10.in-addr.arpa. A",
            "authority 43.10.in-addr.arpa. SOA",
        ),
    ] {
        assert_eq!(cluster.ask(question), expected, "{question}");
    }
}

#[test]
fn a_headless_service_is_its_ready_endpoints() {
    let cluster = Cluster::new(vec![
        service("kubia", ServiceKind::Headless, &[], &[("http", 80)]),
        slice(
            "kubia-1",
            "kubia",
            &[("http", 8080)],
            &[
                endpoint("10.42.0.10", true, Some("kubia-0")),
                endpoint("10.42.1.9", false, Some("kubia-1")),
                endpoint("10.42.1.10", true, None),
                endpoint("fd00:10:42:1::10", true, None),
            ],
        ),
        // The same one in another slice, as while endpoints move from one to the next.
        slice(
            "kubia-2",
            "kubia",
            &[("http", 8080)],
            &[endpoint("10.42.0.10", true, Some("kubia-0"))],
        ),
    ]);
    for (question, expected) in [
        (
            "kubia.default.svc.cluster.local. A",
            "kubia.default.svc.cluster.local. A 10.42.0.10\n\
             kubia.default.svc.cluster.local. A 10.42.1.10",
        ),
        (
            "kubia-0.kubia.default.svc.cluster.local. A",
            "kubia-0.kubia.default.svc.cluster.local. A 10.42.0.10",
        ),
        (
            "10-42-1-10.kubia.default.svc.cluster.local. A",
            "10-42-1-10.kubia.default.svc.cluster.local. A 10.42.1.10",
        ),
        (
            "fd00-10-42-1--10.kubia.default.svc.cluster.local. AAAA",
            "fd00-10-42-1--10.kubia.default.svc.cluster.local. AAAA fd00:10:42:1::10",
        ),
        (
            "kubia-1.kubia.default.svc.cluster.local. A",
            "NXDomain\nauthority cluster.local. SOA",
        ),
        (
            "_http._tcp.kubia.default.svc.cluster.local. SRV",
            "_http._tcp.kubia.default.svc.cluster.local. SRV 0 100 8080 10-42-1-10.kubia.default.svc.cluster.local.\n\
             _http._tcp.kubia.default.svc.cluster.local. SRV 0 100 8080 fd00-10-42-1--10.kubia.default.svc.cluster.local.\n\
             _http._tcp.kubia.default.svc.cluster.local. SRV 0 100 8080 kubia-0.kubia.default.svc.cluster.local.\n\
             additional 10-42-1-10.kubia.default.svc.cluster.local. A 10.42.1.10\n\
             additional fd00-10-42-1--10.kubia.default.svc.cluster.local. AAAA fd00:10:42:1::10\n\
             additional kubia-0.kubia.default.svc.cluster.local. A 10.42.0.10",
        ),
        (
            "10.0.42.10.in-addr.arpa. PTR",
            "10.0.42.10.in-addr.arpa. PTR kubia-0.kubia.default.svc.cluster.local.",
        ),
    ] {
        assert_eq!(cluster.ask(question), expected, "{question}");
    }
}

#[test]
fn other_names_lead_on() {
    let alias =
        |name, target: &str| service(name, ServiceKind::ExternalName(target.into()), &[], &[]);
    let cluster = Cluster::new(vec![
        service("kubia", ServiceKind::ClusterIp, &["10.43.7.83"], &[]),
        alias("one", "two.default.svc.cluster.local"),
        alias("two", "Kubia.default.svc.cluster.local."),
        alias("gone", "missing.default.svc.cluster.local"),
        alias("outside", "www.example.com"),
        alias("circle", "circle.default.svc.cluster.local"),
        alias("address", "192.0.2.1"),
    ]);
    for (question, expected) in [
        (
            "one.default.svc.cluster.local. A",
            "one.default.svc.cluster.local. CNAME two.default.svc.cluster.local.\n\
             two.default.svc.cluster.local. CNAME kubia.default.svc.cluster.local.\n\
             kubia.default.svc.cluster.local. A 10.43.7.83",
        ),
        (
            "one.default.svc.cluster.local. CNAME",
            "one.default.svc.cluster.local. CNAME two.default.svc.cluster.local.",
        ),
        (
            "gone.default.svc.cluster.local. A",
            "NXDomain\n\
             gone.default.svc.cluster.local. CNAME missing.default.svc.cluster.local.\n\
             authority cluster.local. SOA",
        ),
        (
            "outside.default.svc.cluster.local. AAAA",
            "outside.default.svc.cluster.local. CNAME www.example.com.\n\
             elsewhere www.example.com.",
        ),
        ("circle.default.svc.cluster.local. A", "ServFail"),
        (
            "address.default.svc.cluster.local. A",
            "NXDomain\nauthority cluster.local. SOA",
        ),
    ] {
        assert_eq!(cluster.ask(question), expected, "{question}");
    }
}

#[test]
fn a_change_touches_its_own_service_and_leaves_nothing_behind() {
    let name = |name| ObjectName::new("default", name);
    let mut cluster = Cluster::new(vec![
        service("kubia", ServiceKind::Headless, &[], &[]),
        service("backend", ServiceKind::ClusterIp, &["10.43.7.83"], &[]),
    ]);
    let pod = [endpoint("10.42.0.10", true, None)];
    let pointer = "10.0.42.10.in-addr.arpa. PTR";
    assert_eq!(
        cluster
            .ask("kubia.default.svc.cluster.local. A")
            .lines()
            .next(),
        Some("NXDomain")
    );
    let touched = cluster.apply(vec![slice("a", "kubia", &[], &pod)]);
    assert_eq!(touched, [name("kubia")].into());
    assert!(
        cluster
            .ask(pointer)
            .ends_with("10-42-0-10.kubia.default.svc.cluster.local.")
    );
    let touched = cluster.apply(vec![Change::Slice(name("a"), None)]);
    assert_eq!(touched, [name("kubia")].into());
    assert_eq!(cluster.ask(pointer), "elsewhere");
    let touched = cluster.apply(vec![Change::Service(name("backend"), None)]);
    assert_eq!(touched, [name("backend")].into());
    assert_eq!(
        cluster.ask("default.svc.cluster.local. A"),
        "NXDomain\nauthority cluster.local. SOA"
    );
    let moved = service("backend", ServiceKind::ClusterIp, &["10.43.0.1"], &[]);
    cluster.apply(vec![moved.clone()]);
    assert_eq!(cluster.apply(vec![moved]), [].into());
    let known = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        cluster.ask(&format!("{} PTR", Name::from(address)))
    };
    assert!(known("10.43.0.1").ends_with("backend.default.svc.cluster.local."));
    assert!(known("10.43.7.83").starts_with("NXDomain"));
}

#[test]
fn each_of_several_comes_first_once() {
    let endpoints = ["10.42.0.1", "10.42.0.2", "10.42.0.3"];
    let cluster = Cluster::new(vec![
        service("kubia", ServiceKind::Headless, &[], &[]),
        slice(
            "a",
            "kubia",
            &[],
            &endpoints.map(|address| endpoint(address, true, None)),
        ),
    ]);
    let name = Name::from_ascii("kubia.default.svc.cluster.local.").unwrap();
    for (turn, expected) in endpoints.iter().enumerate() {
        let answer = cluster
            .directory
            .read(|zone| answer(zone, &name, RecordType::A, turn as u16).unwrap());
        assert_eq!(answer.answers[0].data.to_string(), *expected);
        assert_eq!(answer.answers.len(), 3);
    }
}

#[test]
fn before_everything_is_known_no_name_is_said_not_to_exist() {
    let kubia = service("kubia", ServiceKind::ClusterIp, &["10.43.7.83"], &[]);
    let mut cluster = Cluster {
        world: World::default(),
        directory: Directory::new(Domain::default()),
    };
    cluster.apply(vec![kubia]);
    let ask = |cluster: &Cluster, name: &str| {
        cluster.ask(&format!("{name}.default.svc.cluster.local. A"))
    };
    let known = "kubia.default.svc.cluster.local. A 10.43.7.83";
    assert_eq!(ask(&cluster, "kubia"), known);
    assert_eq!(ask(&cluster, "other"), "ServFail");
    cluster.directory.complete();
    assert_eq!(ask(&cluster, "kubia"), known);
    let missing = "NXDomain\nauthority cluster.local. SOA";
    assert_eq!(ask(&cluster, "other"), missing);
}
