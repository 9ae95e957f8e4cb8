//! How are the elements of one owner kept in little memory?
//!
//! A sorted map has room for eleven elements where one is, and most Services have a few of each kind:
//! ten thousand of them would take several times as much as their elements do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::layout::{
    Backend, Config, FrontendInfo, FrontendKey, FrontendRef, RangeKey, ServiceName,
};

use super::{FamilyTables, Tables};

/// [`Tables`] that are only looked at when their owner changes.
#[derive(Clone, Debug)]
pub struct Packed {
    /// None: all zero, as for everybody but the node.
    config: Option<Box<Config>>,
    services: Box<[(u32, Arc<ServiceName>)]>,
    slots: Box<[(u32, u32)]>,
    v4: PackedFamily<Ip4>,
    /// None: there are no elements.
    v6: Option<Box<PackedFamily<Ip6>>>,
}

#[derive(Clone, Debug)]
struct PackedFamily<A> {
    frontends: Box<[(FrontendKey<A>, FrontendRef)]>,
    info: Box<[(u32, FrontendInfo<A>)]>,
    backends: Box<[(u32, Backend<A>)]>,
    ranges: Box<[RangeKey<A>]>,
    nodes: Box<[A]>,
}

impl Packed {
    /// Packs what an owner has.
    #[must_use]
    pub fn new(tables: &Tables) -> Self {
        let Tables {
            config,
            services,
            slots,
            v4,
            v6,
        } = tables;
        Self {
            config: (*config != Config::default()).then(|| Box::new(*config)),
            services: pairs(services),
            slots: pairs(slots),
            v4: PackedFamily::new(v4),
            v6: (*v6 != FamilyTables::default()).then(|| Box::new(PackedFamily::new(v6))),
        }
    }

    /// What the owner has.
    #[must_use]
    pub fn unpack(&self) -> Tables {
        Tables {
            config: self.config.as_deref().copied().unwrap_or_default(),
            services: self.services.iter().cloned().collect(),
            slots: self.slots.iter().copied().collect(),
            v4: self.v4.unpack(),
            v6: (self.v6.as_deref()).map_or_else(FamilyTables::default, PackedFamily::unpack),
        }
    }
}

impl<A: Family> PackedFamily<A> {
    fn new(tables: &FamilyTables<A>) -> Self {
        let FamilyTables {
            frontends,
            info,
            backends,
            ranges,
            nodes,
        } = tables;
        Self {
            frontends: pairs(frontends),
            info: pairs(info),
            backends: pairs(backends),
            ranges: keys(ranges),
            nodes: keys(nodes),
        }
    }

    fn unpack(&self) -> FamilyTables<A> {
        FamilyTables {
            frontends: self.frontends.iter().copied().collect(),
            info: self.info.iter().copied().collect(),
            backends: self.backends.iter().copied().collect(),
            ranges: self.ranges.iter().copied().collect(),
            nodes: self.nodes.iter().copied().collect(),
        }
    }
}

fn pairs<K: Copy, V: Clone>(map: &BTreeMap<K, V>) -> Box<[(K, V)]> {
    map.iter()
        .map(|(key, value)| (*key, value.clone()))
        .collect()
}

fn keys<K: Copy>(set: &BTreeSet<K>) -> Box<[K]> {
    set.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_as_it_was() {
        let mut tables = Tables::default();
        assert_eq!(Packed::new(&tables).unpack(), tables);
        tables.config.hz = 250;
        tables.services.insert(1, ServiceName::default().into());
        tables.slots.extend([(7, 1), (8, 2)]);
        tables.v4.info.insert(1, FrontendInfo::default());
        let key = FrontendKey::default();
        tables.v4.frontends.insert(key, FrontendRef::default());
        tables.v4.ranges.insert(RangeKey::default());
        tables.v4.nodes.insert(Ip4::new(192, 0, 2, 1));
        assert_eq!(Packed::new(&tables).unpack(), tables);
        tables.v6.backends.insert(3, Backend::default());
        assert_eq!(Packed::new(&tables).unpack(), tables);
    }
}
