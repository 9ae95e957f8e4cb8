//! What does the decision look up on its way? A view of the tables that remembers.

use std::cell::RefCell;

use lb_common::addr::Family;
use lb_common::decide;
use lb_common::layout::{Affinity, AffinityKey, Backend, FrontendInfo, FrontendKey, FrontendRef};

/// One look into the tables, and what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup<A> {
    /// `CONFIG_*` bits.
    Flags(u32),
    /// Whether a pod prefix contains the address.
    Pod(A, bool),
    /// Whether the address is this node's.
    Node(A, bool),
    /// Whether a ServiceCIDR contains the address.
    Service(A, bool),
    /// The reference of a frontend.
    Frontend(FrontendKey<A>, Option<FrontendRef>),
    /// The information of a frontend.
    Info(u32, Option<FrontendInfo<A>>),
    /// The backend's id in a slot.
    Slot(u32, Option<u32>),
    /// A backend.
    Backend(u32, Option<Backend<A>>),
    /// Whether the source ranges of a service port contain the source.
    Admits(u32, A, bool),
    /// The affinity of a client.
    Affinity(AffinityKey<A>, Option<Affinity>),
}

/// Answers as the tables behind it do, and remembers.
#[derive(Debug)]
pub(super) struct Recorder<'t, A, T> {
    tables: &'t T,
    lookups: RefCell<Vec<Lookup<A>>>,
}

impl<'t, A: Family, T: decide::Tables<A>> Recorder<'t, A, T> {
    /// Nothing was looked up yet.
    pub(super) const fn new(tables: &'t T) -> Self {
        Self {
            tables,
            lookups: RefCell::new(Vec::new()),
        }
    }

    /// What was looked up, in order.
    pub(super) fn into_lookups(self) -> Vec<Lookup<A>> {
        self.lookups.into_inner()
    }

    fn note<V>(&self, value: V, lookup: impl FnOnce(&V) -> Lookup<A>) -> V {
        self.lookups.borrow_mut().push(lookup(&value));
        value
    }
}

impl<A: Family, T: decide::Tables<A>> decide::Tables<A> for Recorder<'_, A, T> {
    fn flags(&self) -> u32 {
        self.note(self.tables.flags(), |flags| Lookup::Flags(*flags))
    }

    fn is_pod(&self, address: &A) -> bool {
        self.note(self.tables.is_pod(address), |is| Lookup::Pod(*address, *is))
    }

    fn is_node(&self, address: &A) -> bool {
        let is = self.tables.is_node(address);
        self.note(is, |is| Lookup::Node(*address, *is))
    }

    fn is_service(&self, address: &A) -> bool {
        let is = self.tables.is_service(address);
        self.note(is, |is| Lookup::Service(*address, *is))
    }

    fn frontend(&self, key: &FrontendKey<A>) -> Option<FrontendRef> {
        let reference = self.tables.frontend(key);
        self.note(reference, |found| Lookup::Frontend(*key, *found))
    }

    fn info(&self, index: u32) -> Option<&FrontendInfo<A>> {
        let info = self.tables.info(index);
        self.note(info, |found| Lookup::Info(index, found.copied()))
    }

    fn slot(&self, index: u32) -> Option<u32> {
        let id = self.tables.slot(index);
        self.note(id, |found| Lookup::Slot(index, *found))
    }

    fn backend(&self, id: u32) -> Option<&Backend<A>> {
        let backend = self.tables.backend(id);
        self.note(backend, |found| Lookup::Backend(id, found.copied()))
    }

    fn admits(&self, service_port: u32, source: &A) -> bool {
        let admits = self.tables.admits(service_port, source);
        self.note(admits, |is| Lookup::Admits(service_port, *source, *is))
    }

    fn affinity(&self, key: &AffinityKey<A>, seconds: u32) -> Option<Affinity> {
        let affinity = self.tables.affinity(key, seconds);
        self.note(affinity, |found| Lookup::Affinity(*key, *found))
    }
}
