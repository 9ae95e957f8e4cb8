//! Which addresses and ports were given to Services that ask for none of their own?

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{ObjectName, Protocol};

/// What was given, by Service; handed back at the next start, so that nothing moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Allocations {
    services: Vec<Allocation>,
}

/// What one Service was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Allocation {
    /// The Service.
    #[serde(flatten)]
    service: ObjectName,
    /// ClusterIPs, at most one of each family.
    cluster_ips: Vec<IpAddr>,
    /// Node ports by protocol and the Service's port.
    node_ports: BTreeMap<Protocol, BTreeMap<u16, u16>>,
}
