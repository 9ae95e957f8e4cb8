//! What is a timed program given, and what must it make of it?

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_common::drops::Hook;

use super::load::Whose;
use super::world;
use crate::packet::Packet;

/// A program with the packets that it is timed on.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// Whose the program is.
    pub(super) whose: Whose,
    /// Its name in the object.
    pub(super) program: &'static str,
    /// Where it sits.
    pub(super) hook: Hook,
    /// What it gets; the source port is that of the first run.
    pub(super) packet: Packet,
    /// What comes of it.
    pub(super) outcome: Outcome,
    /// How runs differ.
    pub(super) runs: Runs,
}

/// What comes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing.
    Untouched,
    /// Another source.
    From(SocketAddr),
    /// Another destination, one of these.
    ToOneOf(Vec<SocketAddr>),
    /// Other ends, and it goes on to the next program.
    Between(SocketAddr, SocketAddr),
    /// Other ends, and it leaves by a link. At traffic control the link-layer addresses are the
    /// kernel's affair.
    Sent(SocketAddr, SocketAddr),
}

/// How one run differs from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Runs {
    /// Not at all: packets of one flow.
    Same,
    /// Each has the next source port; what the program entered is taken out again after each batch.
    NewPort,
    /// Each has the next source port, and each batch the next client: the flow table is full.
    NewClient,
    /// Packets of 64 k flows that are known, in turn.
    ManyFlows,
}

/// Runs in a batch whose ports differ: one for each port.
const PORTS: u16 = 1 << 13;
/// Clients whose flows take turns, each with that many ports.
const CLIENTS: u32 = 1 << 3;
/// Runs in a batch whose packets are the same, or of flows that are known.
const REPEATS: u32 = 1 << 16;

const _: () = assert!(CLIENTS * PORTS as u32 == REPEATS);

impl Runs {
    /// How many runs make a batch: some milliseconds, so that batches of all programs take turns
    /// while the machine is in the same mood.
    pub(super) const fn per_batch(self) -> u32 {
        match self {
            Self::Same | Self::ManyFlows => REPEATS,
            Self::NewPort | Self::NewClient => PORTS as u32,
        }
    }

    /// What differs, for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Same => "one flow",
            Self::NewPort => "new port each",
            Self::NewClient => "new port each, table full",
            Self::ManyFlows => "64 k flows in turn",
        }
    }

    /// The bits of the run's number that are added to the source port.
    pub(super) const fn port_mask(self) -> u16 {
        match self {
            Self::Same => 0,
            Self::NewPort | Self::NewClient | Self::ManyFlows => PORTS - 1,
        }
    }

    /// The further bits that are added to the source address.
    pub(super) const fn address_mask(self) -> u32 {
        match self {
            Self::Same | Self::NewPort | Self::NewClient => 0,
            Self::ManyFlows => CLIENTS - 1,
        }
    }
}

/// Codes by which a program lets a packet go on: `XDP_PASS`, `TC_ACT_UNSPEC`.
const fn goes_on(hook: Hook) -> u32 {
    match hook {
        Hook::Xdp => 2,
        Hook::Tc | Hook::Socket => u32::MAX,
    }
}

/// Codes by which a program sends a packet out of a link: `XDP_REDIRECT`, `TC_ACT_REDIRECT`.
const fn leaves(hook: Hook) -> u32 {
    match hook {
        Hook::Xdp => 4,
        Hook::Tc | Hook::Socket => 7,
    }
}

impl Subject {
    /// The packet of run number `run`, in batch number `batch`.
    pub(super) fn packet_of(&self, batch: u32, run: u32) -> Packet {
        let mut source = self.packet.source;
        let step = run & u32::from(self.runs.port_mask());
        source.set_port(source.port() + step as u16);
        let further = run >> self.runs.port_mask().count_ones() & self.runs.address_mask();
        source.set_ip(shifted(source.ip(), further));
        if self.runs == Runs::NewClient {
            source.set_ip(shifted(source.ip(), batch));
        }
        self.packet.between(source, self.packet.destination)
    }

    /// The packets of a batch, where all batches are alike.
    pub(super) fn packets(&self) -> impl Iterator<Item = Packet> + use<> {
        let subject = self.clone();
        (0..self.runs.per_batch()).map(move |run| subject.packet_of(0, run))
    }

    /// Checks what the last run of a batch left.
    ///
    /// # Errors
    /// Another verdict than the outcome has, or other bytes, checksums included.
    pub(super) fn check(&self, batch: u32, verdict: u32, bytes: &[u8]) -> Result<()> {
        let last = self.packet_of(batch, self.runs.per_batch() - 1);
        self.check_one(&last, verdict, bytes)
    }

    /// Checks what a run left of a packet.
    ///
    /// # Errors
    /// As [`Subject::check`].
    pub(super) fn check_one(&self, before: &Packet, verdict: u32, bytes: &[u8]) -> Result<()> {
        let code = match self.outcome {
            Outcome::Sent(..) => leaves(self.hook),
            _ => goes_on(self.hook),
        };
        ensure!(
            verdict == code,
            "{}, {}: verdict {} instead of {}",
            self.program,
            self.runs.name(),
            verdict.cast_signed(),
            code.cast_signed()
        );
        let candidates = match &self.outcome {
            Outcome::Untouched => vec![before.clone()],
            Outcome::From(source) => vec![before.between(*source, before.destination)],
            Outcome::ToOneOf(backends) => {
                let to = |backend: &SocketAddr| before.between(before.source, *backend);
                backends.iter().map(to).collect()
            }
            Outcome::Between(source, destination) => vec![before.between(*source, *destination)],
            Outcome::Sent(source, destination) => {
                let sent = before
                    .between(*source, *destination)
                    .with_ttl(before.ttl - 1);
                vec![match self.hook {
                    Hook::Xdp => sent.with_macs([world::NEIGHBOUR, world::OWN]),
                    Hook::Tc | Hook::Socket => sent,
                }]
            }
        };
        candidates
            .iter()
            .find(|packet| packet.bytes() == bytes)
            .with_context(|| format!("{}: {bytes:02x?} is none of {candidates:?}", self.program))?;
        Ok(())
    }
}

/// The address so many places further.
fn shifted(address: IpAddr, by: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + by).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + u128::from(by)).into()),
    }
}
