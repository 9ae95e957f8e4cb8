//! What do Nodes and ServiceCIDRs say?

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::ServiceCIDR;

use super::{Findings, ZONE, item};
use crate::input::NodeObject;

/// Taint of nodes that the cluster autoscaler is about to delete.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Reads a Node.
pub(super) fn node(object: &core::Node, findings: &mut Findings) -> NodeObject {
    let labels = object.metadata.labels.as_ref();
    let mut node = NodeObject {
        zone: labels
            .and_then(|labels| labels.get(ZONE))
            .cloned()
            .unwrap_or_default(),
        leaving: is_leaving(object),
        ..NodeObject::default()
    };
    if let Some(spec) = &object.spec {
        let plural = spec.pod_cidrs.iter().flatten().enumerate();
        for (i, text) in plural {
            let field = format!("spec.podCIDRs[{i}]");
            node.pod_cidrs.extend(findings.prefix(&field, text));
        }
        let single = spec.pod_cidr.as_deref().filter(|text| !text.is_empty());
        if let (true, Some(text)) = (node.pod_cidrs.is_empty(), single) {
            node.pod_cidrs.extend(findings.prefix("spec.podCIDR", text));
        }
    }
    let addresses = object
        .status
        .as_ref()
        .and_then(|status| status.addresses.as_ref());
    for (i, address) in addresses.into_iter().flatten().enumerate() {
        // The other types are names.
        if matches!(address.type_.as_str(), "InternalIP" | "ExternalIP") {
            let field = item("status.addresses", i, "address");
            node.addresses
                .extend(findings.address(&field, &address.address));
        }
    }
    node
}

fn is_leaving(object: &core::Node) -> bool {
    let spec = object.spec.as_ref();
    let mut taints = spec
        .and_then(|spec| spec.taints.as_ref())
        .into_iter()
        .flatten();
    object.metadata.deletion_timestamp.is_some() || taints.any(|taint| taint.key == TO_BE_DELETED)
}

/// Reads a ServiceCIDR.
pub(super) fn service_cidr(object: &ServiceCIDR, findings: &mut Findings) -> Vec<IpNet> {
    let texts = object.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
    let texts = texts.into_iter().flatten().enumerate();
    let prefixes: Vec<_> = texts
        .filter_map(|(i, text)| findings.prefix(&format!("spec.cidrs[{i}]"), text))
        .collect();
    if prefixes.is_empty() && findings.refusals.is_empty() {
        findings.refuse("spec.cidrs", "a ServiceCIDR needs a prefix; write one");
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_leaves_that_is_deleted_or_is_about_to_be() {
        let taint = |key: &str| {
            format!(r#"{{"spec":{{"taints":[{{"key":"{key}","effect":"NoSchedule"}}]}}}}"#)
        };
        for (json, expected) in [
            ("{}".to_owned(), false),
            (taint("node.kubernetes.io/unschedulable"), false),
            (taint(TO_BE_DELETED), true),
            (
                r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"}}"#.to_owned(),
                true,
            ),
        ] {
            let node = serde_json::from_str(&json).expect("a Node");
            assert_eq!(is_leaving(&node), expected, "{json}");
        }
    }
}
