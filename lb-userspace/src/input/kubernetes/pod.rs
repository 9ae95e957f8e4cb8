//! What does a Pod say, as far as Services that select it are concerned?

use k8s_openapi::api::core::v1 as core;

use super::{Findings, item, not_empty};
use crate::input::declared::Pod;
use crate::model::Word;

/// Reads a Pod.
pub(super) fn pod(object: &core::Pod, findings: &mut Findings) -> Pod {
    let mut pod = Pod {
        labels: object.metadata.labels.clone().unwrap_or_default(),
        terminating: object.metadata.deletion_timestamp.is_some(),
        ..Pod::default()
    };
    if let Some(spec) = &object.spec {
        pod.node = not_empty(spec.node_name.as_ref()).map(Word::from);
        pod.hostname = not_empty(spec.hostname.as_ref()).map(str::to_owned);
        pod.subdomain.clone_from(&spec.subdomain);
        read_ports(&mut pod, spec, findings);
    }
    if let Some(status) = &object.status {
        // A Pod that is over keeps its addresses in its status, but has them no longer.
        if !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            read_addresses(&mut pod, status, findings);
        }
        let mut conditions = status.conditions.iter().flatten();
        let ready = conditions.find(|condition| condition.type_ == "Ready");
        pod.ready = ready.is_some_and(|ready| ready.status == "True");
        let since = ready.and_then(|ready| ready.last_transition_time.as_ref());
        pod.since = since.map(|time| time.0.to_string());
    }
    pod
}

fn read_addresses(pod: &mut Pod, status: &core::PodStatus, findings: &mut Findings) {
    let list = "status.podIPs";
    for (i, ip) in status.pod_ips.iter().flatten().enumerate() {
        pod.addresses
            .extend(findings.address(&item(list, i, "ip"), &ip.ip));
    }
    let single = status.pod_ip.as_deref().filter(|text| !text.is_empty());
    if let (true, Some(text)) = (pod.addresses.is_empty(), single) {
        pod.addresses.extend(findings.address("status.podIP", text));
    }
}

/// Reads the named ports of the containers, and of the init containers that keep running.
fn read_ports(pod: &mut Pod, spec: &core::PodSpec, findings: &mut Findings) {
    let init = spec.init_containers.iter().flatten().enumerate();
    let sidecars = init.filter(|(_, init)| init.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().enumerate();
    let containers = containers
        .map(|(i, container)| ("spec.containers", i, container))
        .chain(sidecars.map(|(i, container)| ("spec.initContainers", i, container)));
    for (list, i, container) in containers {
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let at = |field| item(&item(list, i, "ports"), j, field);
            let protocol = findings.protocol(&at("protocol"), port.protocol.as_deref());
            let number = findings.port(&at("containerPort"), port.container_port);
            if let (Some(name), Some(number)) = (port.name.clone(), number) {
                // The first one of that name counts.
                pod.ports.entry((name, protocol)).or_insert(number);
            }
        }
    }
}
