//! Which objects does the cluster have whose size is measured?

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::ENDPOINTS;

/// ClusterIPs and endpoints are counted from here; nobody dials them.
const CLUSTER_IPS: Ipv4Addr = Ipv4Addr::new(10, 43, 100, 0);
const PODS: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 1);

fn count(from: Ipv4Addr, n: u32) -> IpAddr {
    Ipv4Addr::from_bits(from.to_bits() + n).into()
}

fn name(n: u32) -> String {
    format!("many-{n}")
}

/// A Service and its slice.
pub(super) fn service(n: u32) -> [Value; 2] {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name(n), "namespace": "default"},
        "spec": {
            "clusterIP": count(CLUSTER_IPS, n),
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    });
    [object, slice(n, 0)]
}

/// Its slice, in which each version has another first endpoint than the one before.
pub(super) fn slice(n: u32, version: u32) -> Value {
    // What replaces them comes after all that there are, and is hardly what replaced them at some
    // earlier time: a change that changes nothing would be waited for in vain.
    let replaced = (1 << 20) + (n << 8) + version % 256;
    let endpoint = |i: u32| {
        let number = if i == 0 && version > 0 {
            replaced
        } else {
            n * ENDPOINTS + i
        };
        json!({
            "addresses": [count(PODS, number)],
            "nodeName": "node-b",
            "conditions": {"ready": true},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name(n),
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name(n)},
        },
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::slice;

    #[test]
    fn each_version_replaces_one_endpoint() {
        let first = |version| slice(7, version)["endpoints"][0]["addresses"][0].clone();
        let others = |version: u32| {
            slice(7, version)["endpoints"]
                .as_array()
                .map(|all| all[1..].to_vec())
        };
        assert_ne!(first(0), first(1));
        assert_ne!(first(1), first(2));
        assert_eq!(others(0), others(2));
        assert_eq!(others(0).map(|all| all.len()), Some(9));
    }
}
