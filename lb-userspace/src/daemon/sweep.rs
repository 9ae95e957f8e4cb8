//! Which flows are over, and when do they go?
//!
//! Both directions of a flow are judged together: it is over when neither was seen for as long as
//! its state allows. The time-outs are nf_conntrack's.

use std::collections::BTreeSet;

use lb_common::decide::{TCP, UDP};
use lb_common::flow::{mirror, mirror_key};
use lb_common::layout::{FLOW_HAIRPIN, FLOW_RENUMBERED, FLOW_REPLY, FLOW_SNAT, Flow, FlowKey};
use lb_common::tcp;

use crate::bpf::Cursor;
use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::{KernelFamily, KernelTables};
use crate::loader::Clock;
use crate::plan::Destinations;

/// Entries looked at in one go, so that a large table costs no more at once than a small one.
const BATCH: usize = 4_096;

/// Seconds without a packet after which a flow is over (nf_conntrack's defaults).
mod timeout {
    /// TCP, established.
    pub(super) const ESTABLISHED: u32 = 432_000;
    /// TCP, before the client's first ACK.
    pub(super) const OPENING: u32 = 120;
    /// TCP, after a reset.
    pub(super) const RESET: u32 = 10;
    /// TCP, after a FIN; as long as the peers may repeat their last packets.
    pub(super) const ENDING: u32 = 120;
    /// UDP, seen in one direction.
    pub(super) const UDP_UNREPLIED: u32 = 30;
    /// UDP, seen in both.
    pub(super) const UDP_ASSURED: u32 = 120;
    /// Anything else.
    pub(super) const OTHER: u32 = 600;
}

/// Walks one family's flows and reservations, a batch at a time, round and round.
#[derive(Debug)]
pub(super) struct Sweep<A> {
    flows: Cursor,
    reservations: Cursor,
    /// Reservations that had no flow when last seen. A flow is entered just after its reservation,
    /// so only the second time counts.
    orphans: BTreeSet<FlowKey<A>>,
}

impl<A: KernelFamily> Default for Sweep<A> {
    fn default() -> Self {
        Self {
            flows: Cursor::default(),
            reservations: Cursor::default(),
            orphans: BTreeSet::new(),
        }
    }
}

impl<A: KernelFamily> Sweep<A> {
    /// Looks at the next batch and deletes what is over.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub(super) fn step(
        &mut self,
        tables: &KernelTables,
        clock: &Clock,
    ) -> Result<(), DataplaneError> {
        let maps = A::maps(tables);
        let now = clock.now();
        for (key, flow) in maps.flows_from(around(&mut self.flows), BATCH)? {
            let other = maps.flow(&mirror_key(&key, &flow))?;
            if is_over(&key, &flow, other.as_ref(), now, clock.hz) {
                remove::<A>(tables, &key, &flow)?;
            }
        }
        let mut orphans = BTreeSet::new();
        for (reply, _) in maps.reservations_from(around(&mut self.reservations), BATCH)? {
            if maps.flow(&reply)?.is_some() {
                continue;
            }
            if self.orphans.contains(&reply) {
                maps.delete_reservation(&reply)?;
            } else {
                orphans.insert(reply);
            }
        }
        self.orphans = orphans;
        Ok(())
    }
}

/// Deletes both directions of the flows toward backends that stopped serving, of UDP always and of
/// TCP where the connection is not yet open: their clients shall move on at once.
///
/// # Errors
/// See [`DataplaneError`].
pub(super) fn end_stale<A: KernelFamily>(
    tables: &KernelTables,
    stopped: &Destinations<A>,
) -> Result<(), DataplaneError> {
    if stopped.is_empty() {
        return Ok(());
    }
    let maps = A::maps(tables);
    let mut cursor = Cursor::default();
    while !cursor.ended {
        for (key, flow) in maps.flows_from(&mut cursor, BATCH)? {
            let moves = key.protocol == UDP || flow.state & tcp::ACK == 0;
            if flow.flags & FLOW_REPLY == 0
                && moves
                && stopped.contains(&(flow.service_port, flow.destination, flow.destination_port))
            {
                remove::<A>(tables, &key, &flow)?;
            }
        }
    }
    Ok(())
}

/// The cursor, at the start again once it came to the end.
fn around(cursor: &mut Cursor) -> &mut Cursor {
    if cursor.ended {
        *cursor = Cursor::default();
    }
    cursor
}

