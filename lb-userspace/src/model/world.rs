//! What is there now, and which Services does a change touch?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Node, ObjectName, Service, Slice};

/// One change of what is known; applying it twice is the same as once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A Service is so, or gone.
    Service(ObjectName, Option<Arc<Service>>),
    /// A slice is so, or gone.
    Slice(ObjectName, Option<Arc<Slice>>),
    /// The node is so: every Service is touched.
    Node(Node),
}

/// Everything that is known. Objects are shared with whoever told them: there is one of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    services: BTreeMap<ObjectName, Arc<Service>>,
    slices: BTreeMap<ObjectName, Arc<Slice>>,
    /// Names of the slices of each Service, also of Services that are not there (yet).
    slices_of: BTreeMap<ObjectName, Names>,
    node: Node,
}

/// Sorted, and each once; nearly always it is one.
type Names = Vec<ObjectName>;

impl World {
    /// Applies a change and returns the Services whose plan it may alter.
    pub fn apply(&mut self, change: Change) -> BTreeSet<ObjectName> {
        let touched = self.touched_by(&change);
        match change {
            Change::Service(name, service) => set(&mut self.services, name, service),
            Change::Slice(name, slice) => self.set_slice(name, slice),
            Change::Node(node) => self.node = node,
        }
        touched
    }

    /// The Services whose plan a change would alter; none if it changes nothing.
    #[must_use]
    pub fn touched_by(&self, change: &Change) -> BTreeSet<ObjectName> {
        match change {
            Change::Service(name, service) if self.services.get(name) == service.as_ref() => {
                [].into()
            }
            Change::Service(name, _) => [name.clone()].into(),
            Change::Slice(name, slice) => {
                let before = self.slices.get(name);
                let after = slice.as_ref();
                if before == after {
                    return [].into();
                }
                let slices = before.into_iter().chain(after);
                slices.map(|slice| slice.service.clone()).collect()
            }
            Change::Node(node) if *node == self.node => [].into(),
            Change::Node(_) => self.services.keys().cloned().collect(),
        }
    }

    fn set_slice(&mut self, name: ObjectName, slice: Option<Arc<Slice>>) {
        if let Some(before) = self.slices.get(&name)
            && let Some(names) = self.slices_of.get_mut(&before.service)
        {
            names.retain(|other| *other != name);
            if names.is_empty() {
                self.slices_of.remove(&before.service);
            }
        }
        if let Some(slice) = &slice {
            let names = self.slices_of.entry(slice.service.clone()).or_default();
            if let Err(at) = names.binary_search(&name) {
                names.reserve_exact(1);
                names.insert(at, name.clone());
            }
        }
        set(&mut self.slices, name, slice);
    }

    /// The Service of this name.
    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&Service> {
        self.services.get(name).map(|service| &**service)
    }

    /// All Services, by name.
    #[must_use]
    pub fn services(&self) -> impl ExactSizeIterator<Item = (&ObjectName, &Arc<Service>)> {
        self.services.iter()
    }

    /// All slices, Service by Service.
    pub fn all_slices(&self) -> impl Iterator<Item = &Arc<Slice>> {
        let names = self.slices_of.values().flatten();
        names.filter_map(|name| self.slices.get(name))
    }

    /// The slices of a Service, by name.
    pub fn slices(&self, service: &ObjectName) -> impl Iterator<Item = &Slice> {
        self.slices_of
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|name| self.slices.get(name).map(|slice| &**slice))
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }
}

/// Sets or removes an element.
fn set<V>(map: &mut BTreeMap<ObjectName, V>, name: ObjectName, value: Option<V>) {
    match value {
        Some(value) => map.insert(name, value),
        None => map.remove(&name),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice_of(service: &str) -> Arc<Slice> {
        Arc::new(Slice {
            service: ObjectName::new("default", service),
            ..Slice::default()
        })
    }

    #[test]
    fn a_slice_that_changes_its_service_touches_both() {
        let mut world = World::default();
        let name = ObjectName::new("default", "slice");
        let touched = world.apply(Change::Slice(name.clone(), Some(slice_of("kubia"))));
        assert_eq!(touched, [ObjectName::new("default", "kubia")].into());
        let change = Change::Slice(name.clone(), Some(slice_of("backend-service")));
        assert_eq!(world.touched_by(&change).len(), 2);
        assert_eq!(world.apply(change).len(), 2);
        assert_eq!(
            world.slices(&ObjectName::new("default", "kubia")).count(),
            0
        );
        let touched = world.apply(Change::Slice(name, None));
        assert_eq!(
            touched,
            [ObjectName::new("default", "backend-service")].into()
        );
    }

    #[test]
    fn the_same_again_touches_nothing() {
        let mut world = World::default();
        let change = Change::Service(ObjectName::new("default", "kubia"), Some(Arc::default()));
        assert_eq!(world.apply(change.clone()).len(), 1);
        assert_eq!(world.apply(change).len(), 0);
    }
}
