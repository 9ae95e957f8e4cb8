//! What do the maps not tell of Services and endpoints, that people want to see?

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{ObjectName, Protocol, Service, ServiceKind, Slice, TargetPort, Word, World};

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
    pub target: Option<Word>,
    /// Name of its node.
    pub node: Option<Word>,
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

/// Everything that is known, as it was at one moment: details are made of it one by one.
#[derive(Clone, Debug, Default)]
pub struct Details {
    services: Vec<(ObjectName, Arc<Service>)>,
    /// Service by Service.
    slices: Vec<Arc<Slice>>,
}

impl Details {
    /// What is known now.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let services = world.services();
        Self {
            services: services
                .map(|(name, service)| (name.clone(), Arc::clone(service)))
                .collect(),
            slices: world.all_slices().cloned().collect(),
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.slices.is_empty()
    }

    /// All Services, by name.
    pub fn services(&self) -> impl Iterator<Item = ServiceDetails> {
        let services = self.services.iter();
        services.map(|(name, service)| service_details(name, service))
    }

    /// What stands behind each endpoint's address, by Service; an endpoint of several slices once.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        let of_one = |one: &Arc<Slice>, next: &Arc<Slice>| one.service == next.service;
        self.slices.chunk_by(of_one).flat_map(|slices| {
            let targets = slices.iter().flat_map(|slice| targets(slice));
            targets.collect::<BTreeSet<_>>()
        })
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

fn targets(slice: &Slice) -> impl Iterator<Item = Target> {
    let endpoints = slice.endpoints.iter();
    endpoints.map(|endpoint| Target {
        service: slice.service.clone(),
        address: endpoint.address,
        target: endpoint.target.clone(),
        node: endpoint.node.clone(),
        ready: endpoint.ready,
        serving: endpoint.serving,
        terminating: endpoint.terminating,
        since: endpoint.extras.since.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, Endpoint};

    fn slice() -> Slice {
        Slice {
            service: ObjectName::new("default", "kubia"),
            ports: Vec::new(),
            endpoints: vec![Endpoint {
                node: Some("node-a".into()),
                target: Some("Pod/kubia-vs2kl".into()),
                ..Endpoint::at([10, 42, 0, 10].into())
            }],
        }
    }

    #[test]
    fn an_endpoint_of_two_slices_is_told_once_and_goes_with_the_last() {
        let mut world = World::default();
        let mut told = |slice: &str, of: Option<Slice>| {
            let name = ObjectName::new("default", slice);
            world.apply(Change::Slice(name, of.map(Arc::new)));
            Details::of(&world).targets().collect::<Vec<_>>()
        };
        told("kubia-1", Some(slice()));
        assert_eq!(told("kubia-2", Some(slice())).len(), 1);
        let left = told("kubia-1", None);
        assert_eq!(left[0].target.as_deref(), Some("Pod/kubia-vs2kl"));
        assert_eq!(told("kubia-2", None), []);
    }
}
