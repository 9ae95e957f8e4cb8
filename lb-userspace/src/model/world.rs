//! What is there now, and which Services does a change touch?

use std::collections::{BTreeMap, BTreeSet};

use super::{Node, ObjectName, Service, Slice};

/// One change of what is known; applying it twice is the same as once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A Service is so, or gone.
    Service(ObjectName, Option<Service>),
    /// A slice is so, or gone.
    Slice(ObjectName, Option<Slice>),
    /// The node is so: every Service is touched.
    Node(Node),
}

/// Everything that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    services: BTreeMap<ObjectName, Service>,
    slices: BTreeMap<ObjectName, Slice>,
    /// Names of the slices of each Service, also of Services that are not there (yet).
    slices_of: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    node: Node,
}

impl World {
    /// Applies a change and returns the Services whose plan it may alter.
    pub fn apply(&mut self, change: Change) -> BTreeSet<ObjectName> {
        match change {
            Change::Service(name, service) => {
                if replace(&mut self.services, &name, service) {
                    [name].into()
                } else {
                    [].into()
                }
            }
            Change::Slice(name, slice) => self.apply_slice(&name, slice),
            Change::Node(node) if node == self.node => [].into(),
            Change::Node(node) => {
                self.node = node;
                self.services.keys().cloned().collect()
            }
        }
    }

    fn apply_slice(&mut self, name: &ObjectName, slice: Option<Slice>) -> BTreeSet<ObjectName> {
        let before = self.slices.get(name).map(|slice| slice.service.clone());
        let after = slice.as_ref().map(|slice| slice.service.clone());
        if !replace(&mut self.slices, name, slice) {
            return [].into();
        }
        if let Some(service) = &before
            && let Some(names) = self.slices_of.get_mut(service)
        {
            names.remove(name);
            if names.is_empty() {
                self.slices_of.remove(service);
            }
        }
        if let Some(service) = &after {
            self.slices_of
                .entry(service.clone())
                .or_default()
                .insert(name.clone());
        }
        before.into_iter().chain(after).collect()
    }

    /// The Service of this name.
    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&Service> {
        self.services.get(name)
    }

    /// All Services, by name.
    pub fn services(&self) -> impl Iterator<Item = (&ObjectName, &Service)> {
        self.services.iter()
    }

    /// The slices of a Service, by name.
    pub fn slices(&self, service: &ObjectName) -> impl Iterator<Item = &Slice> {
        self.slices_of
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|name| self.slices.get(name))
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }
}

/// Sets or removes an element; false if that changed nothing.
fn replace<V: PartialEq>(
    map: &mut BTreeMap<ObjectName, V>,
    name: &ObjectName,
    value: Option<V>,
) -> bool {
    if map.get(name) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => map.insert(name.clone(), value),
        None => map.remove(name),
    };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice_of(service: &str) -> Slice {
        Slice {
            service: ObjectName::new("default", service),
            ..Slice::default()
        }
    }

    #[test]
    fn a_slice_that_changes_its_service_touches_both() {
        let mut world = World::default();
        let name = ObjectName::new("default", "slice");
        let touched = world.apply(Change::Slice(name.clone(), Some(slice_of("kubia"))));
        assert_eq!(touched, [ObjectName::new("default", "kubia")].into());
        let touched = world.apply(Change::Slice(name, Some(slice_of("backend-service"))));
        assert_eq!(touched.len(), 2);
        assert_eq!(
            world.slices(&ObjectName::new("default", "kubia")).count(),
            0
        );
    }

    #[test]
    fn the_same_again_touches_nothing() {
        let mut world = World::default();
        let change = Change::Service(
            ObjectName::new("default", "kubia"),
            Some(Service::default()),
        );
        assert_eq!(world.apply(change.clone()).len(), 1);
        assert_eq!(world.apply(change).len(), 0);
    }
}
