//! Which tables would the node have if these were all its manifests? For questions and comparisons
//! without the daemon.

use std::net::IpAddr;

use lb_common::addr::Family;

use crate::daemon::node::{LinkAddresses, node, primary, primary_of};
use crate::input::{NodeObject, Update};
use crate::model::Change;
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

/// Plans all that the input said. The node has the addresses that `live` tables have; without them
/// those that the settings and its Node object give it.
#[must_use]
pub fn planned(settings: &Settings, update: Update, live: Option<&Tables>) -> Planned {
    let object = &update.node;
    let links = match live {
        Some(tables) => addresses_in(tables),
        None => addresses_given(settings, object),
    };
    let primary = primary(settings, object, &links);
    let base = ConfigBase {
        node4: primary_of(&primary),
        node6: primary_of(&primary),
        ..ConfigBase::default()
    };
    let node = node(settings, object, &update.service_cidrs, &links);
    let mut changes = update.changes;
    changes.insert(0, Change::Node(node));
    let mut planner = Planner::adopt(base, Capacities::default(), Tables::default(), 0);
    planner.complete(CompleteList(changes), 0);
    let mut problems = update.problems;
    problems.extend(planner.problems());
    let details = Details::of(planner.world());
    Planned {
        tables: planner.tables().clone(),
        state: State {
            format: FORMAT,
            node: settings.node_name(),
            problems,
            unmapped: update.unmapped,
            services: details.services().collect(),
            targets: details.targets().collect(),
            allocations: update.allocations,
            ..State::default()
        },
    }
}

/// What settings and the Node object say, no link being asked.
fn addresses_given(settings: &Settings, object: &NodeObject) -> LinkAddresses {
    let given = settings.node_address.iter().chain(&object.addresses);
    let primary: Vec<IpAddr> = given.copied().collect();
    LinkAddresses {
        all: primary.iter().copied().collect(),
        primary,
    }
}

/// What the daemon found.
fn addresses_in(tables: &Tables) -> LinkAddresses {
    let v4 = tables.v4.nodes.iter().map(|address| address.to_ip());
    let v6 = tables.v6.nodes.iter().map(|address| address.to_ip());
    let primary = [tables.config.node4.to_ip(), tables.config.node6.to_ip()];
    LinkAddresses {
        all: v4.chain(v6).collect(),
        primary: primary
            .into_iter()
            .filter(|address| !address.is_unspecified())
            .collect(),
    }
}
