//! When is the kernel compared with what must be there, and how is what was found called?

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tracing::warn;

use super::Daemon;
use super::links::Links;
use crate::bpf::give_freed_back;
use crate::loader::Drift;

/// When audits are due.
#[derive(Debug)]
pub(super) struct Audits(Duration, Option<Interval>);

impl Audits {
    /// The first one is due after one interval; none are where it is zero.
    pub(super) fn every(period: Duration) -> Self {
        let interval = (!period.is_zero()).then(|| {
            let mut interval = interval_at((Instant::now() + period).into(), period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self(period, interval)
    }

    /// They are due so often from now on.
    pub(super) fn follow(&mut self, period: Duration) {
        if self.0 != period {
            *self = Self::every(period);
        }
    }

    /// Waits until one is due.
    pub(super) async fn tick(&mut self) {
        match &mut self.1 {
            Some(interval) => drop(interval.tick().await),
            None => pending().await,
        }
    }
}

impl Daemon {
    /// Compares the kernel with what must be there, and mends it.
    pub(super) fn audit(&mut self, links: &Links) {
        if !self.complete {
            return;
        }
        let (now, started) = (self.now(), Instant::now());
        let maps = self.reconciler.audit(now).into_iter();
        let mut found: Vec<_> = maps.map(of_map).collect();
        let attached = self.datapath.audit();
        if !attached.is_empty() {
            self.attach(links);
        }
        found.extend(attached);
        self.served.audited(started.elapsed());
        self.drifted(&found);
        // All maps were read into memory.
        drop(spawn_blocking(give_freed_back));
    }

    /// Tells what was found not to be as it must, by an audit or as it happened, and is mended.
    pub(super) fn drifted(&mut self, found: &[Drift]) {
        if found.is_empty() {
            return;
        }
        self.served.drifted(found);
        for Drift { kind, name } in found {
            warn!(kind, name, "drift mended");
        }
        let found = found
            .iter()
            .map(|drift| format!("{} {}", drift.kind, drift.name));
        self.reporter.audited(found.collect());
    }
}

/// So many elements of a map were not as they must be.
fn of_map((map, elements): (&'static str, usize)) -> Drift {
    Drift {
        kind: "map",
        name: format!("{map} ({elements} elements)"),
    }
}
