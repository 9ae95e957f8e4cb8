//! Which connections pass between nf_conntrack and lb, and which stay where they are?

use std::net::SocketAddr;

use serde::Serialize;

use super::index::{Index, protocol};
use super::{Column, Record, column, port_name, wide};
use crate::handover::{Passenger, Why};
use crate::model::{ObjectName, Protocol};

/// A connection, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PassengerRecord {
    /// Its Service; empty = that of none.
    #[serde(flatten)]
    pub service: ObjectName,
    /// Name of the Service's port; empty = unnamed.
    pub port_name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Who asks.
    pub client: SocketAddr,
    /// What it dialled.
    pub frontend: SocketAddr,
    /// Who answers.
    pub backend: SocketAddr,
    /// Whom the backend sees, where that is not the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_as: Option<SocketAddr>,
    /// Why it stays where it is; none if it passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stays: Option<String>,
}

/// The connection; `why` it stays, if it does.
#[must_use]
pub fn passenger(index: &Index<'_>, passenger: &Passenger, why: Option<Why>) -> PassengerRecord {
    let port = passenger.service_port.map(|id| index.port(id));
    let port = port.unwrap_or_default();
    PassengerRecord {
        service: port.service,
        port_name: port.name,
        protocol: protocol(passenger.protocol),
        client: passenger.client,
        frontend: passenger.frontend,
        backend: passenger.backend,
        seen_as: (passenger.seen_as != passenger.client).then_some(passenger.seen_as),
        stays: why.map(|why| why.to_string()),
    }
}

impl Record for PassengerRecord {
    const KIND: &'static str = "connection";
    const NAMESPACED: bool = false;
    const COLUMNS: &'static [Column<Self>] = &[
        column("SERVICE", |record| {
            let ObjectName { namespace, name } = &record.service;
            match (namespace.as_str(), name.as_str()) {
                (_, "") => String::new(),
                ("", name) => name.to_owned(),
                (namespace, name) => format!("{namespace}/{name}"),
            }
        }),
        wide("PORT", |record| port_name(&record.port_name)),
        column("PROTOCOL", |record| record.protocol.to_string()),
        column("CLIENT", |record| record.client.to_string()),
        column("FRONTEND", |record| record.frontend.to_string()),
        column("BACKEND", |record| record.backend.to_string()),
        wide("SEEN-AS", |record| {
            let seen_as = record.seen_as;
            seen_as.map_or_else(String::new, |seen| seen.to_string())
        }),
        column("PASSES", |record| {
            let passes = record.stays.is_none();
            if passes { "yes" } else { "no" }.to_owned()
        }),
        column("WHY", |record| record.stays.clone().unwrap_or_default()),
    ];

    fn object(&self) -> &ObjectName {
        &self.service
    }

    fn name(&self) -> String {
        format!("{}/{}-{}", self.client, self.protocol, self.frontend)
    }
}
