//! What becomes of a Service once it is known which addresses and ports it gets?

use std::collections::BTreeSet;

use super::claims::Claims;
use super::ledger::{Ledger, Ranges, Wants};
use crate::input::UnmappedReason;
use crate::input::declared::{Family, FamilyPolicy, Provider, Service};
use crate::input::findings::Finding;
use crate::model::{self, ObjectName, Protocol, ServiceKind, ServicePort};

/// A Service with everything that it asked for or was given.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The Service.
    pub(super) model: model::Service,
    /// Its families.
    pub(super) families: Vec<Family>,
    /// What it could not get.
    pub(super) findings: Vec<Finding>,
    /// Whether it may get more once something becomes free.
    pub(super) is_waiting: bool,
}

/// Why a Service has no entry in any map, if that is so.
pub(in crate::input) fn unmapped(service: &Service) -> Option<UnmappedReason> {
    match (&service.other_proxy, &service.model.kind) {
        (Some(name), _) => Some(UnmappedReason::OtherProxy(name.clone())),
        (None, ServiceKind::Headless) => Some(UnmappedReason::Headless),
        (None, ServiceKind::ExternalName(host)) => Some(UnmappedReason::ExternalName(host.clone())),
        (None, _) => None,
    }
}

/// Settles what a Service gets; of what it does not need any more it holds nothing afterwards.
pub(super) fn resolve(
    name: &ObjectName,
    service: &Service,
    claims: &Claims,
    ledger: &mut Ledger,
    ranges: &Ranges,
) -> Resolved {
    let mut resolved = Resolved {
        model: service.model.clone(),
        families: families(service, ranges),
        findings: Vec::new(),
        is_waiting: false,
    };
    if unmapped(service).is_some() {
        ledger.take_back(name);
        return resolved;
    }
    resolved.drop_what_others_own(name, claims);
    resolved.share_node_ports(name, service, claims);
    let wants = resolved.wants(service);
    let given = ledger.give(name, &wants, claims, ranges);
    resolved.is_waiting = given.cluster_ips.len() < wants.families.len()
        || given.node_ports.len() < wants.ports.len()
        || given.health_check_node_port.is_some() != wants.health_check;

    for family in wants.families {
        let mut addresses = given.cluster_ips.iter();
        match addresses.find(|address| Family::of(**address) == family) {
            Some(address) => resolved.model.cluster_ips.push(*address),
            None => resolved.lacks_address(family, ranges),
        }
    }
    for i in 0..resolved.model.ports.len() {
        let port = &mut resolved.model.ports[i];
        if port.node_port.is_none() && wants.ports.contains(&port.port) {
            port.node_port = given.node_ports.get(&port.port).copied();
            if port.node_port.is_none() {
                resolved.lacks_port(format!("spec.ports[{i}].nodePort"), ranges);
            }
        }
    }
    if wants.health_check {
        resolved.model.health_check_node_port = given.health_check_node_port;
        if given.health_check_node_port.is_none() {
            resolved.lacks_port("spec.healthCheckNodePort".into(), ranges);
        }
    }
    resolved.provide_load_balancer(service);
    resolved
}

/// The families of a Service, first the primary one.
fn families(service: &Service, ranges: &Ranges) -> Vec<Family> {
    let of_ranges = ranges.prefixes.iter().map(Family::of_prefix);
    let first = of_ranges.clone().next().unwrap_or(Family::V4);
    let mut families = service.families.clone();
    if families.is_empty() {
        families.push(first);
    }
    if let [family] = families[..] {
        let other = family.other();
        let is_dual = match service.family_policy {
            FamilyPolicy::Single => false,
            FamilyPolicy::PreferDual => of_ranges.clone().any(|family| family == other),
            FamilyPolicy::RequireDual => true,
        };
        families.extend(is_dual.then_some(other));
    }
    families
}

