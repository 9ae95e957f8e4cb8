//! How is this node's load balancer, on one screen?

use std::collections::BTreeMap;
use std::time::Duration;

use lb_common::drops::{DropReason, Hook};
use lb_common::layout::{CONFIG_STANDBY, LINK_POD, LINK_UPLINK, LINK_XDP, Link};

use super::{Index, age, drops, services};
use crate::tables::{Capacities, FamilyCapacities, FamilyTables, PerFamily, Tables};

/// What the status is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Process id of the daemon, if it runs.
    pub daemon: Option<u32>,
    /// How old the state file is, if there is one.
    pub state_age: Option<Duration>,
    /// Where the maps are pinned.
    pub pin_dir: String,
    /// What they hold, with the names of things.
    pub index: &'a Index<'a>,
    /// What they hold.
    pub tables: &'a Tables,
    /// How much they have room for.
    pub capacities: Capacities,
    /// What the sieve of each family does, by the family's name.
    pub sieves: [(&'static str, Sifting); 2],
    /// Links that programs are attached to, with their names.
    pub links: Vec<(String, Link)>,
    /// Whether programs are attached to sockets.
    pub sockets: bool,
    /// How many connections are in the flow table.
    pub flows: usize,
    /// Counters of what was dropped.
    pub counters: Vec<(Hook, DropReason, u64)>,
}

/// What a sieve does.
#[derive(Clone, Copy, Debug)]
pub struct Sifting {
    /// Packets pass unread that are not marked.
    pub is_in_force: bool,
    /// How many marks there are.
    pub marks: u32,
}

/// Names of so many things fit into a line.
const NAMES: usize = 5;

/// The status as lines of a subject and what there is to say about it.
#[must_use]
pub fn status(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    vec![
        ("daemon", daemon(facts)),
        ("maps", maps(facts)),
        ("sieve", sieve(facts)),
        ("tc", links(facts, |_| true)),
        ("xdp", links(facts, |link| link.flags & LINK_XDP != 0)),
        ("sockets", sockets(facts)),
        ("services", served(facts)),
        ("frontends", facts.index.frontends.len().to_string()),
        ("backends", answering(facts)),
        ("flows", facts.flows.to_string()),
        ("drops", dropped(facts)),
        ("problems", problems(facts)),
    ]
}

fn daemon(facts: &Facts<'_>) -> String {
    let state = facts.index.state;
    let version = state.map_or("unknown", |state| &state.version);
    match (facts.daemon, facts.state_age) {
        (Some(pid), _) if facts.tables.config.flags & CONFIG_STANDBY != 0 => format!(
            "running, process {pid}, version {version}; it stands by: what begins is kube-proxy's until `lb takeover`"
        ),
        (Some(pid), _) => format!("running, process {pid}, version {version}"),
        (None, Some(written)) => format!(
            "not running: the maps stay as they are; last state {} ago",
            age(written)
        ),
        (None, None) => "not running: the maps stay as they are".to_owned(),
    }
}

fn maps(facts: &Facts<'_>) -> String {
    let mut fills = vec![
        (
            "services",
            facts.tables.services.len(),
            facts.capacities.services,
        ),
        ("slots", last(&facts.tables.slots), facts.capacities.slots),
    ];
    fills.extend(family(&facts.tables.v4, &facts.capacities.v4));
    fills.extend(family(&facts.tables.v6, &facts.capacities.v6));
    let share = |used: usize, of: u32| used as u64 * 1_000_000 / u64::from(of.max(1));
    let fullest = fills
        .into_iter()
        .max_by_key(|(_, used, capacity)| share(*used, *capacity));
    let fill = fullest.map_or_else(String::new, |(name, used, capacity)| {
        format!("; the fullest is {name} with {used} of {capacity}")
    });
    format!(
        "{}, layout {}{fill}",
        facts.pin_dir, facts.tables.config.layout_version
    )
}

fn family<A: PerFamily>(
    tables: &FamilyTables<A>,
    capacities: &FamilyCapacities,
) -> [(&'static str, usize, u32); 5] {
    [
        (
            A::MAPS.frontends,
            tables.frontends.len(),
            capacities.frontends,
        ),
        (A::MAPS.info, last(&tables.info), capacities.info),
        (
            A::MAPS.backends,
            last(&tables.backends),
            capacities.backends,
        ),
        (A::MAPS.ranges, tables.ranges.len(), capacities.ranges),
        (A::MAPS.nodes, tables.nodes.len(), capacities.nodes),
    ]
}

fn sieve(facts: &Facts<'_>) -> String {
    let of_family = facts.sieves.map(|(family, sifting)| {
        if sifting.is_in_force {
            format!("{family} in force with {} marks", sifting.marks)
        } else {
            format!("{family} not in force yet, so every packet is looked up")
        }
    });
    of_family.join("; ")
}

/// What an array is full to.
fn last<V>(array: &BTreeMap<u32, V>) -> usize {
    array
        .last_key_value()
        .map_or(0, |(index, _)| *index as usize + 1)
}

fn links(facts: &Facts<'_>, is_meant: impl Fn(&Link) -> bool) -> String {
    let of = |role: u32| -> Vec<&str> {
        let links = facts.links.iter();
        let links = links.filter(|(_, link)| link.flags & role != 0 && is_meant(link));
        links.map(|(name, _)| name.as_str()).collect()
    };
    let roles = [("uplinks", of(LINK_UPLINK)), ("pod links", of(LINK_POD))];
    let roles = roles.iter().filter(|(_, names)| !names.is_empty());
    let roles: Vec<_> = roles
        .map(|(role, names)| format!("{role} {}", few(names)))
        .collect();
    if roles.is_empty() {
        "not attached".to_owned()
    } else {
        roles.join("; ")
    }
}

/// The first of many names, and how many more there are.
fn few(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn sockets(facts: &Facts<'_>) -> String {
    if facts.sockets {
        "attached"
    } else {
        "not attached"
    }
    .to_owned()
}

fn served(facts: &Facts<'_>) -> String {
    let services = services(facts.index);
    let empty = services
        .iter()
        .filter(|service| service.backends == Some(0))
        .count();
    let unmapped = services
        .iter()
        .filter(|service| service.backends.is_none())
        .count();
    with(
        services.len() - unmapped,
        &[
            (empty, "without backends"),
            (unmapped, "more left to others"),
        ],
    )
}

fn answering(facts: &Facts<'_>) -> String {
    let backends = super::backends(facts.index);
    let draining = backends
        .iter()
        .filter(|backend| backend.status == super::backends::Status::Draining)
        .count();
    with(backends.len(), &[(draining, "draining")])
}

/// A number, and in parentheses what of it or beside it is worth a word.
fn with(number: usize, parts: &[(usize, &str)]) -> String {
    let parts: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count != 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if parts.is_empty() {
        number.to_string()
    } else {
        format!("{number} ({})", parts.join(", "))
    }
}

fn dropped(facts: &Facts<'_>) -> String {
    let drops = drops(&facts.counters, false);
    let parts: Vec<_> = drops
        .iter()
        .take(NAMES)
        .map(|drop| format!("{} {} at {}", drop.packets, drop.reason, drop.hook))
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

fn problems(facts: &Facts<'_>) -> String {
    match facts.index.state.map(|state| state.problems.len()) {
        None => "not known: there is no state file".to_owned(),
        Some(0) => "none".to_owned(),
        Some(count) => format!("{count}: see `lb get problems -A`"),
    }
}
