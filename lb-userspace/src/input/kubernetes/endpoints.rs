//! What does an Endpoints object say? The same as the slices that Kubernetes mirrors it to.

use k8s_openapi::api::core::v1 as core;

use super::slice::target;
use super::{Findings, LEADER, SKIP_MIRROR, annotations, item, not_empty};
use crate::input::declared::{Endpoints, Family};
use crate::model::{Endpoint, Extra, SlicePort, Word};

/// Reads an Endpoints object; empty if it asks not to be mirrored.
pub(super) fn endpoints(object: &core::Endpoints, findings: &mut Findings) -> Endpoints {
    let mut mirror = Endpoints::new();
    let labels = object.metadata.labels.as_ref();
    let annotations = object.metadata.annotations.as_ref();
    if labels
        .and_then(|labels| labels.get(SKIP_MIRROR))
        .is_some_and(|value| value == "true")
        || annotations.is_some_and(|annotations| annotations.contains_key(LEADER))
    {
        return mirror;
    }
    let weight = annotations::weight(&object.metadata, findings);
    for (i, subset) in object.subsets.iter().flatten().enumerate() {
        let ports = ports(i, subset, findings);
        for (list, addresses, ready) in [
            ("addresses", &subset.addresses, true),
            ("notReadyAddresses", &subset.not_ready_addresses, false),
        ] {
            let list = item("subsets", i, list);
            for (j, address) in addresses.iter().flatten().enumerate() {
                if let Some(endpoint) = endpoint(&item(&list, j, "ip"), address, ready, findings) {
                    let key = (Family::of(endpoint.address), ports.clone());
                    let endpoint = Endpoint { weight, ..endpoint };
                    mirror.entry(key).or_default().push(endpoint);
                }
            }
        }
    }
    mirror
}

fn ports(i: usize, subset: &core::EndpointSubset, findings: &mut Findings) -> Vec<SlicePort> {
    let list = item("subsets", i, "ports");
    let several = subset.ports.as_ref().is_some_and(|ports| ports.len() > 1);
    let ports = subset.ports.iter().flatten().enumerate();
    let mut ports: Vec<_> = ports
        .map(|(j, port)| {
            let at = |field| item(&list, j, field);
            let name = port.name.clone().unwrap_or_default();
            if several && name.is_empty() {
                findings.refuse(
                    at("name"),
                    "ports of endpoints with several have names; write one",
                );
            }
            SlicePort {
                protocol: findings.protocol(&at("protocol"), port.protocol.as_deref()),
                port: findings.port(&at("port"), port.port),
                name,
            }
        })
        .collect();
    ports.sort();
    ports
}

fn endpoint(
    field: &str,
    address: &core::EndpointAddress,
    ready: bool,
    findings: &mut Findings,
) -> Option<Endpoint> {
    Some(Endpoint {
        ready,
        serving: ready,
        node: not_empty(address.node_name.as_ref()).map(Word::from),
        target: address.target_ref.as_ref().and_then(target),
        extras: Extra {
            hostname: not_empty(address.hostname.as_ref()).map(str::to_owned),
            ..Extra::default()
        }
        .into(),
        ..Endpoint::at(findings.reachable_address(field, &address.ip)?)
    })
}
