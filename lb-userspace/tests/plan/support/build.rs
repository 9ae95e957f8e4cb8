//! Of what are the clusters of these tests made?

use std::net::IpAddr;

use lb_userspace::model::{
    Algorithm, Change, Endpoint, Extra, Node, ObjectName, Protocol, Service, ServicePort, Slice,
    SlicePort, TargetPort,
};

/// An object of namespace `default`.
pub(crate) fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

/// This node.
pub(crate) fn node() -> Node {
    Node {
        name: "this-node".to_owned(),
        zone: "zone-a".to_owned(),
        addresses: addresses(&["192.0.2.10", "10.42.0.1", "2001:db8::10"]),
        node_port_addresses: addresses(&["192.0.2.10", "2001:db8::10"]),
        pod_cidrs: networks(&["10.42.0.0/16", "fd00:42::/48"]),
        service_cidrs: networks(&["10.43.0.0/16", "fd00:43::/112"]),
        masquerade_all: false,
        algorithm: Algorithm::Random,
        answer_ping: false,
    }
}

/// A Service with a ClusterIP in each of these families.
pub(crate) fn service(cluster_ips: &[&str], ports: &[ServicePort]) -> Service {
    Service {
        cluster_ips: addresses(cluster_ips),
        ports: ports.to_vec(),
        ..Service::default()
    }
}

/// A TCP port of a Service; empty name = unnamed.
pub(crate) fn tcp(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        protocol: Protocol::Tcp,
        port,
        node_port: None,
        target_port: TargetPort::Number(port),
    }
}

/// A UDP port of a Service.
pub(crate) fn udp(name: &str, port: u16) -> ServicePort {
    ServicePort {
        protocol: Protocol::Udp,
        ..tcp(name, port)
    }
}

/// The port, also on the node's addresses.
pub(crate) fn on_node(port: ServicePort, node_port: u16) -> ServicePort {
    ServicePort {
        node_port: Some(node_port),
        ..port
    }
}

/// A slice with one TCP port.
pub(crate) fn slice(service: &str, port: (&str, u16), endpoints: &[Endpoint]) -> Slice {
    Slice {
        service: name(service),
        ports: vec![SlicePort {
            name: port.0.to_owned(),
            protocol: Protocol::Tcp,
            port: Some(port.1),
        }],
        endpoints: endpoints.to_vec(),
    }
}

/// A ready endpoint on another node.
pub(crate) fn ready(address: &str) -> Endpoint {
    Endpoint {
        node: Some("other-node".into()),
        ..Endpoint::at(address.parse().unwrap())
    }
}

/// An endpoint that is not ready.
pub(crate) fn unready(address: &str) -> Endpoint {
    Endpoint {
        ready: false,
        serving: false,
        ..ready(address)
    }
}

/// An endpoint that terminates, but still serves.
pub(crate) fn draining(address: &str) -> Endpoint {
    Endpoint {
        ready: false,
        terminating: true,
        ..ready(address)
    }
}

/// An endpoint that terminates and serves no more.
pub(crate) fn stopped(address: &str) -> Endpoint {
    Endpoint {
        serving: false,
        ..draining(address)
    }
}

/// The endpoint, but on this node.
pub(crate) fn here(endpoint: Endpoint) -> Endpoint {
    Endpoint {
        node: Some(node().name.into()),
        ..endpoint
    }
}

/// The endpoint with hints for zones.
pub(crate) fn for_zones(endpoint: Endpoint, zones: &[&str]) -> Endpoint {
    Endpoint {
        extras: Extra {
            zone_hints: zones.iter().map(|&zone| zone.to_owned()).collect(),
            ..(*endpoint.extras).clone()
        }
        .into(),
        ..endpoint
    }
}

/// The endpoint with hints for nodes.
pub(crate) fn for_nodes(endpoint: Endpoint, nodes: &[&str]) -> Endpoint {
    Endpoint {
        extras: Extra {
            node_hints: nodes.iter().map(|&node| node.to_owned()).collect(),
            ..(*endpoint.extras).clone()
        }
        .into(),
        ..endpoint
    }
}

/// The Service is so.
pub(crate) fn set_service(of: &str, service: Service) -> Change {
    Change::Service(name(of), Some(service.into()))
}

/// The Service is gone.
pub(crate) fn no_service(of: &str) -> Change {
    Change::Service(name(of), None)
}

/// The slice is so.
pub(crate) fn set_slice(of: &str, slice: Slice) -> Change {
    Change::Slice(name(of), Some(slice.into()))
}

/// The slice is gone.
pub(crate) fn no_slice(of: &str) -> Change {
    Change::Slice(name(of), None)
}

/// Addresses from their text.
pub(crate) fn addresses<C: FromIterator<IpAddr>>(texts: &[&str]) -> C {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Networks from their text.
pub(crate) fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
