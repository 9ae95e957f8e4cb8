//! Which backends stopped serving? Flows toward them must not wait for a time-out.
//!
//! As under kube-proxy, policies, hints and draining take new flows away from an endpoint, but not
//! those it has: it serves as long as the tables have it.

use std::collections::BTreeSet;

use lb_common::addr::{Family, Ip4, Ip6};

use crate::tables::{FamilyTables, Tables};

/// Who stopped serving, until nothing can begin with them any more.
///
/// A packet that was decided upon just before enters its flow just after whoever ended such flows
/// has looked for it. Therefore everybody is named twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopping {
    /// Nobody has asked for these.
    new: Stopped,
    /// Named once, after the last beat.
    since_beat: Stopped,
    /// Named once, before it.
    before_beat: Stopped,
}

impl Stopping {
    /// Follows what became of one Service.
    pub(super) fn note(&mut self, before: &Tables, after: &Tables) {
        self.new.note(before, after);
        for named in [&mut self.since_beat, &mut self.before_beat] {
            named.forget(after);
        }
    }

    /// Who stopped since this was asked the last time.
    pub(super) fn take(&mut self) -> Stopped {
        let new = std::mem::take(&mut self.new);
        self.since_beat.v4.extend(&new.v4);
        self.since_beat.v6.extend(&new.v6);
        new
    }

    /// A beat: who was named before the last one, and has not served since.
    pub(super) fn beat(&mut self) -> Stopped {
        let since = std::mem::take(&mut self.since_beat);
        std::mem::replace(&mut self.before_beat, since)
    }
}

/// Backends that served before a change and do not now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Those of IPv4.
    pub v4: Destinations<Ip4>,
    /// Those of IPv6.
    pub v6: Destinations<Ip6>,
}

/// Backends as flows know them: id of the service port, address, port.
pub type Destinations<A> = BTreeSet<(u32, A, u16)>;

impl Stopped {
    /// Adds what `after` no longer has of `before`; both belong to one Service.
    fn note(&mut self, before: &Tables, after: &Tables) {
        self.forget(after);
        let [old, new] = [before, after].map(|tables| destinations(&tables.v4));
        self.v4.extend(old.difference(&new));
        let [old, new] = [before, after].map(|tables| destinations(&tables.v6));
        self.v6.extend(old.difference(&new));
    }

    /// Takes out who serves.
    fn forget(&mut self, serving: &Tables) {
        forget(&mut self.v4, &serving.v4);
        forget(&mut self.v6, &serving.v6);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn forget<A: Family>(stopped: &mut Destinations<A>, serving: &FamilyTables<A>) {
    if stopped.is_empty() {
        return;
    }
    for destination in destinations(serving) {
        stopped.remove(&destination);
    }
}

fn destinations<A: Family>(tables: &FamilyTables<A>) -> Destinations<A> {
    tables
        .backends
        .values()
        .map(|backend| (backend.service_port, backend.address, backend.port))
        .collect()
}

#[cfg(test)]
mod tests {
    use lb_common::layout::{BACKEND_IN_CLUSTER, BACKEND_TERMINATING, Backend};

    use super::*;

    fn tables(backends: &[(u8, u8)]) -> Tables {
        let mut tables = Tables::default();
        for (last_octet, flags) in backends {
            let backend = Backend {
                address: Ip4::new(10, 42, 0, *last_octet),
                port: 8_080,
                flags: *flags,
                service_port: 1,
                ..Backend::default()
            };
            tables.v4.backends.insert(u32::from(*last_octet), backend);
        }
        tables
    }

    #[test]
    fn a_backend_stops_when_it_goes_and_counts_no_more_when_it_is_back() {
        let mut stopped = Stopped::default();
        let both = tables(&[(1, BACKEND_IN_CLUSTER), (2, BACKEND_IN_CLUSTER)]);
        let one = tables(&[(1, BACKEND_IN_CLUSTER)]);
        stopped.note(&both, &one);
        assert_eq!(stopped.v4, [(1, Ip4::new(10, 42, 0, 2), 8_080)].into());
        stopped.note(&one, &both);
        assert_eq!(stopped, Stopped::default());
    }

    #[test]
    fn who_stopped_is_named_again_after_a_whole_beat_and_then_no_more() {
        let [both, one] = [&[(1, 0), (2, 0)][..], &[(1, 0)]].map(tables);
        let gone = [(1, Ip4::new(10, 42, 0, 2), 8_080)].into();
        let mut stopping = Stopping::default();
        stopping.note(&both, &one);
        assert_eq!(stopping.take().v4, gone);
        assert!(stopping.beat().is_empty(), "it may have come just after");
        assert_eq!(stopping.beat().v4, gone);
        assert!(stopping.beat().is_empty() && stopping.take().is_empty());
    }

    #[test]
    fn who_serves_again_is_not_named_again() {
        let [both, one] = [&[(1, 0), (2, 0)][..], &[(1, 0)]].map(tables);
        for beats in 0..2 {
            let mut stopping = Stopping::default();
            stopping.note(&both, &one);
            assert!(!stopping.take().is_empty());
            assert!((0..beats).all(|_| stopping.beat().is_empty()));
            stopping.note(&one, &both);
            assert!((0..3).all(|_| stopping.beat().is_empty()), "{beats}");
            assert!(stopping.take().is_empty());
        }
    }

    #[test]
    fn a_draining_backend_keeps_its_flows() {
        let mut stopped = Stopped::default();
        let serving = tables(&[(1, BACKEND_IN_CLUSTER)]);
        stopped.note(&serving, &tables(&[(1, BACKEND_TERMINATING)]));
        assert_eq!(stopped, Stopped::default());
    }
}
