//! How is a connection carried over without a packet of it going astray?
//!
//! At each moment one of the two translates its packets, or they are dropped where they come in and
//! their sender repeats them (`FLOW_HELD`): were both to know it, nf_conntrack would take the packets
//! that our programs translated for another connection with the same replies and give it another
//! port; were neither to, kube-proxy's rules would choose a backend anew.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use lb_common::addr::{Ip4, Ip6};
use lb_common::decide::has_connections;
use lb_common::flow::mirror_key;
use lb_common::layout::{FLOW_HAIRPIN, FLOW_HELD, FLOW_SNAT, Flow, FlowKey};
use lb_common::tcp;

use super::ipvs;
use super::ours::{remove, take_port};
use super::{
    Circumstances, Over, Passage, Passenger, Plan, Way, Why, ends_of_flow, give_all, take_all,
};
use crate::dataplane::kernel::{KernelFamily, KernelTables};
use crate::dataplane::{Dataplane as _, DataplaneError};
use crate::netlink::conntrack::{Connection, Conntrack, Ends, NewConnection, Status, TcpState};

/// Connections that are held at once: done in far less than the second that they may be.
const HELD_AT_ONCE: usize = 64;
/// A packet that came in before its flow was held has met nf_conntrack by then.
const UNDER_WAY: Duration = Duration::from_millis(5);
/// Packets that come between two orders may make nf_conntrack know a connection again.
const TRIES: u32 = 16;
/// Seconds that nf_conntrack remembers a connection that it does not translate, until the next
/// packet says otherwise.
const PLAIN_TIMEOUT: u32 = 600;

/// Seconds that a connection which is announced may be the one that is carried over; if it ends before,
/// nf_conntrack forgets it by itself.
const ANNOUNCED_TIMEOUT: u32 = 60;

/// Why connections could not be looked at or carried over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// nf_conntrack cannot be asked.
    #[error("nf_conntrack: {action}: {source}{}", remedy(source))]
    Conntrack {
        /// What was tried, as a verb.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// IPVS' table cannot be read.
    #[error("connections of IPVS: {0}: run as root")]
    Ipvs(#[source] io::Error),
    /// Our maps cannot be read or written.
    #[error(transparent)]
    Tables(#[from] DataplaneError),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ": run as root, or with CAP_NET_ADMIN",
        _ => ": is nf_conntrack_netlink loaded, and does `conntrack -L` work?",
    }
}

fn conntrack(action: &'static str) -> impl Fn(io::Error) -> HandoverError {
    move |source| HandoverError::Conntrack { action, source }
}

/// What was done.
#[derive(Debug, Default)]
pub struct Carried {
    /// Those that have passed.
    pub passed: usize,
    /// Those that did not although they were to, and why.
    pub stay: Vec<(Passenger, Why)>,
}

impl Carried {
    /// Adds what was done later.
    pub fn add(&mut self, later: Self) {
        self.passed += later.passed;
        self.stay.extend(later.stay);
    }
}

/// What became of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// It ended meanwhile, or began anew.
    Gone,
    Stays(Why),
}

/// Both who may know connections.
#[derive(Debug)]
pub struct Handover<'t> {
    tables: &'t KernelTables,
    conntrack: Conntrack,
}

