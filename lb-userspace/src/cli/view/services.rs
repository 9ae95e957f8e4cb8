//! Which Services are there, where are they served, and by how many?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::layout::{
    FRONTEND_CLUSTER_IP, FRONTEND_EXTERNAL_IP, FRONTEND_LOAD_BALANCER, FRONTEND_NODE_PORT,
};
use serde::Serialize;

use super::index::Index;
use super::{Column, Record, UNSET, column, joined, wide};
use crate::input::UnmappedReason;
use crate::model::{ObjectName, Protocol};
use crate::state::ServiceDetails;

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRecord {
    /// Its name.
    #[serde(flatten)]
    pub service: ObjectName,
    /// `spec.type`, as far as it shows in the maps if the daemon does not tell.
    #[serde(rename = "type")]
    pub kind: String,
    /// `spec.clusterIPs`.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// `spec.externalIPs` and the load balancer's; of an ExternalName, its target.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// Its ports.
    pub ports: Vec<ServicePortRecord>,
    /// How many get new connections, counted by address; none where we do not serve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<usize>,
    /// Why we do not serve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmapped: Option<String>,
    /// Seconds that a client keeps its backend; none = no affinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u32>,
    /// How many problems it has.
    pub problems: usize,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePortRecord {
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Name; empty = unnamed.
    pub name: String,
    /// Port on the node's addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    /// `targetPort` as written, if the daemon knew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<String>,
}

/// All Services: those in the maps, those that only the daemon knows, and those that are no
/// business of ours.
#[must_use]
pub fn services(index: &Index<'_>) -> Vec<ServiceRecord> {
    let mut records = BTreeMap::new();
    add_ports(index, &mut records);
    add_frontends(index, &mut records);
    add_backends(index, &mut records);
    if let Some(state) = index.state {
        for details in &state.services {
            records.entry(details.service.clone()).or_default();
        }
        for unmapped in &state.unmapped {
            explain(
                records.entry(unmapped.service.clone()).or_default(),
                &unmapped.reason,
            );
        }
    }
    records
        .into_iter()
        .map(|(name, record)| complete(index, name, record))
        .collect()
}

type Records = BTreeMap<ObjectName, ServiceRecord>;

/// Ports in the order in which the Service has them, which is that of their ids.
fn add_ports(index: &Index<'_>, records: &mut Records) {
    let mut node_ports = BTreeMap::new();
    for frontend in &index.frontends {
        if frontend.flags & FRONTEND_NODE_PORT != 0 {
            node_ports.insert(frontend.service_port, frontend.port);
        }
    }
    for (id, port) in &index.ports {
        let record = records.entry(port.service.clone()).or_default();
        record.ports.push(ServicePortRecord {
            port: port.port,
            protocol: port.protocol,
            name: port.name.clone(),
            node_port: node_ports.get(id).copied(),
            target_port: None,
        });
    }
}

fn add_frontends(index: &Index<'_>, records: &mut Records) {
    for frontend in &index.frontends {
        let port = index.port(frontend.service_port);
        let record = records.entry(port.service).or_default();
        let address = frontend.address.to_string();
        if frontend.flags & FRONTEND_CLUSTER_IP != 0 {
            add(&mut record.cluster_ips, address);
        } else if frontend.flags & (FRONTEND_EXTERNAL_IP | FRONTEND_LOAD_BALANCER) != 0 {
            add(&mut record.external_ips, address);
        }
        if frontend.flags & FRONTEND_LOAD_BALANCER != 0 {
            "LoadBalancer".clone_into(&mut record.kind);
        } else if frontend.flags & FRONTEND_NODE_PORT != 0 && record.kind.is_empty() {
            "NodePort".clone_into(&mut record.kind);
        }
        if frontend.affinity_seconds != 0 {
            record.affinity_seconds = Some(frontend.affinity_seconds);
        }
    }
}

/// A pod of a dual-stack Service has an address of each family: the family with more of them counts.
fn add_backends(index: &Index<'_>, records: &mut Records) {
    let mut chosen: BTreeMap<(ObjectName, bool), BTreeSet<IpAddr>> = BTreeMap::new();
    for backend in index.backends.iter().filter(|backend| backend.is_chosen) {
        let service = index.port(backend.service_port).service;
        let of_family = chosen.entry((service, backend.address.is_ipv4()));
        of_family.or_default().insert(backend.address);
    }
    for (name, record) in records {
        let count = |is_ipv4| {
            chosen
                .get(&(name.clone(), is_ipv4))
                .map_or(0, BTreeSet::len)
        };
        record.backends = Some(count(true).max(count(false)));
    }
}

fn explain(record: &mut ServiceRecord, reason: &UnmappedReason) {
    let why = match reason {
        UnmappedReason::Headless => {
            record.cluster_ips = vec!["None".to_owned()];
            "headless: left to DNS".to_owned()
        }
        UnmappedReason::ExternalName(target) => {
            record.external_ips = vec![target.clone()];
            "ExternalName".clone_into(&mut record.kind);
            "a name: left to DNS".to_owned()
        }
        UnmappedReason::OtherProxy(proxy) => format!("served by {proxy}"),
    };
    record.unmapped = Some(why);
    record.backends = None;
}

/// Adds what the daemon wrote down.
fn complete(index: &Index<'_>, name: ObjectName, mut record: ServiceRecord) -> ServiceRecord {
    if let Some(details) = index.details(&name) {
        record.kind.clone_from(&details.kind);
        record.ports = written_ports(details, &record.ports);
    }
    if record.kind.is_empty() {
        "ClusterIP".clone_into(&mut record.kind);
    }
    record.problems = index.state.map_or(0, |state| {
        let problems = state.problems.iter().map(|problem| &problem.object);
        let of_service = problems.filter(|object| object.kind == "Service" && object.name == name);
        of_service.count()
    });
    record.service = name;
    record
}

/// The ports as they were written, in that order, with the node ports that the maps have.
fn written_ports(details: &ServiceDetails, mapped: &[ServicePortRecord]) -> Vec<ServicePortRecord> {
    let written = details.ports.iter().map(|written| {
        let mut same = mapped.iter().filter(|port| {
            (&port.name, port.port, port.protocol)
                == (&written.name, written.port, written.protocol)
        });
        ServicePortRecord {
            port: written.port,
            protocol: written.protocol,
            name: written.name.clone(),
            node_port: same.next().and_then(|port| port.node_port),
            target_port: Some(written.target_port.clone()),
        }
    });
    written.collect()
}

fn add(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// `80:30123/TCP`, as kubectl writes it.
fn port_cell(port: &ServicePortRecord) -> String {
    match port.node_port {
        Some(node_port) => format!("{}:{node_port}/{}", port.port, port.protocol),
        None => format!("{}/{}", port.port, port.protocol),
    }
}

/// `http=8080`, or `8080` where no port of the Service has a name.
fn target_cell(service: &ServiceRecord, port: &ServicePortRecord) -> String {
    let target = port.target_port.as_deref().unwrap_or("<unknown>");
    if service.ports.iter().all(|port| port.name.is_empty()) {
        return target.to_owned();
    }
    let name = if port.name.is_empty() {
        UNSET
    } else {
        &port.name
    };
    format!("{name}={target}")
}

impl Record for ServiceRecord {
    const KIND: &'static str = "service";
    const COLUMNS: &'static [Column<Self>] = &[
        column("NAME", Record::name),
        column("TYPE", |service| service.kind.clone()),
        column("CLUSTER-IP", |service| joined(&service.cluster_ips)),
        column("EXTERNAL-IP", |service| {
            if service.external_ips.is_empty() && service.kind == "LoadBalancer" {
                "<pending>".to_owned()
            } else {
                joined(&service.external_ips)
            }
        }),
        column("PORT(S)", |service| {
            joined(service.ports.iter().map(port_cell))
        }),
        column("BACKENDS", |service| {
            service
                .backends
                .map_or_else(|| "-".to_owned(), |count| count.to_string())
        }),
        wide("TARGET-PORT(S)", |service| {
            joined(service.ports.iter().map(|port| target_cell(service, port)))
        }),
        wide("AFFINITY", |service| {
            service
                .affinity_seconds
                .map_or_else(String::new, |seconds| format!("{seconds}s"))
        }),
        wide("PROBLEMS", |service| service.problems.to_string()),
        wide("NOT-SERVED", |service| {
            service.unmapped.clone().unwrap_or_default()
        }),
    ];

    fn object(&self) -> &ObjectName {
        &self.service
    }

    fn name(&self) -> String {
        self.service.name.to_string()
    }
}
