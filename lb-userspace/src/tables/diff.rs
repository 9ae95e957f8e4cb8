//! What has to be written to get from one state of the tables to another?

use std::collections::BTreeMap;

use lb_common::layout::{Backend, FRONTEND_SOURCE_RANGES};

use super::{FamilyRow, FamilyRowKey, Op, Owner, Part, PerFamily, Row, RowKey, TableDelta, Tables};
use crate::tables::split;

/// The writes that turn `before` into `after`, owner by owner.
///
/// For the start and the audit; a change of one Service compares that Service's elements only
/// ([`diff_owner`]).
#[must_use]
pub fn diff(before: &Tables, after: &Tables) -> TableDelta {
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
    if before.config != after.config {
        let row = Row::Config(Box::new(after.config));
        part.publish.push(Op::Update(row));
    }
    for (id, name) in changed(&before.services, &after.services) {
        let row = Row::Service(*id, Box::new(*name));
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

fn diff_family<A: PerFamily>(part: &mut Part, before: &Tables, after: &Tables) {
    let (before, after) = (A::of(before), A::of(after));
    let update = |row| Op::Update(A::row(row));
    let delete = |key| Op::Delete(A::key(key));

    for (id, backend) in changed(&before.backends, &after.backends) {
        let old = before.backends.get(id);
        diff_backend(part, *id, old, backend);
    }
    let ranges = after.ranges.difference(&before.ranges);
    part.prepare
        .extend(ranges.map(|range| update(FamilyRow::Range(*range))));
    for (index, info) in changed(&before.info, &after.info) {
        part.prepare.push(update(FamilyRow::Info(*index, *info)));
    }

    for (key, reference) in changed(&before.frontends, &after.frontends) {
        let row = FamilyRow::Frontend(*key, *reference);
        part.publish.push(update(row));
    }
    let nodes = after.nodes.difference(&before.nodes);
    part.publish
        .extend(nodes.map(|address| update(FamilyRow::Node(*address))));

    let frontends = gone(&before.frontends, &after.frontends);
    part.retract
        .extend(frontends.map(|key| delete(FamilyRowKey::Frontend(*key))));
    let nodes = before.nodes.difference(&after.nodes);
    part.retract
        .extend(nodes.map(|address| delete(FamilyRowKey::Node(*address))));

    // Ranges that nobody asks for any more may still be asked for by a program that read the old
    // information; where they are still asked for, a withdrawn one must not admit a second longer.
    let asked_for = |info: &lb_common::layout::FrontendInfo<A>, service_port| {
        info.service_port == service_port && info.flags & FRONTEND_SOURCE_RANGES != 0
    };
    for range in before.ranges.difference(&after.ranges) {
        let op = delete(FamilyRowKey::Range(*range));
        let mut infos = after.info.values();
        if infos.any(|info| asked_for(info, range.service_port)) {
            part.retract.push(op);
        } else {
            part.retire.push(op);
        }
    }
    let infos = gone(&before.info, &after.info);
    part.retire
        .extend(infos.map(|index| delete(FamilyRowKey::Info(*index))));
    let backends = gone(&before.backends, &after.backends);
    part.retire
        .extend(backends.map(|id| delete(FamilyRowKey::Backend(*id))));
}

/// A backend whose flags alone change is updated in place. It gains flags before the pools change
/// and loses them after: a client with an affinity to it keeps it as long as the old pool is seen.
fn diff_backend<A: PerFamily>(
    part: &mut Part,
    id: u32,
    old: Option<&Backend<A>>,
    new: &Backend<A>,
) {
    let update = |backend| Op::Update(A::row(FamilyRow::Backend(id, backend)));
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
