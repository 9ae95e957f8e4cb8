//! Which tables would the node have if these were all its manifests? For questions and comparisons
//! without the daemon.

use std::collections::BTreeSet;

use crate::daemon::node::{LinkAddresses, node, primary, primary_of};
use crate::input::Update;
use crate::model::{Change, Node};
use crate::plan::{CompleteList, ConfigBase, Planner};
use crate::settings::Settings;
use crate::state::{Details, FORMAT, State};
use crate::tables::{Capacities, Tables};

/// Tables, and what the daemon would write beside them.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The tables; what only a running node has (hash key, clock) is zero.
    pub tables: Tables,
    /// Problems, names and conditions of endpoints, Services without a frontend.
    pub state: State,
}

/// Plans all that the input said. The node has the addresses that the settings and its Node object
/// give it; no link is asked.
#[must_use]
pub fn planned(settings: &Settings, update: Update) -> Planned {
    let object = &update.node;
    let known: Vec<_> = settings
        .node_address
        .iter()
        .chain(&object.addresses)
        .copied()
        .collect();
    let links = LinkAddresses {
        all: known.iter().copied().collect::<BTreeSet<_>>(),
        primary: known,
    };
    let primary = primary(settings, object, &links);
    let base = ConfigBase {
        node4: primary_of(&primary),
        node6: primary_of(&primary),
        ..ConfigBase::default()
    };
    let node: Node = node(settings, object, &update.service_cidrs, &links);
    let mut details = Details::default();
    for change in &update.changes {
        details.apply(change);
    }
    let mut changes = update.changes;
    changes.insert(0, Change::Node(node));
    let mut planner = Planner::adopt(base, Capacities::default(), Tables::default(), 0);
    planner.complete(CompleteList(changes), 0);
    let mut problems = update.problems;
    problems.extend(planner.problems());
    Planned {
        tables: planner.tables().clone(),
        state: State {
            format: FORMAT,
            node: settings.node_name(),
            problems,
            unmapped: update.unmapped,
            services: details.services(),
            targets: details.targets(),
            allocations: update.allocations,
            ..State::default()
        },
    }
}
