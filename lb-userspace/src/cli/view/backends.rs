//! Who answers, and who no longer does?

use std::net::IpAddr;

use lb_common::layout::{BACKEND_HOST_NETWORK, BACKEND_LOCAL, BACKEND_TERMINATING};
use serde::Serialize;

use super::index::{BackendEntry, Index};
use super::{Column, Record, column, names_socket, port_name, socket_text, wide};
use crate::model::{ObjectName, Protocol, Word};

/// A backend of one of a Service's ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRecord {
    /// Its Service.
    #[serde(flatten)]
    pub service: ObjectName,
    /// Name of the Service's port; empty = unnamed.
    pub port_name: String,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Whether it gets new connections.
    pub status: Status,
    /// Where it is, seen from this node.
    pub place: Place,
    /// What stands behind it, as `Pod/kubia-vs2kl`, if the daemon knew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Word>,
    /// Name of its node, if the daemon knew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Word>,
    /// Its id in map `backends4|6`.
    pub id: u32,
    /// The number that no other backend of this node had before.
    pub generation: u32,
}

/// Whether a backend gets new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It does.
    Ready,
    /// It does although it is terminating, as no other one is there.
    Terminating,
    /// It is terminating: it keeps the connections that it has and gets no new ones.
    Draining,
    /// It gets none from this node: topology hints keep it for others, or it was just removed.
    Unused,
}

/// Where a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// In a pod of this node.
    Here,
    /// On this node's own addresses.
    Host,
    /// On another node, or outside.
    Elsewhere,
}

/// All backends, by Service.
#[must_use]
pub fn backends(index: &Index<'_>) -> Vec<BackendRecord> {
    let mut records: Vec<_> = index
        .backends
        .iter()
        .map(|backend| record(index, backend))
        .collect();
    records.sort();
    records
}

fn record(index: &Index<'_>, backend: &BackendEntry) -> BackendRecord {
    let port = index.port(backend.service_port);
    let target = index.target(&port.service, backend.address);
    BackendRecord {
        port_name: port.name,
        address: backend.address,
        port: backend.port,
        protocol: backend.protocol,
        status: status(backend),
        place: place(backend.flags),
        target: target.and_then(|target| target.target.clone()),
        node: target.and_then(|target| target.node.clone()),
        id: backend.id,
        generation: backend.generation,
        service: port.service,
    }
}

fn status(backend: &BackendEntry) -> Status {
    let is_terminating = backend.flags & BACKEND_TERMINATING != 0;
    match (backend.is_chosen, is_terminating) {
        (true, false) => Status::Ready,
        (true, true) => Status::Terminating,
        (false, true) => Status::Draining,
        (false, false) => Status::Unused,
    }
}

fn place(flags: u8) -> Place {
    if flags & BACKEND_HOST_NETWORK != 0 {
        Place::Host
    } else if flags & BACKEND_LOCAL != 0 {
        Place::Here
    } else {
        Place::Elsewhere
    }
}

impl Record for BackendRecord {
    const KIND: &'static str = "backend";
    const COLUMNS: &'static [Column<Self>] = &[
        column("SERVICE", |backend| backend.service.name.to_string()),
        column("PORT", |backend| port_name(&backend.port_name)),
        column("BACKEND", Record::name),
        column("STATUS", |backend| {
            match backend.status {
                Status::Ready => "Ready",
                Status::Terminating => "Terminating",
                Status::Draining => "Draining",
                Status::Unused => "Unused",
            }
            .to_owned()
        }),
        column("PLACE", |backend| {
            match backend.place {
                Place::Here => "here",
                Place::Host => "host",
                Place::Elsewhere => "elsewhere",
            }
            .to_owned()
        }),
        column("TARGET", |backend| {
            backend.target.clone().unwrap_or_default().into()
        }),
        wide("NODE", |backend| {
            backend.node.clone().unwrap_or_default().into()
        }),
        wide("ID", |backend| backend.id.to_string()),
        wide("GENERATION", |backend| backend.generation.to_string()),
    ];

    fn object(&self) -> &ObjectName {
        &self.service
    }

    fn name(&self) -> String {
        socket_text(self.address, self.port, self.protocol)
    }

    fn is_called(&self, name: &str) -> bool {
        let target = self.target.as_deref().unwrap_or_default();
        let bare = target.split_once('/').map_or(target, |(_, name)| name);
        names_socket(name, self.address, self.port, self.protocol)
            || (!target.is_empty() && (name == target || name == bare))
    }
}
