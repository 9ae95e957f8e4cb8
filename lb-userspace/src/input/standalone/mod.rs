//! What do all objects together say, where there is no cluster to allocate addresses and to follow
//! selectors? Objects in, changes of the model out.
//!
//! A change costs as much as the Services that it concerns; nothing here does I/O.

mod claims;
mod labels;
mod ledger;
mod objects;
mod pick;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use self::claims::Asked;
use self::ledger::{Ledger, Ranges};
use self::objects::Objects;
pub(super) use self::resolve::unmapped;
use self::resolve::{Resolved, resolve};
use super::declared::{Key, Kind, Placed, Service};
use super::findings::Finding;
use super::{Allocations, NodeObject, Unmapped, UnmappedReason};
use crate::model::{self, Change, ObjectName, Problem, ServiceKind};

/// All objects and what follows from them.
#[derive(Debug)]
pub(super) struct Standalone {
    node_name: String,
    /// Ranges of ClusterIPs that do not come from objects.
    own_prefixes: Vec<IpNet>,
    ranges: Ranges,
    objects: Objects,
    ledger: Ledger,
    /// Services that did not get all they want.
    waiting: BTreeSet<ObjectName>,
    derived: BTreeMap<ObjectName, Derived>,
    unmapped: BTreeMap<ObjectName, UnmappedReason>,
    problems: BTreeMap<ObjectName, Vec<Problem>>,
}

/// What follows from a Service and all that belongs to it.
#[derive(Debug, Default)]
struct Derived {
    service: Option<Arc<model::Service>>,
    /// By name. Mostly it is one, for which a map would have room for eleven.
    slices: Box<[(ObjectName, Arc<model::Slice>)]>,
}

impl Derived {
    fn slice(&self, name: &ObjectName) -> Option<&Arc<model::Slice>> {
        let found = self.slices.binary_search_by(|(of, _)| of.cmp(name));
        found.ok().map(|place| &self.slices[place].1)
    }
}

impl Standalone {
    /// Nothing is there yet but what was given before a restart.
    pub(super) fn new(
        node_name: String,
        own_prefixes: Vec<IpNet>,
        node_ports: RangeInclusive<u16>,
        allocations: Allocations,
    ) -> Self {
        Self {
            node_name,
            ranges: Ranges {
                prefixes: own_prefixes.clone(),
                node_ports,
            },
            own_prefixes,
            objects: Objects::default(),
            ledger: Ledger::new(allocations),
            waiting: BTreeSet::new(),
            derived: BTreeMap::new(),
            unmapped: BTreeMap::new(),
            problems: BTreeMap::new(),
        }
    }

    /// Objects are so now, or gone; returns what that changes in the model.
    pub(super) fn apply(&mut self, changes: BTreeMap<Key, Option<Placed>>) -> Vec<Change> {
        let mut concerned = self.waiting.clone();
        for (key, placed) in changes {
            let is_gone = placed.is_none();
            concerned.extend(self.objects.change(&key, placed));
            if key.kind == Kind::Service {
                if is_gone {
                    self.ledger.take_back(&key.name);
                }
                concerned.extend(self.losing_to(&key.name));
            }
        }
        let of_objects = self.objects.service_cidrs();
        self.ranges.prefixes = self
            .own_prefixes
            .iter()
            .chain(of_objects)
            .copied()
            .collect();

        let mut difference = Difference::default();
        for name in concerned {
            let after = self.derive(&name);
            difference.note(&name, self.derived.get(&name), &after);
            if self.objects.service(&name).is_some() {
                self.derived.insert(name, after);
            } else {
                self.derived.remove(&name);
            }
        }
        difference.into_changes()
    }

    /// Nothing that is not there yet will come: what was given to Services before the restart that
    /// are not there is free again.
    pub(super) fn forget_absent(&mut self) {
        let Self {
            objects, ledger, ..
        } = self;
        ledger.retain(|name| objects.service(name).is_some());
    }

    /// The Services that were given what this one asks for by name.
    fn losing_to(&self, name: &ObjectName) -> BTreeSet<ObjectName> {
        let Some((service, _)) = self.objects.service(name) else {
            return [].into();
        };
        let asked = Asked::by(service);
        let addresses = asked.addresses.iter();
        let addresses = addresses.filter_map(|address| self.ledger.holder_of_address(*address));
        let ports = asked.ports.iter();
        let ports = ports.filter_map(|(port, _)| self.ledger.holder_of_port(*port));
        addresses.chain(ports).cloned().collect()
    }

