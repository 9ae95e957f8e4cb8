//! Whose is each element of the tables?

use std::collections::BTreeMap;

use lb_common::layout::{ServiceName, text_bytes};

use super::{FamilyTables, Owner, PerFamily, Tables};
use crate::model::ObjectName;

/// The tables, taken apart by owner; together the parts are the whole.
#[must_use]
pub fn split(tables: &Tables) -> BTreeMap<Owner, Tables> {
    let owner = |service_port: u32| owner_of(tables, service_port);
    let mut parts: BTreeMap<Owner, Tables> = BTreeMap::new();
    parts.entry(Owner::Node).or_default().config = tables.config;
    for (id, name) in &tables.services {
        let part = parts.entry(owner(*id)).or_default();
        part.services.insert(*id, name.clone());
    }
    let mut slot_owners = BTreeMap::new();
    split_family::<lb_common::Ip4>(tables, &mut parts, &mut slot_owners);
    split_family::<lb_common::Ip6>(tables, &mut parts, &mut slot_owners);
    for (index, backend) in &tables.slots {
        let owner = slot_owners.remove(index).unwrap_or(Owner::Nobody);
        let part = parts.entry(owner).or_default();
        part.slots.insert(*index, *backend);
    }
    parts
}

fn split_family<A: PerFamily>(
    tables: &Tables,
    parts: &mut BTreeMap<Owner, Tables>,
    slot_owners: &mut BTreeMap<u32, Owner>,
) {
    let family = A::of(tables);
    for (key, reference) in &family.frontends {
        let part = part::<A>(tables, parts, reference.service_port);
        part.frontends.insert(*key, *reference);
    }
    for (index, info) in &family.info {
        let part = part::<A>(tables, parts, info.service_port);
        part.info.insert(*index, *info);
    }
    for (id, backend) in &family.backends {
        let part = part::<A>(tables, parts, backend.service_port);
        part.backends.insert(*id, *backend);
    }
    for range in &family.ranges {
        let part = part::<A>(tables, parts, range.service_port);
        part.ranges.insert(*range);
    }
    for info in family.info.values() {
        for pool in [&info.inside, &info.outside] {
            let covered = pool.first..pool.first.saturating_add(pool.count);
            for (index, _) in tables.slots.range(covered) {
                slot_owners
                    .entry(*index)
                    .or_insert_with(|| owner_of(tables, info.service_port));
            }
        }
    }
    let node = parts.entry(Owner::Node).or_default();
    A::of_mut(node).nodes.clone_from(&family.nodes);
}

fn part<'p, A: PerFamily>(
    tables: &Tables,
    parts: &'p mut BTreeMap<Owner, Tables>,
    service_port: u32,
) -> &'p mut FamilyTables<A> {
    let owner = owner_of(tables, service_port);
    A::of_mut(parts.entry(owner).or_default())
}

fn owner_of(tables: &Tables, service_port: u32) -> Owner {
    match tables.services.get(&service_port) {
        Some(name) => Owner::Service(service_of(name)),
        None => Owner::Nobody,
    }
}

/// The Service that the port belongs to.
#[must_use]
pub fn service_of(name: &ServiceName) -> ObjectName {
    let text = |from| {
        let bytes: Vec<u8> = text_bytes(from).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    ObjectName::new(text(&name.namespace), text(&name.name))
}
