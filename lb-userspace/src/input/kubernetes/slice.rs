//! What does an EndpointSlice say?

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1 as discovery;

use super::{
    Findings, HEADLESS, MANAGED_BY, OTHER_PROXY, SERVICE_NAME, SLICE_CONTROLLER, annotations, item,
    not_empty,
};
use crate::input::declared::{Family, Slice, Triggered};
use crate::model::{self, Endpoint, Extra, ObjectName, SlicePort, Word, Words};

/// Reads a slice; none if it says nothing to us: it is another proxy's, of host names, or of no
/// Service.
pub(super) fn slice(
    object: &discovery::EndpointSlice,
    namespace: &str,
    findings: &mut Findings,
) -> Option<Slice> {
    let types = [
        ("IPv4", Some(Family::V4)),
        ("IPv6", Some(Family::V6)),
        ("FQDN", None),
    ];
    let Some(family) = findings.choice("addressType", Some(&object.address_type), &types) else {
        if object.address_type.is_empty() {
            findings.refuse("addressType", "it is missing; write IPv4 or IPv6");
        }
        return None;
    };
    let labels = object.metadata.labels.as_ref();
    let label = |name| labels.and_then(|labels| labels.get(name));
    if label(OTHER_PROXY).is_some() {
        return None;
    }
    let Some(service) = label(SERVICE_NAME).filter(|name| !name.is_empty()) else {
        findings.remark(
            "metadata.labels",
            format!("without the label {SERVICE_NAME} it belongs to no Service; write it"),
        );
        return None;
    };
    let family = family?;
    let ports = ports(object, findings);
    let weight = annotations::weight(&object.metadata, findings);
    let triggered = annotations::triggered(&object.metadata);
    let endpoints = object.endpoints.iter().flatten().enumerate();
    let mut known = Words::default();
    let endpoints =
        endpoints.filter_map(|(i, object)| endpoint(i, object, family, &mut known, findings));
    let mut endpoints: Vec<_> = endpoints
        .map(|endpoint| Endpoint { weight, ..endpoint })
        .collect();
    // There may be a hundred thousand.
    endpoints.shrink_to_fit();
    Some(Slice {
        headless: label(HEADLESS).is_some(),
        selected: label(MANAGED_BY).is_some_and(|name| name == SLICE_CONTROLLER),
        triggered: triggered.map(|at| Triggered { at, family }),
        model: Arc::new(model::Slice {
            service: ObjectName::new(namespace, service),
            ports,
            endpoints,
        }),
    })
}

fn ports(object: &discovery::EndpointSlice, findings: &mut Findings) -> Vec<SlicePort> {
    let mut names = BTreeSet::new();
    let ports = object.ports.iter().flatten().enumerate();
    ports
        .map(|(i, port)| {
            let at = |field| item("ports", i, field);
            let name = port.name.clone().unwrap_or_default();
            if !name.is_empty() {
                findings.label(&at("name"), &name);
            }
            if !names.insert(name.clone()) {
                findings.refuse(
                    at("name"),
                    format!("another port is called {name:?} too; give each its own name"),
                );
            }
            SlicePort {
                protocol: findings.protocol(&at("protocol"), port.protocol.as_deref()),
                port: port
                    .port
                    .and_then(|number| findings.port(&at("port"), number)),
                name,
            }
        })
        .collect()
}

/// An endpoint; as in kube-proxy its first address counts.
fn endpoint(
    i: usize,
    object: &discovery::Endpoint,
    family: Family,
    known: &mut Words,
    findings: &mut Findings,
) -> Option<Endpoint> {
    let field = item("endpoints", i, "addresses");
    let mut addresses = Vec::new();
    for (j, text) in object.addresses.iter().enumerate() {
        addresses.extend(address(&format!("{field}[{j}]"), text, family, findings));
    }
    if object.addresses.is_empty() {
        findings.refuse(field, "an endpoint needs an address; write one");
    }
    let conditions = object.conditions.clone().unwrap_or_default();
    let hints = object.hints.clone().unwrap_or_default();
    let zones = hints.for_zones.into_iter().flatten();
    let nodes = hints.for_nodes.into_iter().flatten();
    let ready = conditions.ready.unwrap_or(true);
    let extra = Extra {
        hostname: not_empty(object.hostname.as_ref()).map(str::to_owned),
        zone_hints: zones.map(|zone| zone.name).collect(),
        node_hints: nodes.map(|node| node.name).collect(),
        since: None,
    };
    Some(Endpoint {
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node: not_empty(object.node_name.as_ref()).map(|name| known.again(name)),
        target: object.target_ref.as_ref().and_then(target),
        extras: extra.into(),
        ..Endpoint::at(*addresses.first()?)
    })
}

fn address(field: &str, text: &str, family: Family, findings: &mut Findings) -> Option<IpAddr> {
    let address = findings.reachable_address(field, text)?;
    if Family::of(address) == family {
        return Some(address);
    }
    findings.refuse(
        field,
        format!(
            "{address} is not of the slice's addressType {}; write it into a slice of its own",
            family.name()
        ),
    );
    None
}

/// `Kind/name` of what stands behind an endpoint.
pub(super) fn target(reference: &ObjectReference) -> Option<Word> {
    let name = reference.name.as_deref()?;
    Some(match reference.kind.as_deref() {
        Some(kind) => format!("{kind}/{name}").into(),
        None => name.into(),
    })
}
