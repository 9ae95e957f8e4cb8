//! How much traffic does each port of a Service have? Summed up from what each flow counts, walk by
//! walk: the datapath has no counters of Services, which all CPUs would contend for.

use std::collections::{BTreeMap, HashMap};

/// One direction of a flow, as a walk finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Tells it from every other, also from a later one with the same addresses.
    pub(super) identity: u64,
    /// Id of the service port.
    pub(super) service_port: u32,
    /// It goes from the client to the backend.
    pub(super) is_forward: bool,
    /// Packets so far.
    pub(super) packets: u64,
    /// Bytes so far.
    pub(super) bytes: u64,
}

/// What a service port has had since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Connections that began.
    pub(super) connections: u64,
    /// Those that the flow table has now.
    pub(super) open: u64,
    /// From clients to backends, and back.
    pub(super) packets: [u64; 2],
    /// As packets, from the IP header on.
    pub(super) bytes: [u64; 2],
}

/// Sums up walk after walk. What a flow counts after the last walk that sees it is lost; as ended flows
/// stay for a while, that is nothing where walks are more frequent than they are forgotten.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// What each flow had at the last walk: packets, bytes.
    before: HashMap<u64, (u64, u64)>,
    /// By service port.
    by_port: BTreeMap<u32, Traffic>,
    /// Whether there was a walk: what flows had before the first one is not ours to count.
    is_primed: bool,
}

impl Sums {
    /// Takes a whole walk in; `is_known` says which service ports there still are.
    pub(super) fn walk(
        &mut self,
        flows: impl Iterator<Item = Seen>,
        is_known: impl Fn(u32) -> bool,
    ) -> &BTreeMap<u32, Traffic> {
        for traffic in self.by_port.values_mut() {
            traffic.open = 0;
        }
        let mut now = HashMap::with_capacity(self.before.len());
        for flow in flows {
            let traffic = self.by_port.entry(flow.service_port).or_default();
            let before = self.before.get(&flow.identity).copied();
            let is_new = before.is_none() && self.is_primed;
            let before = before.unwrap_or(if self.is_primed {
                (0, 0)
            } else {
                (flow.packets, flow.bytes)
            });
            let direction = usize::from(!flow.is_forward);
            traffic.packets[direction] += flow.packets.saturating_sub(before.0);
            traffic.bytes[direction] += flow.bytes.saturating_sub(before.1);
            if flow.is_forward {
                traffic.open += 1;
                traffic.connections += u64::from(is_new);
            }
            now.insert(flow.identity, (flow.packets, flow.bytes));
        }
        self.before = now;
        self.is_primed = true;
        self.by_port
            .retain(|service_port, _| is_known(*service_port));
        &self.by_port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(identity: u64, is_forward: bool, packets: u64) -> Seen {
        Seen {
            identity,
            service_port: 7,
            is_forward,
            packets,
            bytes: packets * 100,
        }
    }

    #[test]
    fn what_flows_count_between_walks_is_summed_up_and_stays_when_they_are_gone() {
        let mut sums = Sums::default();
        let mut walk = |flows: &[Seen]| sums.walk(flows.iter().copied(), |_| true)[&7];
        let first = walk(&[seen(1, true, 50), seen(2, false, 40)]);
        let nothing_yet = Traffic {
            open: 1,
            ..Traffic::default()
        };
        assert_eq!(first, nothing_yet, "they began before us");
        let second = walk(&[seen(1, true, 60), seen(2, false, 40), seen(3, true, 5)]);
        let expected = Traffic {
            connections: 1,
            open: 2,
            packets: [15, 0],
            bytes: [1_500, 0],
        };
        assert_eq!(second, expected);
        let third = walk(&[seen(2, false, 41)]);
        let expected = Traffic {
            open: 0,
            packets: [15, 1],
            bytes: [1_500, 100],
            ..expected
        };
        assert_eq!(third, expected);
    }

    #[test]
    fn a_service_that_is_gone_is_forgotten() {
        let mut sums = Sums::default();
        sums.walk([seen(1, true, 1)].into_iter(), |_| true);
        assert!(sums.walk([].into_iter(), |_| false).is_empty());
    }
}
