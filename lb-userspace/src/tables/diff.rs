//! What has to be written to get from one state of the tables to another?

use std::collections::BTreeMap;

use lb_common::Family;
use lb_common::layout::{
    BACKEND_IN_CLUSTER, BACKEND_IN_LOCAL, Backend, Config, FrontendInfo, FrontendKey, Prefix,
};
use lb_common::limits::PREFIXES;

use super::{
    FamilyRow, FamilyRowKey, FamilyTables, Op, Owner, Part, PerFamily, Row, RowKey, TableDelta,
    Tables,
};
use crate::tables::split;

/// The writes that turn `before` into `after`, owner by owner.
///
/// For the start and the audit; a change of one Service compares that Service's elements only
/// ([`diff_owner`]).
#[must_use]
pub fn diff(before: &Tables, after: &Tables) -> TableDelta {
    // As nearly every audit finds: nothing is taken apart then.
    if before == after {
        return TableDelta::default();
    }
    let mut owners_before = split(before);
    let mut parts = Vec::new();
    for (owner, after) in split(after) {
        let before = owners_before.remove(&owner).unwrap_or_default();
        parts.push(diff_owner(owner, &before, &after));
    }
    for (owner, before) in owners_before {
        parts.push(diff_owner(owner, &before, &Tables::default()));
    }
    parts.retain(|part| !part.is_empty());
    // What one owner lost may be what another one has now.
    TableDelta { parts }.keeping(after)
}

/// The writes that turn `before` into `after`, the elements of one owner.
#[must_use]
pub fn diff_owner(owner: Owner, before: &Tables, after: &Tables) -> Part {
    let mut part = Part::new(owner);
    diff_config(&mut part, &before.config, &after.config);
    for (id, name) in changed(&before.services, &after.services) {
        let row = Row::Service(*id, name.clone());
        part.prepare.push(Op::Update(row));
    }
    for (index, backend) in changed(&before.slots, &after.slots) {
        part.prepare.push(Op::Update(Row::Slot(*index, *backend)));
    }
    diff_family::<lb_common::Ip4>(&mut part, before, after);
    diff_family::<lb_common::Ip6>(&mut part, before, after);
    let slots = gone(&before.slots, &after.slots).map(|index| RowKey::Slot(*index));
    part.retire.extend(slots.map(Op::Delete));
    let names = gone(&before.services, &after.services).map(|id| RowKey::Service(*id));
    part.retire.extend(names.map(Op::Delete));
    part
}

/// A ServiceCIDR counts only once the frontends in it are there: whatever else is in it is dropped.
fn diff_config(part: &mut Part, before: &Config, after: &Config) {
    let update = |config| Op::Update(Row::Config(Box::new(config)));
    let first = Config {
        services4: common(&before.services4, &after.services4),
        services6: common(&before.services6, &after.services6),
        ..*after
    };
    if first != *before {
        part.publish.push(update(first));
    }
    if first != *after {
        part.retract.push(update(*after));
    }
}

/// The later list without what the earlier one had not.
fn common<A: Family>(before: &PrefixList<A>, after: &PrefixList<A>) -> PrefixList<A> {
    after.map(|prefix| {
        if before.contains(&prefix) {
            prefix
        } else {
            Prefix::default()
        }
    })
}

type PrefixList<A> = [Prefix<A>; PREFIXES];

fn diff_family<A: PerFamily>(part: &mut Part, before: &Tables, after: &Tables) {
    let (before, after) = (A::of(before), A::of(after));
    prepare(part, before, after);
    publish(part, before, after);
    retract(part, before, after);
    retire(part, before, after);
}

fn update<A: PerFamily>(row: FamilyRow<A>) -> Op {
    Op::Update(A::row(row))
}

fn delete<A: PerFamily>(key: FamilyRowKey<A>) -> Op {
    Op::Delete(A::key(key))
}

/// An address is marked after its ports are there and unmarked before they go: the mark refuses
/// whatever is no port.
const fn is_mark<A>(key: &FrontendKey<A>) -> bool {
    key.port == 0
}

fn prepare<A: PerFamily>(part: &mut Part, before: &FamilyTables<A>, after: &FamilyTables<A>) {
    for (id, backend) in changed(&before.backends, &after.backends) {
        diff_backend(part, *id, before.backends.get(id), backend);
    }
    for range in after.ranges.difference(&before.ranges) {
        part.prepare.push(update(FamilyRow::Range(*range)));
    }
    for (index, info) in changed(&before.info, &after.info) {
        part.prepare.push(update(FamilyRow::Info(*index, *info)));
    }
}