/// Deletes both directions and gives the port back.
fn remove<A: KernelFamily>(
    tables: &KernelTables,
    key: &FlowKey<A>,
    flow: &Flow<A>,
) -> Result<(), DataplaneError> {
    let maps = A::maps(tables);
    let other_key = mirror_key(key, flow);
    maps.delete_flow(key)?;
    maps.delete_flow(&other_key)?;
    if flow.flags & (FLOW_SNAT | FLOW_HAIRPIN | FLOW_RENUMBERED) != 0 {
        let reply = if flow.flags & FLOW_REPLY != 0 {
            key
        } else {
            &other_key
        };
        maps.delete_reservation(reply)?;
    }
    Ok(())
}

/// Whether the flow is over; `now` in jiffies, `hz` of them in a second.
fn is_over<A: KernelFamily>(
    key: &FlowKey<A>,
    flow: &Flow<A>,
    other: Option<&Flow<A>>,
    now: u32,
    hz: u32,
) -> bool {
    let nothing = mirror(key, flow);
    let other = other.unwrap_or(&nothing);
    // A direction seen after `now` was read counts as seen now.
    let quiet = |flow: &Flow<A>| match now.wrapping_sub(flow.last_seen) {
        later if later > u32::MAX / 2 => 0,
        age => age,
    };
    let age = quiet(flow).min(quiet(other));
    age / hz.max(1) >= timeout_of(key.protocol, flow, other)
}

fn timeout_of<A>(protocol: u8, one: &Flow<A>, other: &Flow<A>) -> u32 {
    let (forward, reply) = if one.flags & FLOW_REPLY == 0 {
        (one, other)
    } else {
        (other, one)
    };
    match protocol {
        TCP if (forward.state | reply.state) & tcp::RST != 0 => timeout::RESET,
        TCP if (forward.state | reply.state) & tcp::FIN != 0 => timeout::ENDING,
        TCP if forward.state & tcp::ACK == 0 => timeout::OPENING,
        TCP => timeout::ESTABLISHED,
        UDP if forward.state != 0 && reply.state != 0 => timeout::UDP_ASSURED,
        UDP => timeout::UDP_UNREPLIED,
        _ => timeout::OTHER,
    }
}

#[cfg(test)]
mod tests {
    use lb_common::addr::Ip4;

    use super::*;

    fn over_after(protocol: u8, forward: u8, reply: u8) -> u32 {
        let one = Flow::<Ip4> {
            state: forward,
            ..Flow::default()
        };
        let other = Flow {
            state: reply,
            flags: FLOW_REPLY,
            ..Flow::default()
        };
        assert_eq!(
            timeout_of(protocol, &one, &other),
            timeout_of(protocol, &other, &one)
        );
        timeout_of(protocol, &one, &other)
    }

    #[test]
    fn the_state_of_both_directions_says_how_long_a_flow_lives() {
        const SEEN: u8 = tcp::SEEN;
        for (protocol, forward, reply, seconds) in [
            (TCP, SEEN | tcp::SYN, 0, timeout::OPENING),
            (
                TCP,
                SEEN | tcp::SYN,
                SEEN | tcp::SYN | tcp::ACK,
                timeout::OPENING,
            ),
            (
                TCP,
                SEEN | tcp::SYN | tcp::ACK,
                SEEN | tcp::ACK,
                timeout::ESTABLISHED,
            ),
            (
                TCP,
                SEEN | tcp::ACK | tcp::FIN,
                SEEN | tcp::ACK,
                timeout::ENDING,
            ),
            (
                TCP,
                SEEN | tcp::ACK | tcp::FIN,
                SEEN | tcp::FIN,
                timeout::ENDING,
            ),
            (TCP, SEEN | tcp::ACK, SEEN | tcp::RST, timeout::RESET),
            (UDP, SEEN, 0, timeout::UDP_UNREPLIED),
            (UDP, SEEN, SEEN, timeout::UDP_ASSURED),
        ] {
            assert_eq!(
                over_after(protocol, forward, reply),
                seconds,
                "{forward:#x} {reply:#x}"
            );
        }
    }

    #[test]
    fn a_direction_seen_just_now_keeps_the_other_alive() {
        let key = FlowKey::<Ip4> {
            protocol: UDP,
            ..FlowKey::default()
        };
        let old = Flow {
            last_seen: u32::MAX - 50_000,
            state: tcp::SEEN,
            ..Flow::default()
        };
        let fresh = Flow {
            last_seen: 5,
            flags: FLOW_REPLY,
            ..old
        };
        assert!(is_over(&key, &old, None, 10, 250));
        assert!(!is_over(&key, &old, Some(&fresh), 10, 250));
        assert!(
            !is_over(&key, &fresh, Some(&old), 3, 250),
            "seen after now was read"
        );
    }
}
