//! Is this node's load balancer well? Asked over HTTP by kubelet, cloud load balancers and the
//! cluster autoscaler, and answered as kube-proxy answers (Kubernetes 1.36, `pkg/proxy/healthcheck`).

mod node;
mod ports;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use node::NodeAnswers;
pub use ports::Ports;

/// Changes that wait longer than this to be written, or a daemon that did nothing for so long, make
/// the node unhealthy: twice kube-proxy's default sync period, as there.
pub const STALE_AFTER: Duration = Duration::from_mins(1);

/// How the daemon does: it says so, and whoever is asked looks.
#[derive(Clone, Debug)]
pub struct Health {
    known: Arc<Mutex<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    /// When the daemon was last seen at work.
    alive: Instant,
    /// Since when changes wait to be written.
    behind_since: Option<Instant>,
    /// When everything was written last; none before the first complete list was.
    synced: Option<Timestamp>,
    leaving: bool,
}

/// How it is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Changes are written in time.
    pub is_healthy: bool,
    /// Everything that was there at the start is served.
    pub is_ready: bool,
    /// The node is going to be deleted.
    pub leaving: bool,
    /// When everything was written last.
    pub synced: Option<Timestamp>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            known: Arc::new(Mutex::new(Known {
                alive: Instant::now(),
                behind_since: None,
                synced: None,
                leaving: false,
            })),
        }
    }
}

impl Health {
    /// The daemon is at work: `is_ready` once all that was there at the start is served,
    /// `is_behind` while changes wait to be written, `leaving` while the node is to be deleted.
    pub fn beat(&self, is_ready: bool, is_behind: bool, leaving: bool) {
        let now = Instant::now();
        let mut known = self.lock();
        known.alive = now;
        known.leaving = leaving;
        if is_behind {
            known.behind_since.get_or_insert(now);
        } else {
            known.behind_since = None;
            if is_ready {
                known.synced = Some(Timestamp::now());
            }
        }
    }

    /// How it is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.lock().at(Instant::now())
    }

    /// As if changes had waited for so long.
    #[cfg(test)]
    fn wait(&self, waited: Duration) {
        self.beat(true, true, false);
        self.lock().behind_since = Instant::now().checked_sub(waited);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn at(&self, now: Instant) -> Snapshot {
        let is_late = |since: Instant| now.saturating_duration_since(since) >= STALE_AFTER;
        Snapshot {
            is_healthy: !is_late(self.alive) && !self.behind_since.is_some_and(is_late),
            is_ready: self.synced.is_some(),
            leaving: self.leaving,
            synced: self.synced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_ends_when_changes_wait_too_long_or_nobody_is_at_work() {
        let start = Instant::now();
        let well = Known {
            alive: start,
            behind_since: None,
            synced: None,
            leaving: false,
        };
        let later = |seconds| start + Duration::from_secs(seconds);
        assert!(well.at(later(59)).is_healthy, "healthy while it starts");
        assert!(!well.at(later(60)).is_healthy, "stuck");
        let behind = |since| Known {
            alive: later(100),
            behind_since: Some(later(since)),
            ..well.clone()
        };
        assert!(behind(41).at(later(100)).is_healthy, "not late yet");
        assert!(!behind(40).at(later(100)).is_healthy, "late");
    }

    #[test]
    fn it_is_ready_once_everything_was_written_and_stays_so() {
        let health = Health::default();
        assert!(!health.snapshot().is_ready);
        health.beat(true, true, false);
        assert!(!health.snapshot().is_ready, "not written yet");
        health.beat(true, false, true);
        let snapshot = health.snapshot();
        assert!(snapshot.is_ready && snapshot.leaving && snapshot.is_healthy);
    }
}