    /// Works out what follows from a Service, and what is wrong with it.
    fn derive(&mut self, name: &ObjectName) -> Derived {
        self.waiting.remove(name);
        self.unmapped.remove(name);
        self.problems.remove(name);
        let Some((service, origin)) = self.objects.service(name) else {
            return Derived::default();
        };
        let claims = self.objects.claims();
        let mut resolved = resolve(name, service, claims, &mut self.ledger, &self.ranges);
        if resolved.is_waiting {
            self.waiting.insert(name.clone());
        }
        let reason = resolve::unmapped(service);
        let derived = match reason {
            Some(UnmappedReason::OtherProxy(_)) => Derived::default(),
            _ => Derived {
                slices: self
                    .slices(name, service, &mut resolved)
                    .into_iter()
                    .collect(),
                service: Some(Arc::new(resolved.model)),
            },
        };
        self.unmapped
            .extend(reason.map(|reason| (name.clone(), reason)));
        if !resolved.findings.is_empty() {
            let key = Key {
                kind: Kind::Service,
                name: name.clone(),
            };
            let findings = resolved.findings.iter();
            let problems = findings.map(|finding| key.problem(finding, Some(origin)));
            self.problems.insert(name.clone(), problems.collect());
        }
        derived
    }

    /// The slices of a Service: those written for it, and what its selector picks or else its
    /// Endpoints say.
    fn slices(
        &self,
        name: &ObjectName,
        service: &Service,
        resolved: &mut Resolved,
    ) -> BTreeMap<ObjectName, Arc<model::Slice>> {
        let has_selector = !service.selector.is_empty();
        let mut slices = if has_selector {
            let zone_of = |node: &str| {
                let node = self.objects.node(node)?;
                Some(node.zone.as_str()).filter(|zone| !zone.is_empty())
            };
            let pods = self.objects.pods(&name.namespace, &service.selector);
            let picked = pick::pick(name, service, &resolved.families, pods, zone_of);
            pick::slices(name, "pods", &picked)
        } else {
            let endpoints = self.objects.endpoints(name);
            endpoints.map_or_else(BTreeMap::new, |endpoints| {
                pick::slices(name, "endpoints", endpoints)
            })
        };
        let nothing_picked = slices.is_empty();
        let mut leaves_out = false;
        let is_headless = service.model.kind == ServiceKind::Headless;
        for (name, slice) in self.objects.slices(name) {
            if slice.headless && !is_headless {
                continue;
            }
            if has_selector && slice.selected {
                leaves_out = true;
            } else {
                slices.insert(name.clone(), Arc::clone(&slice.model));
            }
        }
        if leaves_out && nothing_picked {
            let why = "it picks no Pod that is here, and the slices that Kubernetes made of others \
                       are not read; write the Pods, or remove the selector to use the slices";
            resolved.findings.push(Finding::new("spec.selector", why));
        }
        slices
    }

    /// What this node's object says.
    pub(super) fn node(&self) -> NodeObject {
        let node = self.objects.node(&self.node_name);
        node.cloned().unwrap_or_default()
    }

    /// The prefixes that ClusterIPs come from.
    pub(super) fn service_cidrs(&self) -> &[IpNet] {
        &self.ranges.prefixes
    }

    /// What is wrong with Services because of others or for want of ranges.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// Services without an entry in any map, by name.
    pub(super) fn unmapped(&self) -> impl Iterator<Item = Unmapped> {
        let unmapped = self.unmapped.iter();
        unmapped.map(|(service, reason)| Unmapped {
            service: service.clone(),
            reason: reason.clone(),
        })
    }

    /// What was given.
    pub(super) fn allocations(&self) -> &Allocations {
        self.ledger.given()
    }
}

/// What is different, collected over several Services.
#[derive(Debug, Default)]
struct Difference {
    services: BTreeMap<ObjectName, Option<Arc<model::Service>>>,
    slices: BTreeMap<ObjectName, Option<Arc<model::Slice>>>,
}

impl Difference {
    fn note(&mut self, name: &ObjectName, before: Option<&Derived>, after: &Derived) {
        let nothing = Derived::default();
        let before = before.unwrap_or(&nothing);
        if before.service != after.service {
            self.services.insert(name.clone(), after.service.clone());
        }
        for (name, _) in &before.slices {
            if after.slice(name).is_none() {
                // Another Service may have it now.
                self.slices.entry(name.clone()).or_insert(None);
            }
        }
        for (name, slice) in &after.slices {
            if before.slice(name) != Some(slice) {
                self.slices.insert(name.clone(), Some(slice.clone()));
            }
        }
    }

    fn into_changes(self) -> Vec<Change> {
        let services = self.services.into_iter();
        let slices = self.slices.into_iter();
        services
            .map(|(name, service)| Change::Service(name, service))
            .chain(slices.map(|(name, slice)| Change::Slice(name, slice)))
            .collect()
    }
}