impl<'t> Handover<'t> {
    /// Connects to nf_conntrack of this thread's network namespace.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub fn open(tables: &'t KernelTables) -> Result<Self, HandoverError> {
        Ok(Self {
            tables,
            conntrack: Conntrack::connect().map_err(conntrack("connect"))?,
        })
    }

    /// What nf_conntrack knows, and what becomes of it; what IPVS translates stays.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub fn look_at_theirs(&mut self, circumstances: Circumstances) -> Result<Plan, HandoverError> {
        let connections = self
            .conntrack
            .connections()
            .map_err(conntrack("list connections"))?;
        let mut plan = take_all(&connections, &self.tables.read()?, circumstances);
        ipvs::name(ipvs::connections().map_err(HandoverError::Ipvs)?, &mut plan);
        Ok(plan)
    }

    /// What our table holds, and what becomes of it.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub fn look_at_ours(&mut self, circumstances: Circumstances) -> Result<Plan, HandoverError> {
        // Not all tables: this is done again and again while others have begun to serve.
        let hz = self.tables.config()?.hz;
        let (v4, v6) = (
            self.tables.v4.flows(usize::MAX)?,
            self.tables.v6.flows(usize::MAX)?,
        );
        Ok(give_all(&v4, &v6, hz, circumstances))
    }

    /// Carries over what passes, and has nf_conntrack forget what is over.
    ///
    /// # Errors
    /// See [`HandoverError`]; what was carried over before stays so, and a connection that was being
    /// carried over goes on within a second.
    pub fn carry(&mut self, plan: &Plan, now: impl Fn() -> u32) -> Result<Carried, HandoverError> {
        let mut carried = Carried::default();
        self.forget_over(plan)?;
        self.carry_family::<Ip4>(&plan.v4, &now, &mut carried)?;
        self.carry_family::<Ip6>(&plan.v6, &now, &mut carried)?;
        Ok(carried)
    }

    /// Has nf_conntrack know connections that we go on to carry, so that whoever serves what begins
    /// gives none of it a port of theirs. Only those that nf_conntrack never sees: it would take their
    /// packets for others'.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub fn announce(&mut self, plan: &Plan) -> Result<(), HandoverError> {
        let ways = plan.v4.iter().map(|passage| &passage.way);
        let ways = ways.chain(plan.v6.iter().map(|passage| &passage.way));
        for way in ways {
            if let Way::Give { new, seen: None } = way {
                let announced = NewConnection {
                    timeout: ANNOUNCED_TIMEOUT,
                    ..*new
                };
                // Whose ports are known to it already is seen to when it is carried over.
                self.know(&announced, None).map(drop)?;
            }
        }
        Ok(())
    }

    /// Forgets what is over, where that is.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub fn forget_over(&mut self, plan: &Plan) -> Result<(), HandoverError> {
        for over in &plan.over {
            match over {
                Over::Theirs(known) => self.forget(known).map(drop)?,
                Over::Ours4(key, flow) => self.remove_over(key, flow)?,
                Over::Ours6(key, flow) => self.remove_over(key, flow)?,
            }
        }
        Ok(())
    }

    fn remove_over<A: KernelFamily>(
        &self,
        key: &FlowKey<A>,
        flow: &Flow<A>,
    ) -> Result<(), DataplaneError> {
        let maps = A::maps(self.tables);
        // The client may have begun anew meanwhile.
        if maps.flow(key)? == Some(*flow) {
            remove(maps, key, flow, &mirror_key(key, flow))?;
        }
        Ok(())
    }

    fn carry_family<A: KernelFamily>(
        &mut self,
        passages: &[Passage<A>],
        now: &impl Fn() -> u32,
        carried: &mut Carried,
    ) -> Result<(), HandoverError> {
        for passages in passages.chunks(HELD_AT_ONCE) {
            let mut outcomes = Vec::with_capacity(passages.len());
            for passage in passages {
                outcomes.push(self.hold(passage, now())?);
            }
            sleep(UNDER_WAY);
            for (passage, held) in passages.iter().zip(outcomes) {
                let outcome = match held {
                    Some(outcome) => outcome,
                    None => self.complete(passage)?,
                };
                match outcome {
                    Outcome::Passed => carried.passed += 1,
                    Outcome::Gone => {}
                    Outcome::Stays(why) => carried.stay.push((passage.passenger(), why)),
                }
            }
        }
        Ok(())
    }

    /// Has our programs drop the connection's packets; an outcome if that was all.
    fn hold<A: KernelFamily>(
        &self,
        passage: &Passage<A>,
        now: u32,
    ) -> Result<Option<Outcome>, HandoverError> {
        let maps = A::maps(self.tables);
        let Passage {
            key, flow, reply, ..
        } = passage;
        let reply_key = mirror_key(key, flow);
        let there = maps.flow(key)?;
        let (mut flow, mut reply) = (*flow, *reply);
        if matches!(passage.way, Way::Take { .. }) {
            match there {
                // The client has begun anew, and that is ours already.
                Some(there) if ends_of_flow(&there) != ends_of_flow(&flow) => {
                    return Ok(Some(Outcome::Gone));
                }
                None if !take_port(maps, key, &flow, &reply_key)? => {
                    return Ok(Some(Outcome::Stays(Why::PortTaken)));
                }
                // If it is there, whoever began this was ended amid it.
                Some(_) | None => {}
            }
        } else {
            // It has gone on since it was looked at, and may be over.
            let (Some(there), Some(back)) = (there, maps.flow(&reply_key)?) else {
                return Ok(Some(Outcome::Gone));
            };
            let is_other = ends_of_flow(&there) != ends_of_flow(&flow);
            if is_other || (has_connections(key.protocol) && tcp::ended(there.state, back.state)) {
                return Ok(Some(Outcome::Gone));
            }
            (flow, reply) = (there, back);
        }
        let held = |flow: &Flow<A>| Flow {
            flags: flow.flags | FLOW_HELD,
            created: now,
            ..*flow
        };
        let written = maps
            .set_flow(key, &held(&flow))
            .and_then(|()| maps.set_flow(&reply_key, &held(&reply)));
        match written {
            Ok(()) => Ok(None),
            Err(DataplaneError::Full(_)) => {
                remove(maps, key, &flow, &reply_key)?;
                Ok(Some(Outcome::Stays(Why::NoRoom)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Carries over a connection that is held.
    fn complete<A: KernelFamily>(
        &mut self,
        passage: &Passage<A>,
    ) -> Result<Outcome, HandoverError> {
        let maps = A::maps(self.tables);
        let Passage {
            key, flow, reply, ..
        } = passage;
        let reply_key = mirror_key(key, flow);
        match &passage.way {
            Way::Take { known } => {
                let current = self.conntrack.now(known).map_err(conntrack("ask"))?;
                let Some(known) = current.filter(|known| known.tcp != Some(TcpState::Ended)) else {
                    self.forget(known)?;
                    remove(maps, key, flow, &reply_key)?;
                    return Ok(Outcome::Gone);
                };
                let known = &known;
                let outcome = self.forget(known)?;
                if outcome != Outcome::Passed {
                    remove(maps, key, flow, &reply_key)?;
                    return Ok(outcome);
                }
                if flow.flags & (FLOW_SNAT | FLOW_HAIRPIN) == 0 {
                    self.know_plainly(known, ends_of_flow(flow))?;
                }
                maps.set_flow(&reply_key, reply)?;
                maps.set_flow(key, flow)?;
                Ok(Outcome::Passed)
            }
            Way::Give { new, seen } => {
                if !self.know(new, *seen)? {
                    maps.set_flow(&reply_key, reply)?;
                    maps.set_flow(key, flow)?;
                    return Ok(Outcome::Stays(Why::PortTaken));
                }
                remove(maps, key, flow, &reply_key)?;
                Ok(Outcome::Passed)
            }
        }
    }

    /// Has nf_conntrack forget what it translates.
    fn forget(&mut self, known: &Connection) -> Result<Outcome, HandoverError> {
        match self.conntrack.delete(known) {
            Ok(true) => Ok(Outcome::Passed),
            Ok(false) => Ok(Outcome::Gone),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                Ok(Outcome::Stays(Why::Offloaded))
            }
            Err(error) => Err(conntrack("delete a connection")(error)),
        }
    }

    /// Has nf_conntrack know the packets that our programs have translated as an established
    /// connection, which to rules that ask for one it was before.
    fn know_plainly(&mut self, known: &Connection, carried: Ends) -> Result<(), HandoverError> {
        let plain = NewConnection {
            protocol: known.protocol,
            original: carried,
            reply: carried.turned(),
            answered: known.status.contains(Status::SeenReply),
            half_closed: known.tcp == Some(TcpState::HalfClosed),
            mark: known.mark,
            timeout: PLAIN_TIMEOUT,
        };
        // One that stays unknown is known by its next packet, as new.
        self.know(&plain, Some(carried)).map(drop)
    }

    /// Has nf_conntrack know a connection in place of whatever has its packets' ends; false if it
    /// does not.
    fn know(&mut self, new: &NewConnection, seen: Option<Ends>) -> Result<bool, HandoverError> {
        let refused = conntrack("delete a connection");
        for _ in 0..TRIES {
            if let Some(seen) = seen {
                self.conntrack
                    .delete_at(new.protocol, seen)
                    .map_err(&refused)?;
            }
            match self.conntrack.create(new) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.conntrack
                        .delete_at(new.protocol, new.original)
                        .map_err(&refused)?;
                }
                Err(error) => return Err(conntrack("create a connection")(error)),
            }
        }
        Ok(false)
    }
}
