//! Which objects are there, and which Services does a change of one concern?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::claims::{Asked, Claims};
use super::labels::{Pods, Selectors, selects};
use crate::input::NodeObject;
use crate::input::declared::{
    Endpoints, Key, Kind, Labels, Object, Origin, Placed, Pod, Service, Slice,
};
use crate::model::ObjectName;

/// All objects, with what is needed to find those that belong together.
#[derive(Debug, Default)]
pub(super) struct Objects {
    services: BTreeMap<ObjectName, (Arc<Service>, Origin)>,
    slices: BTreeMap<ObjectName, Arc<Slice>>,
    /// Names of the slices of each Service, also of Services that are not there (yet).
    slices_of: BTreeMap<ObjectName, Vec<ObjectName>>,
    endpoints: BTreeMap<ObjectName, Arc<Endpoints>>,
    pods: Pods,
    selectors: Selectors,
    nodes: BTreeMap<ObjectName, NodeObject>,
    service_cidrs: BTreeMap<ObjectName, Vec<IpNet>>,
    claims: Claims,
}

impl Objects {
    /// An object is so, or gone; returns the Services that this concerns.
    pub(super) fn change(&mut self, key: &Key, placed: Option<Placed>) -> BTreeSet<ObjectName> {
        let mut concerned = self.remove(key);
        if let Some(placed) = placed {
            concerned.extend(self.insert(&key.name, placed));
        }
        concerned
    }

    fn remove(&mut self, Key { kind, name }: &Key) -> BTreeSet<ObjectName> {
        match kind {
            Kind::Service => match self.services.remove(name) {
                Some((service, _)) => {
                    self.selectors.remove(name, &service.selector);
                    let mut concerned = self.claims.remove(name, &Asked::by(&service));
                    concerned.insert(name.clone());
                    concerned
                }
                None => [].into(),
            },
            Kind::EndpointSlice => match self.slices.remove(name) {
                Some(slice) => {
                    let service = slice.model.service.clone();
                    if let Some(slices) = self.slices_of.get_mut(&service) {
                        slices.retain(|other| other != name);
                        if slices.is_empty() {
                            self.slices_of.remove(&service);
                        }
                    }
                    [service].into()
                }
                None => [].into(),
            },
            Kind::Endpoints => {
                self.endpoints.remove(name);
                [name.clone()].into()
            }
            Kind::Pod => match self.pods.remove(name) {
                Some(pod) => self.selecting(&name.namespace, &pod.labels),
                None => [].into(),
            },
            Kind::Node => {
                self.nodes.remove(name);
                self.following_zones()
            }
            Kind::ServiceCidr => {
                self.service_cidrs.remove(name);
                self.services.keys().cloned().collect()
            }
        }
    }

    fn insert(&mut self, name: &ObjectName, placed: Placed) -> BTreeSet<ObjectName> {
        match placed.object {
            Object::Service(service) => {
                self.selectors.insert(name, &service.selector);
                let mut concerned = self.claims.insert(name, &Asked::by(&service));
                self.services.insert(name.clone(), (service, placed.origin));
                concerned.insert(name.clone());
                concerned
            }
            Object::Slice(slice) => {
                let service = slice.model.service.clone();
                let slices = self.slices_of.entry(service.clone()).or_default();
                if let Err(at) = slices.binary_search(name) {
                    slices.reserve_exact(1);
                    slices.insert(at, name.clone());
                }
                self.slices.insert(name.clone(), slice);
                [service].into()
            }
            Object::Endpoints(endpoints) => {
                self.endpoints.insert(name.clone(), endpoints);
                [name.clone()].into()
            }
            Object::Pod(pod) => {
                let concerned = self.selecting(&name.namespace, &pod.labels);
                self.pods.insert(name, pod);
                concerned
            }
            Object::Node(node) => {
                self.nodes.insert(name.clone(), node);
                self.following_zones()
            }
            Object::ServiceCidr(prefixes) => {
                self.service_cidrs.insert(name.clone(), prefixes);
                self.services.keys().cloned().collect()
            }
        }
    }

    /// The Services that select Pods with these labels.
    fn selecting(&self, namespace: &str, labels: &Labels) -> BTreeSet<ObjectName> {
        let candidates = self.selectors.candidates(namespace, labels);
        let selecting = candidates.filter(|name| selects(&self.services[*name].0.selector, labels));
        selecting.cloned().collect()
    }

    /// The Services whose endpoints depend on the zones of nodes.
    fn following_zones(&self) -> BTreeSet<ObjectName> {
        let services = self.services.iter();
        let following = services.filter(|(_, (service, _))| service.distribution.is_some());
        following.map(|(name, _)| name.clone()).collect()
    }

    /// A Service and where it is written.
    pub(super) fn service(&self, name: &ObjectName) -> Option<(&Arc<Service>, &Origin)> {
        let (service, origin) = self.services.get(name)?;
        Some((service, origin))
    }

    /// The slices written for a Service.
    pub(super) fn slices(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = (&ObjectName, &Slice)> {
        let names = self.slices_of.get(service).into_iter().flatten();
        names.map(|name| (name, &*self.slices[name]))
    }

    /// What the Endpoints object of a Service is mirrored to.
    pub(super) fn endpoints(&self, service: &ObjectName) -> Option<&Endpoints> {
        self.endpoints.get(service).map(|endpoints| &**endpoints)
    }

    /// The Pods that a Service selects.
    pub(super) fn pods<'a>(
        &'a self,
        namespace: &'a str,
        selector: &'a Labels,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Pod)> {
        self.pods.selected(namespace, selector)
    }

    /// The node of this name.
    pub(super) fn node(&self, name: &str) -> Option<&NodeObject> {
        self.nodes.get(&ObjectName::new("", name))
    }

    /// The prefixes of all ServiceCIDRs, by name.
    pub(super) fn service_cidrs(&self) -> impl Iterator<Item = &IpNet> {
        self.service_cidrs.values().flatten()
    }

    /// Who asks for which addresses and ports by name.
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }
}
