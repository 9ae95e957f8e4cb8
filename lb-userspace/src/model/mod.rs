//! What does the load balancer know? Services, slices of endpoints and the node, as far as
//! balancing is concerned, whatever source they came from.
//!
//! Nothing here does I/O, knows the time or draws lots; Kubernetes' own types end in `input`.

mod endpoint;
mod problem;
mod word;
mod world;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use endpoint::{Endpoint, Extra, Extras, WEIGHT_MAX};
pub use problem::{Object, Place, Problem};
pub use word::{Word, Words};
pub use world::{Change, World};

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// Namespace; empty for objects that have none.
    pub namespace: Word,
    /// Name.
    pub name: Word,
}

impl ObjectName {
    /// The name in its namespace.
    #[must_use]
    pub fn new(namespace: impl Into<Word>, name: impl Into<Word>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// What kind of Service it is.
    pub kind: ServiceKind,
    /// `spec.clusterIPs`, without `None`.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` with `ipMode` VIP, or what we gave as the provider.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` with `ipMode` Proxy: not served, for display.
    pub proxied_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`; empty = everybody.
    pub source_ranges: Vec<IpNet>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: Policy,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: Policy,
    /// Seconds that `sessionAffinity: ClientIP` lasts; none = `None`.
    pub affinity_seconds: Option<u32>,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// Annotation `lb/algorithm`; none = the node's default.
    pub algorithm: Option<Algorithm>,
    /// `metadata.uid`: which of all Services that have ever had the name; empty in manifests.
    pub uid: String,
}

/// How the frontends that are dialled from outside the cluster choose among their backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Each node draws for itself.
    #[default]
    Random,
    /// All nodes draw alike (Maglev).
    Maglev,
}

impl Algorithm {
    /// Every algorithm and its name.
    pub const NAMES: [(&str, Self); 2] = [("random", Self::Random), ("maglev", Self::Maglev)];
}

/// What kind of Service it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// `type: ClusterIP`.
    #[default]
    ClusterIp,
    /// `clusterIP: None`: left to DNS.
    Headless,
    /// `type: NodePort`.
    NodePort,
    /// `type: LoadBalancer`.
    LoadBalancer,
    /// `type: ExternalName` with its target: left to DNS.
    ExternalName(String),
}

/// One of a Service's ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; empty = unnamed.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// The port that clients dial.
    pub port: u16,
    /// The port on the node's addresses.
    pub node_port: Option<u16>,
    /// `targetPort` as written, for display and for picking Pods' ports.
    pub target_port: TargetPort,
}

/// `targetPort`: a number or the name of a container port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// The same number on every endpoint.
    Number(u16),
    /// The container port with this name.
    Name(String),
}

/// Transport protocol of a port.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => lb_common::decide::TCP,
            Self::Udp => lb_common::decide::UDP,
            Self::Sctp => lb_common::decide::SCTP,
        }
    }

    /// The protocol with this IP protocol number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            lb_common::decide::TCP => Some(Self::Tcp),
            lb_common::decide::UDP => Some(Self::Udp),
            lb_common::decide::SCTP => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// Which endpoints may serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// All of the cluster's.
    #[default]
    Cluster,
    /// Only those on the node where the packet is.
    Local,
}

/// Some of a Service's endpoints: an EndpointSlice, the mirror of an Endpoints object, or what the
/// selector picked. All endpoints of a slice have the same ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The Service, in the same namespace.
    pub service: ObjectName,
    /// The ports that each endpoint has.
    pub ports: Vec<SlicePort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port that the endpoints of a slice have.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePort {
    /// Name of the Service's port that it belongs to; empty = unnamed.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Number; none = the slice says nothing about it, which is no endpoint for us.
    pub port: Option<u16>,
}

/// This node, as far as plans depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `topology.kubernetes.io/zone`; empty = unknown.
    pub zone: String,
    /// Every address that its own stack answers to.
    pub addresses: BTreeSet<IpAddr>,
    /// Those of them that NodePorts are served on.
    pub node_port_addresses: BTreeSet<IpAddr>,
    /// Prefixes of pods: `--cluster-cidr`, else the Node's podCIDRs.
    pub pod_cidrs: Vec<IpNet>,
    /// Prefixes that ClusterIPs come from.
    pub service_cidrs: Vec<IpNet>,
    /// SNAT every connection to a frontend (`--masquerade-all`).
    pub masquerade_all: bool,
    /// The algorithm of Services that do not name one (`--algorithm`).
    pub algorithm: Algorithm,
    /// Answer pings of ClusterIPs (`--answer-ping`).
    pub answer_ping: bool,
}
