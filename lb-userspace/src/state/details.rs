//! What do the maps not tell of Services and endpoints, that people want to see?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Change, ObjectName, Protocol, Service, ServiceKind, Slice, TargetPort};

/// A Service as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDetails {
    /// Its name.
    #[serde(flatten)]
    pub service: ObjectName,
    /// `spec.type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its ClusterIPs, the primary one first.
    #[serde(default)]
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses of a load balancer that brings their packets to node ports itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxied_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<PortDetails>,
}

/// One of a Service's ports as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortDetails {
    /// Name; empty = unnamed.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// The port that clients dial.
    pub port: u16,
    /// `targetPort`: a number, or the name of a container port.
    pub target_port: String,
}

/// What stands behind an endpoint's address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The Service that the endpoint belongs to.
    #[serde(flatten)]
    pub service: ObjectName,
    /// The endpoint's address.
    pub address: IpAddr,
    /// `Kind/name`, as `Pod/kubia-vs2kl`.
    pub target: Option<String>,
    /// Name of its node.
    pub node: Option<String>,
    /// Condition `ready`.
    #[serde(default)]
    pub ready: bool,
    /// Condition `serving`.
    #[serde(default)]
    pub serving: bool,
    /// Condition `terminating`.
    #[serde(default)]
    pub terminating: bool,
    /// Since when its Pod is ready, or is not, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// The details of everything that is known, kept up to date change by change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    services: BTreeMap<ObjectName, ServiceDetails>,
    slices: BTreeMap<ObjectName, Vec<Target>>,
}

impl Details {
    /// Follows a change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Service(name, Some(service)) => {
                self.services
                    .insert(name.clone(), service_details(name, service));
            }
            Change::Service(name, None) => {
                self.services.remove(name);
            }
            Change::Slice(name, Some(slice)) => {
                self.slices.insert(name.clone(), targets(slice));
            }
            Change::Slice(name, None) => {
                self.slices.remove(name);
            }
            Change::Node(_) => {}
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.slices.is_empty()
    }

    /// All Services, by name.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceDetails> {
        self.services.values().cloned().collect()
    }

    /// What stands behind each endpoint's address, by Service; an endpoint of several slices once.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let targets: BTreeSet<_> = self.slices.values().flatten().cloned().collect();
        targets.into_iter().collect()
    }
}

fn service_details(name: &ObjectName, service: &Service) -> ServiceDetails {
    let kind = match service.kind {
        ServiceKind::ClusterIp | ServiceKind::Headless => "ClusterIP",
        ServiceKind::NodePort => "NodePort",
        ServiceKind::LoadBalancer => "LoadBalancer",
        ServiceKind::ExternalName(_) => "ExternalName",
    };
    let ports = service.ports.iter().map(|port| PortDetails {
        name: port.name.clone(),
        protocol: port.protocol,
        port: port.port,
        target_port: match &port.target_port {
            TargetPort::Number(number) => number.to_string(),
            TargetPort::Name(name) => name.clone(),
        },
    });
    ServiceDetails {
        service: name.clone(),
        kind: kind.to_owned(),
        cluster_ips: service.cluster_ips.clone(),
        proxied_ips: service.proxied_ips.clone(),
        ports: ports.collect(),
    }
}

fn targets(slice: &Slice) -> Vec<Target> {
    let endpoints = slice.endpoints.iter();
    endpoints
        .map(|endpoint| Target {
            service: slice.service.clone(),
            address: endpoint.address,
            target: endpoint.target.clone(),
            node: endpoint.node.clone(),
            ready: endpoint.ready,
            serving: endpoint.serving,
            terminating: endpoint.terminating,
            since: endpoint.since.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Endpoint;

    fn slice() -> Slice {
        Slice {
            service: ObjectName::new("default", "kubia"),
            ports: Vec::new(),
            endpoints: vec![Endpoint {
                address: "10.42.0.10".parse().expect("an address"),
                ready: true,
                serving: true,
                terminating: false,
                node: Some("node-a".to_owned()),
                hostname: None,
                zone_hints: BTreeSet::new(),
                node_hints: BTreeSet::new(),
                target: Some("Pod/kubia-vs2kl".to_owned()),
                weight: 1,
                since: None,
            }],
        }
    }

    #[test]
    fn an_endpoint_of_two_slices_is_told_once_and_goes_with_the_last() {
        let mut details = Details::default();
        let name = |name| ObjectName::new("default", name);
        details.apply(&Change::Slice(name("kubia-1"), Some(slice())));
        details.apply(&Change::Slice(name("kubia-2"), Some(slice())));
        assert_eq!(details.targets().len(), 1);
        details.apply(&Change::Slice(name("kubia-1"), None));
        assert_eq!(
            details.targets()[0].target.as_deref(),
            Some("Pod/kubia-vs2kl")
        );
        details.apply(&Change::Slice(name("kubia-2"), None));
        assert_eq!(details.targets(), []);
    }
}
