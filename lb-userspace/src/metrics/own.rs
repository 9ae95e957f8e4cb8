//! What do we count that kube-proxy does not have?

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lb_common::addr::{Ip4, Ip6};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::{Labels, Standing};
use crate::loader::Drift;
use crate::model::Problem;
use crate::tables::{Capacities, PerFamily, Tables};

/// Kinds of drift: alerts shall find them all from the start.
const DRIFT: [&str; 5] = ["map", "link", "filter", "order", "pin"];

/// Our metrics, without the prefix that the registry gives them.
#[derive(Debug, Default)]
pub(super) struct Own {
    ready: Gauge,
    services: Gauge,
    elements: Family<Labels<1>, Gauge>,
    room: Family<Labels<1>, Gauge>,
    problems: Family<Labels<1>, Gauge>,
    writes: Family<Labels<1>, Counter>,
    drift: Family<Labels<1>, Counter>,
    audits: Counter,
    audit_seconds: Gauge<f64, AtomicU64>,
    /// How many writes are counted already: done, failed.
    counted: [AtomicU64; 2],
}

impl Own {
    pub(super) fn register(&self, registry: &mut Registry) {
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "Which version this is", Info::new(version));
        registry.register(
            "ready",
            "1 once everything that was there at the start is served",
            self.ready.clone(),
        );
        registry.register(
            "services",
            "Services that are known, with a virtual address or without",
            self.services.clone(),
        );
        registry.register(
            "map_elements",
            "Elements of maps that the daemon writes",
            self.elements.clone(),
        );
        registry.register(
            "map_max_elements",
            "Elements that maps have room for",
            self.room.clone(),
        );
        registry.register(
            "problems",
            "What is not served as it was written, by kind of object",
            self.problems.clone(),
        );
        registry.register("map_writes", "Writes to maps", self.writes.clone());
        registry.register(
            "drift",
            "What somebody else had changed in the kernel, and was mended, by kind",
            self.drift.clone(),
        );
        for kind in DRIFT {
            drop(self.drift.get_or_create(&[("kind", kind.to_owned())]));
        }
        registry.register(
            "audits",
            "How often the kernel was compared with what must be there",
            self.audits.clone(),
        );
        registry.register(
            "audit_duration_seconds",
            "How long the last comparison took",
            self.audit_seconds.clone(),
        );
    }

    pub(super) fn audited(&self, took: Duration) {
        self.audits.inc();
        self.audit_seconds.set(took.as_secs_f64());
    }

    pub(super) fn drifted(&self, found: &[Drift]) {
        for drift in found {
            let labels = [("kind", drift.kind.to_owned())];
            self.drift.get_or_create(&labels).inc();
        }
    }

    pub(super) fn stands(&self, standing: &Standing<'_>) {
        self.ready.set(i64::from(standing.is_ready));
        set(&self.services, standing.services);
        for (map, elements) in elements(standing.tables) {
            set(&self.elements.get_or_create(&of_map(map)), elements);
        }
        let results = ["done", "failed"];
        for ((result, now), counted) in results.iter().zip(standing.writes).zip(&self.counted) {
            let before = counted.swap(now, Ordering::Relaxed);
            let labels = [("result", (*result).to_owned())];
            let writes = self.writes.get_or_create(&labels);
            writes.inc_by(now.saturating_sub(before));
        }
    }

    pub(super) fn has_room(&self, capacities: &Capacities) {
        for (map, room) in room(capacities) {
            self.room.get_or_create(&of_map(map)).set(room.into());
        }
    }

    pub(super) fn has_problems(&self, problems: &[Problem]) {
        let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
        for problem in problems {
            *by_kind.entry(&problem.object.kind).or_default() += 1;
        }
        // Kinds without a problem any more go; the ones that alerts ask for stay.
        self.problems.clear();
        for kind in ["Service", "Node", "Link"] {
            by_kind.entry(kind).or_default();
        }
        for (kind, count) in by_kind {
            let labels = [("kind", kind.to_owned())];
            set(&self.problems.get_or_create(&labels), count);
        }
    }
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

pub(super) fn of_map(map: &str) -> Labels<1> {
    [("map", map.to_owned())]
}

/// How many elements each map of the tables has.
fn elements(tables: &Tables) -> Vec<(&'static str, usize)> {
    let mut elements = vec![
        ("services", tables.services.len()),
        ("slots", tables.slots.len()),
    ];
    elements.extend(elements_of::<Ip4>(tables));
    elements.extend(elements_of::<Ip6>(tables));
    elements
}

fn elements_of<A: PerFamily>(tables: &Tables) -> [(&'static str, usize); 5] {
    let rows = A::of(tables);
    [
        (A::MAPS.frontends, rows.frontends.len()),
        (A::MAPS.info, rows.info.len()),
        (A::MAPS.backends, rows.backends.len()),
        (A::MAPS.ranges, rows.ranges.len()),
        (A::MAPS.nodes, rows.nodes.len()),
    ]
}

fn room(capacities: &Capacities) -> Vec<(&'static str, u32)> {
    let mut room = vec![
        ("services", capacities.services),
        ("slots", capacities.slots),
    ];
    room.extend(room_of::<Ip4>(capacities));
    room.extend(room_of::<Ip6>(capacities));
    room
}

fn room_of<A: PerFamily>(capacities: &Capacities) -> [(&'static str, u32); 5] {
    let room = capacities.of::<A>();
    [
        (A::MAPS.frontends, room.frontends),
        (A::MAPS.info, room.info),
        (A::MAPS.backends, room.backends),
        (A::MAPS.ranges, room.ranges),
        (A::MAPS.nodes, room.nodes),
    ]
}
