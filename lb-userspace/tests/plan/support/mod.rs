//! What do all tests of the plan need? A small cluster to build on, questions to ask the tables,
//! and the tables as text without numbers.

pub(crate) mod ask;
pub(crate) mod build;
pub(crate) mod manifests;
pub(crate) mod oracle;
pub(crate) mod text;

use lb_userspace::model::Change;
use lb_userspace::plan::{CompleteList, ConfigBase, Planner};
use lb_userspace::tables::{Capacities, Tables};

/// A clock's time at which nothing waits any more.
pub(crate) const LATER: u64 = 1_000_000_000;

/// What the daemon says by itself.
pub(crate) fn base() -> ConfigBase {
    ConfigBase {
        hash_key: 0x5eed,
        snat_ports: [1_024, 29_999],
        hz: 250,
        ..ConfigBase::default()
    }
}

/// A planner that has seen this and nothing before.
pub(crate) fn plan(changes: Vec<Change>) -> Planner {
    let mut planner = Planner::adopt(base(), Capacities::default(), Tables::default(), 0);
    let delta = planner.complete(CompleteList(changes), 0);
    assert!(delta.parts.iter().all(|part| part.retire.is_empty()));
    planner
}