impl Resolved {
    fn drop_what_others_own(&mut self, name: &ObjectName, claims: &Claims) {
        let findings = &mut self.findings;
        let mut is_ours = |owner: Option<&ObjectName>, field: String, what: String| match owner {
            Some(owner) if owner != name => {
                let why = format!(
                    "{what} belongs to Service {owner} and is not served for this one; write \
                     another one"
                );
                findings.push(Finding::new(field, why));
                false
            }
            _ => true,
        };
        let mut i = 0;
        self.model.cluster_ips.retain(|address| {
            let field = match i {
                0 => "spec.clusterIP".into(),
                i => format!("spec.clusterIPs[{i}]"),
            };
            i += 1;
            let owner = claims.owner_of_address(*address);
            is_ours(owner, field, address.to_string())
        });
        for (i, port) in self.model.ports.iter_mut().enumerate() {
            port.node_port = port.node_port.filter(|number| {
                let owner = claims.owner_of_port(*number, port.protocol);
                let field = format!("spec.ports[{i}].nodePort");
                is_ours(owner, field, format!("{} {number}", port.protocol))
            });
        }
        let health_check = self.model.health_check_node_port;
        self.model.health_check_node_port = health_check.filter(|number| {
            let owner = claims.owner_of_port(*number, Protocol::Tcp);
            let field = "spec.healthCheckNodePort".into();
            is_ours(owner, field, format!("TCP {number}"))
        });
    }

    /// A port without a node port takes the one that the same port has for another protocol.
    fn share_node_ports(&mut self, name: &ObjectName, service: &Service, claims: &Claims) {
        if !service.wants_node_ports {
            return;
        }
        let ports = self.model.ports.clone();
        for port in &mut self.model.ports {
            if port.node_port.is_some() {
                continue;
            }
            let same = |other: &&ServicePort| {
                other.port == port.port
                    && other.node_port.is_some_and(|number| {
                        let owner = claims.owner_of_port(number, port.protocol);
                        owner.is_none_or(|owner| owner == name)
                    })
            };
            port.node_port = ports.iter().find(same).and_then(|other| other.node_port);
        }
    }

    /// What is left to be given. What is written, but belongs to others, is not replaced.
    fn wants(&self, service: &Service) -> Wants {
        let written = service.model.cluster_ips.iter();
        let written: BTreeSet<_> = written.copied().map(Family::of).collect();
        let families = self.families.iter().copied();
        let ports = self.model.ports.iter().zip(&service.model.ports);
        let ports = ports.filter(|(port, written)| {
            service.wants_node_ports && port.node_port.is_none() && written.node_port.is_none()
        });
        Wants {
            families: families
                .filter(|family| !written.contains(family))
                .collect(),
            ports: ports.map(|(port, _)| port.port).collect(),
            health_check: service.wants_health_check
                && service.model.health_check_node_port.is_none(),
        }
    }

    fn lacks_address(&mut self, family: Family, ranges: &Ranges) {
        let mut families = ranges.prefixes.iter().map(Family::of_prefix);
        let why = if families.any(|there| there == family) {
            "every address of the service CIDRs is taken; write one, or add a range with \
             --service-cidr or a ServiceCIDR"
        } else {
            "there is no range to give it from; write one, or give a range with --service-cidr or \
             a ServiceCIDR"
        };
        let why = format!("it has no {} address: {why}", family.name());
        self.findings.push(Finding::new("spec.clusterIP", why));
    }

    fn lacks_port(&mut self, field: String, ranges: &Ranges) {
        let (first, last) = (ranges.node_ports.start(), ranges.node_ports.end());
        let why = if ranges.node_ports.is_empty() {
            "there is no range to give it from; write one, or give --nodeport-range".into()
        } else {
            format!(
                "every port from {first} to {last} is taken; write one, or widen --nodeport-range"
            )
        };
        self.findings
            .push(Finding::new(field, format!("it has no port: {why}")));
    }

    /// Here we are the provider of load balancers: what is asked for is given.
    fn provide_load_balancer(&mut self, service: &Service) {
        if self.model.kind != ServiceKind::LoadBalancer {
            return;
        }
        let Provider::Default(asked) = service.provider else {
            return;
        };
        if let Some(asked) = asked {
            self.model.load_balancer_ips = vec![asked];
        }
        if self.model.load_balancer_ips.is_empty() {
            let why = "it has no address, and there are no pools to give one from; write one, or \
                       status.loadBalancer.ingress; until then its ClusterIP and node ports serve";
            self.findings.push(Finding::new("spec.loadBalancerIP", why));
        }
    }
}
