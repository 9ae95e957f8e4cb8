//! Which flows are over, and when do they go?
//!
//! Both directions of a flow are judged together: it is over when neither was seen for as long as
//! its stage allows.

use std::collections::BTreeSet;

use lb_common::decide::UDP;
use lb_common::flow::{Stage, mirror, mirror_key, stage};
use lb_common::layout::{
    FLOW_DIRECT, FLOW_HAIRPIN, FLOW_RENUMBERED, FLOW_REPLY, FLOW_SNAT, Flow, FlowKey,
};
use lb_common::tcp;
use tracing::warn;

use crate::bpf::Cursor;
use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::{KernelFamily, KernelTables};
use crate::loader::Clock;
use crate::plan::{Destinations, Stopped};
use crate::settings::{Settings, TIMEOUTS};
use crate::tables::Tables;

/// Entries looked at in one go, so that a large table costs no more at once than a small one: a
/// full one of the usual size is walked in a minute.
const BATCH: usize = 4_096;

/// Steps between the begins of two walks from which a sieve learns that is in force: it may hold what it
/// need not hold any more, or have lost what it needs.
const REST: u32 = 60;

/// How long connections last without a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts<'s> {
    settings: &'s Settings,
    /// The shortest of all: whatever was seen later needs no look at its other direction.
    shortest: u32,
}

impl<'s> Timeouts<'s> {
    /// As the settings say.
    pub(super) fn new(settings: &'s Settings) -> Self {
        let stages = TIMEOUTS.iter().map(|kind| settings.timeout_of(kind.stage));
        Self {
            settings,
            shortest: stages.min().unwrap_or_default(),
        }
    }

    fn of(&self, stage: Stage) -> u32 {
        self.settings.timeout_of(stage)
    }
}

/// Walks one family's flows and reservations, a batch at a time, round and round.
#[derive(Debug)]
pub(super) struct Sweep<A> {
    /// None before a walk over the flows begins.
    flows: Option<Cursor>,
    reservations: Cursor,
    /// Steps since the last walk began that the sieve learns from.
    rested: u32,
    /// Reservations that had no flow when last seen. A flow is entered just after its reservation,
    /// so only the second time counts.
    orphans: BTreeSet<FlowKey<A>>,
}

impl<A: KernelFamily> Default for Sweep<A> {
    fn default() -> Self {
        Self {
            flows: None,
            reservations: Cursor::default(),
            rested: 0,
            orphans: BTreeSet::new(),
        }
    }
}

