//! What does an object say, in the model's words, before anything is allocated or selected?

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;

use super::NodeObject;
use super::findings::Finding;
use super::lines;
use crate::model::{self, Endpoint, ObjectName, Place, Problem, Protocol, SlicePort, Word};

/// An object, read and found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    Slice(Arc<Slice>),
    /// An Endpoints object.
    Endpoints(Arc<Endpoints>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A Node.
    Node(NodeObject),
    /// A ServiceCIDR.
    ServiceCidr(Vec<IpNet>),
}

/// An object and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// The object.
    pub(super) object: Object,
    /// Where.
    pub(super) origin: Origin,
}

/// Where an object is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// The file.
    pub(super) file: Arc<Path>,
    /// The line that it begins on.
    pub(super) line: u32,
    /// The lines of its fields.
    pub(super) lines: Arc<lines::Packed>,
}

/// The kinds of objects that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Service,
    EndpointSlice,
    Endpoints,
    Pod,
    Node,
    ServiceCidr,
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Its kind.
    pub(super) kind: Kind,
    /// Its name.
    pub(super) name: ObjectName,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// How many address families a Service wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FamilyPolicy {
    /// One.
    #[default]
    Single,
    /// Two, if the cluster has two.
    PreferDual,
    /// Two.
    RequireDual,
}

/// Where traffic had better stay (`trafficDistribution`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distribution {
    /// In the client's zone.
    SameZone,
    /// On the client's node, else in its zone.
    SameNode,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Service {
    /// What it says itself: explicit addresses and node ports only, and of load balancer
    /// addresses those of its status.
    pub(super) model: model::Service,
    /// `spec.selector`; empty = none.
    pub(super) selector: Labels,
    /// `spec.ipFamilies`, or the families of the explicit ClusterIPs; empty = the cluster's first.
    pub(super) families: Vec<Family>,
    /// `spec.ipFamilyPolicy`.
    pub(super) family_policy: FamilyPolicy,
    /// Whether ports without a node port want one.
    pub(super) wants_node_ports: bool,
    /// Whether it has a use for a health check port.
    pub(super) wants_health_check: bool,
    /// Who gives it a load balancer's address.
    pub(super) provider: Provider,
    /// `spec.publishNotReadyAddresses`.
    pub(super) publish_not_ready: bool,
    /// `spec.trafficDistribution`.
    pub(super) distribution: Option<Distribution>,
    /// Label `service.kubernetes.io/service-proxy-name`.
    pub(super) other_proxy: Option<String>,
}

/// Who gives a Service of type LoadBalancer its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    /// Whoever is the default, and what `spec.loadBalancerIP` asks of it.
    Default(Option<IpAddr>),
    /// Whom `spec.loadBalancerClass` names.
    OfClass,
}

impl Default for Provider {
    fn default() -> Self {
        Self::Default(None)
    }
}

/// Labels, or what a selector wants of them.
pub(super) type Labels = BTreeMap<String, String>;

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slice {
    /// What it says.
    pub(super) model: Arc<model::Slice>,
    /// Label `service.kubernetes.io/headless`: it is for DNS, not for balancing.
    pub(super) headless: bool,
    /// Whether Kubernetes' EndpointSlice controller wrote it for a Service with a selector.
    pub(super) selected: bool,
    /// When what it follows happened in the cluster.
    pub(super) triggered: Option<Triggered>,
}

/// When something happened that a slice follows, as whoever wrote the slice says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Triggered {
    /// Then.
    pub(super) at: SystemTime,
    /// The slice's family.
    pub(super) family: Family,
}

/// An Endpoints object: its mirror, one slice for each family and set of ports.
pub(super) type Endpoints = BTreeMap<SliceKey, Vec<Endpoint>>;

/// What the endpoints of a slice have in common.
pub(super) type SliceKey = (Family, Vec<SlicePort>);

/// A Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pod {
    /// `metadata.labels`.
    pub(super) labels: Labels,
    /// `status.podIPs`; empty once the Pod has succeeded or failed.
    pub(super) addresses: Vec<IpAddr>,
    /// Condition `Ready`.
    pub(super) ready: bool,
    /// Since when that is so, as RFC 3339.
    pub(super) since: Option<String>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub(super) terminating: bool,
    /// `spec.nodeName`.
    pub(super) node: Option<Word>,
    /// `spec.hostname`.
    pub(super) hostname: Option<String>,
    /// `spec.subdomain`: name of the Service below which the Pod is called by its hostname.
    pub(super) subdomain: Option<String>,
    /// Named container ports.
    pub(super) ports: BTreeMap<(String, Protocol), u16>,
}

impl Origin {
    /// The place of a field.
    pub(super) fn place(&self, field: &str) -> Place {
        Place {
            file: self.file.to_path_buf(),
            line: self.line + self.lines.below(field),
        }
    }
}

impl Kind {
    /// The name that the API gives it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
        }
    }
}

impl Key {
    /// A problem of the object, with its place where it is written in a file.
    pub(super) fn problem(&self, finding: &Finding, origin: Option<&Origin>) -> Problem {
        Problem {
            object: model::Object {
                kind: self.kind.name().into(),
                name: self.name.clone(),
            },
            place: origin.map(|origin| origin.place(&finding.field)),
            field: finding.field.clone(),
            why: finding.why.clone(),
        }
    }
}

impl Family {
    /// The family of an address.
    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The family of a prefix.
    pub(super) const fn of_prefix(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    /// The other one.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The name that the API gives it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}
