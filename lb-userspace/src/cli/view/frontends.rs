//! What can clients dial, and who may answer?

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use lb_common::layout::{
    FRONTEND_CLUSTER_IP, FRONTEND_EXTERNAL_IP, FRONTEND_LOAD_BALANCER, FRONTEND_NODE_PORT,
    FRONTEND_SOURCE_RANGES, POOL_DROP, POOL_LOCAL,
};
use serde::Serialize;

use super::index::{Choice, Frontend, Index};
use super::{Column, Record, column, joined, names_socket, port_name, socket_text, wide};
use crate::model::{ObjectName, Protocol};

/// A frontend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendRecord {
    /// Its Service.
    #[serde(flatten)]
    pub service: ObjectName,
    /// Name of the Service's port; empty = unnamed.
    pub port_name: String,
    /// `ClusterIP`, `NodePort`, `ExternalIP` or `LoadBalancer`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Who answers pods and nodes.
    pub inside: PoolRecord,
    /// Who answers everybody else.
    pub outside: PoolRecord,
    /// Seconds that a client keeps its backend; none = no affinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u32>,
    /// Sources that are served; none = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ranges: Option<Vec<IpNet>>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRecord {
    /// Addresses and ports, each once.
    pub backends: Vec<SocketAddr>,
    /// Slots that a draw lands in.
    pub slots: u32,
    /// Only backends of this node count.
    pub local: bool,
    /// Without backends, packets are dropped in silence, not refused.
    pub drops_if_empty: bool,
}

/// All frontends, by Service.
#[must_use]
pub fn frontends(index: &Index<'_>) -> Vec<FrontendRecord> {
    let mut records: Vec<_> = index
        .frontends
        .iter()
        .map(|frontend| record(index, frontend))
        .collect();
    records.sort();
    records
}

fn record(index: &Index<'_>, frontend: &Frontend) -> FrontendRecord {
    let port = index.port(frontend.service_port);
    let ranges = index.ranges.get(&frontend.service_port);
    FrontendRecord {
        service: port.service,
        port_name: port.name,
        kind: kind(frontend.flags),
        address: frontend.address,
        port: frontend.port,
        protocol: frontend.protocol,
        inside: pool(&frontend.inside),
        outside: pool(&frontend.outside),
        affinity_seconds: (frontend.affinity_seconds != 0).then_some(frontend.affinity_seconds),
        source_ranges: (frontend.flags & FRONTEND_SOURCE_RANGES != 0)
            .then(|| ranges.cloned().unwrap_or_default()),
    }
}

fn kind(flags: u32) -> &'static str {
    let kinds = [
        (FRONTEND_CLUSTER_IP, "ClusterIP"),
        (FRONTEND_NODE_PORT, "NodePort"),
        (FRONTEND_EXTERNAL_IP, "ExternalIP"),
        (FRONTEND_LOAD_BALANCER, "LoadBalancer"),
    ];
    kinds
        .iter()
        .find(|(bit, _)| flags & bit != 0)
        .map_or("Unknown", |(_, kind)| kind)
}

fn pool(choice: &Choice) -> PoolRecord {
    PoolRecord {
        backends: choice
            .backends
            .iter()
            .copied()
            .map(SocketAddr::from)
            .collect(),
        slots: choice.slots,
        local: choice.flags & POOL_LOCAL != 0,
        drops_if_empty: choice.flags & POOL_DROP != 0,
    }
}

impl PoolRecord {
    /// `2 local of 3 slots` would be too long for a table: the number, and what is odd about it.
    fn cell(&self) -> String {
        let empty = match (self.backends.is_empty(), self.drops_if_empty) {
            (true, true) => " (drops)",
            (true, false) => " (refuses)",
            (false, _) => "",
        };
        let local = if self.local { " local" } else { "" };
        format!("{}{local}{empty}", self.backends.len())
    }
}

impl Record for FrontendRecord {
    const KIND: &'static str = "frontend";
    const COLUMNS: &'static [Column<Self>] = &[
        column("SERVICE", |frontend| frontend.service.name.to_string()),
        column("PORT", |frontend| port_name(&frontend.port_name)),
        column("TYPE", |frontend| frontend.kind.to_owned()),
        column("FRONTEND", Record::name),
        column("BACKENDS", |frontend| frontend.inside.cell()),
        column("FROM-OUTSIDE", |frontend| frontend.outside.cell()),
        wide("SLOTS", |frontend| frontend.inside.slots.to_string()),
        wide("AFFINITY", |frontend| {
            frontend
                .affinity_seconds
                .map_or_else(String::new, |seconds| format!("{seconds}s"))
        }),
        wide("SOURCES", |frontend| {
            frontend
                .source_ranges
                .as_deref()
                .map_or_else(String::new, joined)
        }),
        wide("ANSWERED-BY", |frontend| joined(&frontend.inside.backends)),
    ];

    fn object(&self) -> &ObjectName {
        &self.service
    }

    fn name(&self) -> String {
        socket_text(self.address, self.port, self.protocol)
    }

    fn is_called(&self, name: &str) -> bool {
        names_socket(name, self.address, self.port, self.protocol)
    }
}
