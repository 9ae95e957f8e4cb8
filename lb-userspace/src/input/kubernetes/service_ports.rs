//! Which ports does a Service have?

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::fields::is_port_name;
use super::{Findings, item};
use crate::model::{ServiceKind, ServicePort, TargetPort};

const FIELD: &str = "spec.ports";

/// Reads the ports.
pub(super) fn ports(
    spec: &core::ServiceSpec,
    kind: &ServiceKind,
    findings: &mut Findings,
) -> Vec<ServicePort> {
    let written = spec.ports.as_deref().unwrap_or_default();
    let may_have_none = matches!(kind, ServiceKind::Headless | ServiceKind::ExternalName(_));
    if written.is_empty() && !may_have_none {
        findings.refuse(FIELD, "a Service needs at least one port; write it");
    }
    let ports: Vec<_> = written
        .iter()
        .enumerate()
        .map(|(i, port)| {
            if written.len() > 1 && port.name.as_deref().unwrap_or_default().is_empty() {
                findings.refuse(
                    item(FIELD, i, "name"),
                    "ports of a Service with several have names; write one",
                );
            }
            read(i, port, kind, findings)
        })
        .collect();
    refuse_repeated(&ports, findings);
    ports
}

fn read(
    i: usize,
    port: &core::ServicePort,
    kind: &ServiceKind,
    findings: &mut Findings,
) -> ServicePort {
    let at = |field| item(FIELD, i, field);
    let name = port.name.clone().unwrap_or_default();
    if !name.is_empty() {
        findings.label(&at("name"), &name);
    }
    let number = findings.port(&at("port"), port.port).unwrap_or_default();
    let external = matches!(kind, ServiceKind::NodePort | ServiceKind::LoadBalancer);
    let node_port = port.node_port.filter(|number| *number != 0);
    if node_port.is_some() && !external {
        findings.refuse(
            at("nodePort"),
            "only Services of type NodePort and LoadBalancer have node ports; remove it or change \
             the type",
        );
    }
    ServicePort {
        name,
        protocol: findings.protocol(&at("protocol"), port.protocol.as_deref()),
        port: number,
        node_port: node_port.and_then(|number| findings.port(&at("nodePort"), number)),
        target_port: target_port(&at("targetPort"), port, number, findings),
    }
}

/// `targetPort`, which is the port itself if it is not written.
fn target_port(
    field: &str,
    port: &core::ServicePort,
    number: u16,
    findings: &mut Findings,
) -> TargetPort {
    match &port.target_port {
        Some(IntOrString::Int(target)) if *target != 0 => {
            TargetPort::Number(findings.port(field, *target).unwrap_or_default())
        }
        Some(IntOrString::String(name)) if !name.is_empty() => {
            if !is_port_name(name) {
                let remedy = match name.parse::<u16>() {
                    Ok(_) => "write the number without quotes",
                    Err(_) => {
                        "write a number, or up to 15 of a-z, 0-9 and -, with at least one letter"
                    }
                };
                findings.refuse(field, format!("{name:?} is no name of a port; {remedy}"));
            }
            TargetPort::Name(name.clone())
        }
        _ => TargetPort::Number(number),
    }
}

/// Names, ports and node ports are each there once; ports and node ports once for each protocol.
fn refuse_repeated(ports: &[ServicePort], findings: &mut Findings) {
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut node_ports = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let at = |field| item(FIELD, i, field);
        if !port.name.is_empty() && !names.insert(&port.name) {
            findings.refuse(
                at("name"),
                format!(
                    "another port is called {:?} too; give each its own name",
                    port.name
                ),
            );
        }
        if port.port != 0 && !numbers.insert((port.protocol, port.port)) {
            findings.refuse(
                at("port"),
                format!("{} {} is there twice; remove one", port.protocol, port.port),
            );
        }
        if let Some(number) = port.node_port
            && !node_ports.insert((port.protocol, number))
        {
            findings.refuse(
                at("nodePort"),
                format!(
                    "{} {number} is there twice; write another one",
                    port.protocol
                ),
            );
        }
    }
}
