//! When is the kernel compared with what must be there, and how is what was found called?

use std::future::pending;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::bpf::give_freed_back;
use crate::loader::Drift;

/// When audits are due.
#[derive(Debug)]
pub(super) struct Audits(Duration, Option<Interval>);

impl Audits {
    /// The first one is due after one interval; none are where it is zero.
    pub(super) fn every(period: Duration) -> Self {
        let interval = (!period.is_zero()).then(|| {
            let mut interval = interval_at(Instant::now() + period, period);
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

/// So many elements of a map were not as they must be.
pub(super) fn of_map((map, elements): (&'static str, usize)) -> Drift {
    Drift {
        kind: "map",
        name: format!("{map} ({elements} elements)"),
    }
}

/// An audit is over: the memory into which all maps were read is given back.
pub(super) fn over() {
    drop(spawn_blocking(give_freed_back));
}
