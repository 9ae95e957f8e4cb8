//! Where do Services and endpoints come from, and what does every source tell?
//!
//! A source turns the objects it watches into [`Update`]s; Kubernetes' own types end here.

mod allocations;
mod announcement;
pub mod cluster;
mod declared;
mod findings;
mod kubernetes;
mod lines;
pub mod manifests;
mod standalone;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use allocations::Allocations;
pub use announcement::Announcement;

use crate::model::{Change, ObjectName, Problem, World};
use crate::settings::Settings;

/// Why there is nothing to serve. What is wrong with single objects, or for a time, is a
/// [`Problem`] instead.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// No source is named.
    #[error(
        "nothing to serve: name manifests with --manifests DIR, or a cluster with --kubeconfig \
         FILE; a pod of a cluster with a service account needs neither"
    )]
    None,
    /// The manifests cannot be followed.
    #[error(transparent)]
    Manifests(#[from] manifests::Error),
    /// It is not known how to ask the API server.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
}

/// Keeps a source followed; dropped, no further updates come.
#[derive(Debug)]
pub struct Following {
    source: SourceGuard,
}

#[derive(Debug)]
enum SourceGuard {
    Manifests { _following: manifests::Following },
    Cluster { following: cluster::Following },
}

impl Following {
    /// These are all the problems now: those of objects in a cluster are told there.
    pub fn announce(&self, problems: &[Problem], world: &World) {
        let SourceGuard::Cluster { following } = &self.source else {
            return;
        };
        let of_objects = problems
            .iter()
            .filter(|problem| Announcement::is_of_object(problem));
        following.announce(
            of_objects
                .map(|problem| Announcement::new(problem, world))
                .collect(),
        );
    }
}

/// Follows what the settings name: manifests, else a cluster. For manifests, `before` is what was
/// given to their Services before the restart, and `kept` the directory that remembers them.
///
/// # Errors
/// See [`InputError`].
pub async fn start(
    settings: &Settings,
    before: Allocations,
    kept: PathBuf,
    updates: mpsc::Sender<Update>,
) -> Result<Following, InputError> {
    let names_cluster = !settings.kubeconfig.is_empty() || settings.api_server.is_some();
    let source = if !settings.manifests.is_empty() {
        let options = manifests::Options::new(settings, before).keeping(kept);
        SourceGuard::Manifests {
            _following: manifests::start(options, updates)?,
        }
    } else if names_cluster || cluster::is_in_cluster() {
        SourceGuard::Cluster {
            following: cluster::start(cluster::Options::new(settings), updates).await?,
        }
    } else {
        return Err(InputError::None);
    };
    Ok(Following { source })
}

/// What has changed at the source, and what is so now. The first one holds everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Services and slices that differ from the update before.
    pub changes: Vec<Change>,
    /// What happened in the cluster that these slices follow.
    pub triggers: Vec<Trigger>,
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

/// Something happened in the cluster, a slice follows it, and packets shall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The slice.
    pub slice: ObjectName,
    /// Whether its endpoints are of IPv6.
    pub is_ipv6: bool,
    /// When it happened, by the clock of whoever wrote the slice.
    pub at: SystemTime,
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
    /// The node is going to be deleted: it has a `metadata.deletionTimestamp`, or the taint with
    /// which the cluster autoscaler announces that.
    pub leaving: bool,
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
