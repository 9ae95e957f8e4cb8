//! Where do Services and endpoints come from, and what does every source tell?
//!
//! A source turns the objects it watches into [`Update`]s; Kubernetes' own types end here.

mod allocations;
mod declared;
mod findings;
mod kubernetes;
mod lines;
pub mod manifests;
mod standalone;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use allocations::Allocations;

use crate::model::{Change, ObjectName, Problem};

/// What has changed at the source, and what is so now. The first one holds everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Services and slices that differ from the update before.
    pub changes: Vec<Change>,
    /// This node as its Node object describes it.
    pub node: NodeObject,
    /// Prefixes of all ServiceCIDR objects and of `--service-cidr`.
    pub service_cidrs: Vec<IpNet>,
    /// Everything that is wrong with the source now, sorted.
    pub problems: Vec<Problem>,
    /// Services that have no entry in any map, sorted by name.
    pub unmapped: Vec<Unmapped>,
    /// What was given to Services that ask for no address or port of their own.
    pub allocations: Allocations,
    /// Whether the source has been read completely since the start; until then the absence of an
    /// object says nothing, and nothing may be pruned.
    pub complete: bool,
}

/// What the Node object of this node says; all empty while there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeObject {
    /// Label `topology.kubernetes.io/zone`; empty = unknown.
    pub zone: String,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
    /// `status.addresses` of the types InternalIP and ExternalIP, in their order.
    pub addresses: Vec<IpAddr>,
}

/// A Service that has no entry in any map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unmapped {
    /// Its name.
    #[serde(flatten)]
    pub service: ObjectName,
    /// Why it has none.
    pub reason: UnmappedReason,
}

/// Why a Service has no entry in any map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UnmappedReason {
    /// `clusterIP: None`: left to DNS.
    Headless,
    /// `type: ExternalName` with its target: left to DNS.
    ExternalName(String),
    /// Labelled `service.kubernetes.io/service-proxy-name`: another proxy, with this name, serves
    /// it.
    OtherProxy(String),
}