fn publish<A: PerFamily>(part: &mut Part, before: &FamilyTables<A>, after: &FamilyTables<A>) {
    let mut frontends: Vec<_> = changed(&before.frontends, &after.frontends).collect();
    frontends.sort_by_key(|(key, _)| is_mark(key));
    for (key, reference) in frontends {
        let row = FamilyRow::Frontend(*key, *reference);
        part.publish.push(update(row));
    }
    for address in after.nodes.difference(&before.nodes) {
        part.publish.push(update(FamilyRow::Node(*address)));
    }
}

fn retract<A: PerFamily>(part: &mut Part, before: &FamilyTables<A>, after: &FamilyTables<A>) {
    let mut frontends: Vec<_> = gone(&before.frontends, &after.frontends).collect();
    frontends.sort_by_key(|key| !is_mark(key));
    for key in frontends {
        part.retract.push(delete(FamilyRowKey::Frontend(*key)));
    }
    for address in before.nodes.difference(&after.nodes) {
        part.retract.push(delete(FamilyRowKey::Node(*address)));
    }
    for (id, backend) in &before.backends {
        if !after.backends.contains_key(id) {
            let mut infos = after.info.values();
            if infos.any(|info| has_affinity(info, backend.service_port)) {
                release_clients(part, *id, backend);
            }
        }
    }
}

fn retire<A: PerFamily>(part: &mut Part, before: &FamilyTables<A>, after: &FamilyTables<A>) {
    for index in gone(&before.info, &after.info) {
        part.retire.push(delete::<A>(FamilyRowKey::Info(*index)));
    }
    for id in gone(&before.backends, &after.backends) {
        part.retire.push(delete::<A>(FamilyRowKey::Backend(*id)));
    }
    // Ranges that nobody looks up any more may still be looked up by a program that read the old
    // information; where they are still looked up, a withdrawn one must not admit a second longer.
    for range in before.ranges.difference(&after.ranges) {
        let op = delete(FamilyRowKey::Range(*range));
        if after.restricts(range.service_port) {
            part.retract.push(op);
        } else {
            part.retire.push(op);
        }
    }
}

fn has_affinity<A>(info: &FrontendInfo<A>, service_port: u32) -> bool {
    info.service_port == service_port && info.affinity_seconds != 0
}

/// A backend that is gone stays readable for a while, but no client keeps an affinity to it.
fn release_clients<A: PerFamily>(part: &mut Part, id: u32, old: &Backend<A>) {
    let released = Backend {
        flags: old.flags & !(BACKEND_IN_CLUSTER | BACKEND_IN_LOCAL),
        ..*old
    };
    if released != *old {
        part.retract.push(update(FamilyRow::Backend(id, released)));
    }
}

/// A backend whose flags alone change is updated in place. It gains flags before the pools change
/// and loses them after: a client with an affinity to it keeps it as long as the old pool is seen.
fn diff_backend<A: PerFamily>(
    part: &mut Part,
    id: u32,
    old: Option<&Backend<A>>,
    new: &Backend<A>,
) {
    let update = |backend| update(FamilyRow::Backend(id, backend));
    let flags = old.map_or(0, |old| old.flags);
    let gained = Backend {
        flags: flags | new.flags,
        ..*new
    };
    match old {
        Some(old) if Backend { flags, ..*new } == *old => {
            if gained != *old {
                part.prepare.push(update(gained));
            }
            if gained != *new {
                part.retract.push(update(*new));
            }
        }
        _ => part.prepare.push(update(*new)),
    }
}

/// Elements that are new or different.
fn changed<'t, K: Ord, V: PartialEq>(
    before: &'t BTreeMap<K, V>,
    after: &'t BTreeMap<K, V>,
) -> impl Iterator<Item = (&'t K, &'t V)> {
    after
        .iter()
        .filter(|(key, value)| before.get(key) != Some(value))
}

/// Keys that are gone.
fn gone<'t, K: Ord, V>(
    before: &'t BTreeMap<K, V>,
    after: &'t BTreeMap<K, V>,
) -> impl Iterator<Item = &'t K> {
    before.keys().filter(|key| !after.contains_key(key))
}
