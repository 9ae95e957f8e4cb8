//! Which Services are there: those that change, and many that do not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

/// Port of each.
const PORT: u16 = 80;
/// Endpoints of each of the others.
const ENDPOINTS: u32 = 5;
/// ClusterIPs of those that change are counted from here.
const CHANGING: Ipv4Addr = Ipv4Addr::new(10, 43, 1, 0);
/// ClusterIPs and endpoints of the others are counted from here; nobody dials them.
const CLUSTER_IPS: Ipv4Addr = Ipv4Addr::new(10, 43, 100, 0);
const PODS: Ipv4Addr = Ipv4Addr::new(10, 42, 4, 0);

fn count(from: Ipv4Addr, n: u32) -> IpAddr {
    Ipv4Addr::from_bits(from.to_bits() + n).into()
}

/// Those that do not change, each with its slice.
pub(in crate::bench) fn others(services: u32) -> Vec<Value> {
    let of_one = |n: u32| {
        let name = format!("many-{n}");
        let addresses = (0..ENDPOINTS).map(|i| count(PODS, n * ENDPOINTS + i));
        [
            object(&name, &count(CLUSTER_IPS, n).to_string(), "TCP"),
            slice(&name, "TCP", "node-b", addresses),
        ]
    };
    (0..services).flat_map(of_one).collect()
}

/// What clients of a Service that changes dial.
pub(super) fn frontend(n: u32) -> SocketAddr {
    SocketAddr::new(count(CHANGING, n), PORT)
}

/// One that changes.
pub(super) fn service(n: u32) -> Value {
    let address = frontend(n).ip().to_string();
    object(&format!("changing-{n}"), &address, "UDP")
}

/// Its slice, with this endpoint.
pub(super) fn endpoint(n: u32, address: IpAddr) -> Value {
    let name = format!("changing-{n}");
    slice(&name, "UDP", "node-a", [address].into_iter())
}

fn object(name: &str, address: &str, protocol: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "clusterIP": address,
            "ports": [{"port": PORT, "targetPort": 8080, "protocol": protocol}],
        },
    })
}

fn slice(name: &str, protocol: &str, node: &str, endpoints: impl Iterator<Item = IpAddr>) -> Value {
    let endpoints = endpoints.map(
        |address| json!({"addresses": [address], "nodeName": node, "conditions": {"ready": true}}),
    );
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": protocol}],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}