impl<A: KernelFamily> Sweep<A> {
    /// Looks at the next batch and deletes what is over. `planned` is what the maps hold; none while
    /// they may hold something else.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub(super) fn step(
        &mut self,
        tables: &KernelTables,
        planned: Option<&Tables>,
        clock: &Clock,
        timeouts: Timeouts<'_>,
    ) -> Result<(), DataplaneError> {
        let maps = A::maps(tables);
        let cursor = self.walk(tables, planned)?;
        let watch = Watch {
            now: clock.now(),
            hz: clock.hz.max(1),
            timeouts,
        };
        let flows = maps.flows_from(cursor, BATCH)?;
        maps.walked_by(&flows);
        for (key, flow) in flows {
            if watch.seconds_quiet(&flow) < timeouts.shortest {
                continue;
            }
            let other = maps.flow(&mirror_key(&key, &flow))?;
            // A packet may have come since the batch was read.
            if watch.is_over(&key, &flow, other.as_ref()) && maps.flow(&key)? == Some(flow) {
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

    /// Where to go on with the flows. Walks are whole: the sieve is told where they begin and end.
    fn walk(
        &mut self,
        tables: &KernelTables,
        planned: Option<&Tables>,
    ) -> Result<&mut Cursor, DataplaneError> {
        let maps = A::maps(tables);
        self.rested = self.rested.saturating_add(1);
        if planned.is_none() {
            maps.give_walk_up();
        }
        if self.flows.as_ref().is_some_and(|flows| flows.ended) {
            maps.end_walk();
            self.flows = None;
        }
        if let (None, Some(planned)) = (&self.flows, planned)
            && (!maps.is_sieve_in_force() || self.rested >= REST)
        {
            self.rested = 0;
            maps.begin_walk(planned, &tables.links()?);
        }
        Ok(self.flows.get_or_insert_default())
    }
}

/// Deletes both directions of the flows toward backends that stopped serving, of UDP always and of
/// TCP where the connection is not yet open: their clients shall move on at once.
pub(super) fn end_stale(tables: &KernelTables, stopped: &Stopped) {
    let ended = end_toward(tables, &stopped.v4).and_then(|()| end_toward(tables, &stopped.v6));
    if let Err(error) = ended {
        warn!(%error, "flows of backends that stopped serving were not all ended");
    }
}

fn end_toward<A: KernelFamily>(
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
            if flow.flags & (FLOW_REPLY | FLOW_DIRECT) == 0
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

/// Deletes both directions and gives the port back. The reply goes first: a packet of the client's
/// that comes between the two finds a flow and enters the reply again, which then leads nowhere, but
/// never goes out with a port that somebody else got meanwhile.
fn remove<A: KernelFamily>(
    tables: &KernelTables,
    key: &FlowKey<A>,
    flow: &Flow<A>,
) -> Result<(), DataplaneError> {
    let maps = A::maps(tables);
    let other = mirror_key(key, flow);
    let (reply, forward) = if flow.flags & FLOW_REPLY != 0 {
        (key, &other)
    } else {
        (&other, key)
    };
    maps.delete_flow(reply)?;
    maps.delete_flow(forward)?;
    if flow.flags & (FLOW_SNAT | FLOW_HAIRPIN | FLOW_RENUMBERED) != 0 {
        maps.delete_reservation(reply)?;
    }
    Ok(())
}

/// A moment, and what is over then.
#[derive(Clone, Copy, Debug)]
struct Watch<'s> {
    /// Jiffies, low 32 bits.
    now: u32,
    /// Jiffies in a second.
    hz: u32,
    timeouts: Timeouts<'s>,
}

impl Watch<'_> {
    /// Seconds since a packet came this way. A direction seen after `now` was read counts as seen
    /// now.
    fn seconds_quiet<A>(&self, flow: &Flow<A>) -> u32 {
        match self.now.wrapping_sub(flow.last_seen) {
            later if later > u32::MAX / 2 => 0,
            jiffies => jiffies / self.hz,
        }
    }

    /// Whether neither direction was seen for as long as the connection's stage allows.
    fn is_over<A: KernelFamily>(
        &self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        other: Option<&Flow<A>>,
    ) -> bool {
        let nothing = mirror(key, flow);
        let other = other.unwrap_or(&nothing);
        let quiet = self.seconds_quiet(flow).min(self.seconds_quiet(other));
        quiet >= self.timeouts.of(stage(key.protocol, flow, other, self.hz))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use lb_common::addr::Ip4;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        settings: Settings,
    }

    fn settings(arguments: &[&str]) -> Settings {
        let arguments = ["lb"].iter().chain(arguments);
        Command::parse_from(arguments).settings
    }

    const KEY: FlowKey<Ip4> = FlowKey {
        source: Ip4::new(10, 42, 0, 9),
        destination: Ip4::new(10, 43, 0, 1),
        source_port: 40_000,
        destination_port: 53,
        protocol: UDP,
        reserved: [0; 3],
    };

    #[test]
    fn a_direction_seen_just_now_keeps_the_other_alive() {
        let settings = settings(&[]);
        let at = |now| Watch {
            now,
            hz: 250,
            timeouts: Timeouts::new(&settings),
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
        assert!(at(10).is_over(&KEY, &old, None));
        assert!(!at(10).is_over(&KEY, &old, Some(&fresh)));
        assert!(
            !at(3).is_over(&KEY, &fresh, Some(&old)),
            "seen after now was read"
        );
    }

    #[test]
    fn the_stages_time_out_is_the_settings() {
        let flow = Flow {
            state: tcp::SEEN,
            ..Flow::default()
        };
        for (arguments, seconds) in [(&[][..], 30), (&["--timeouts=udp=7"], 7)] {
            let settings = settings(arguments);
            let after = |seconds: u32| Watch {
                now: seconds * 100,
                hz: 100,
                timeouts: Timeouts::new(&settings),
            };
            assert!(
                !after(seconds - 1).is_over(&KEY, &flow, None),
                "{arguments:?}"
            );
            assert!(after(seconds).is_over(&KEY, &flow, None), "{arguments:?}");
        }
    }
}
