//! What is a timed program given, and what must it make of it?

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_common::drops::Hook;

use super::load::Whose;
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

/// What comes of a packet; it goes on to the next program in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing.
    Untouched,
    /// Another source.
    From(SocketAddr),
    /// Another destination, one of these.
    ToOneOf(Vec<SocketAddr>),
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
}

/// Runs in a batch whose ports differ: one for each port.
const PORTS: u16 = 1 << 13;
/// Runs in a batch whose packets are the same.
const REPEATS: u32 = 1 << 16;

impl Runs {
    /// How many runs make a batch: some milliseconds, so that batches of all programs take turns
    /// while the machine is in the same mood.
    pub(super) const fn per_batch(self) -> u32 {
        match self {
            Self::Same => REPEATS,
            Self::NewPort | Self::NewClient => PORTS as u32,
        }
    }

    /// What differs, for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Same => "one flow",
            Self::NewPort => "new port each",
            Self::NewClient => "new port each, table full",
        }
    }

    /// The bits of the run's number that are added to the source port.
    pub(super) const fn port_mask(self) -> u16 {
        match self {
            Self::Same => 0,
            Self::NewPort | Self::NewClient => PORTS - 1,
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

impl Subject {
    /// The packet of run number `run`, in batch number `batch`.
    pub(super) fn packet_of(&self, batch: u32, run: u32) -> Packet {
        let mut source = self.packet.source;
        let step = run & u32::from(self.runs.port_mask());
        source.set_port(source.port() + step as u16);
        if self.runs == Runs::NewClient {
            source.set_ip(shifted(source.ip(), batch));
        }
        self.packet.between(source, self.packet.destination)
    }

    /// Checks what the last run of a batch left.
    ///
    /// # Errors
    /// Another verdict than that the packet goes on, or other bytes, checksums included.
    pub(super) fn check(&self, batch: u32, verdict: u32, bytes: &[u8]) -> Result<()> {
        let last = self.packet_of(batch, self.runs.per_batch() - 1);
        self.check_one(&last, verdict, bytes)
    }

    /// Checks what a run left of a packet.
    ///
    /// # Errors
    /// As [`Subject::check`].
    pub(super) fn check_one(&self, before: &Packet, verdict: u32, bytes: &[u8]) -> Result<()> {
        ensure!(
            verdict == goes_on(self.hook),
            "{}, {}: verdict {} instead of {}",
            self.program,
            self.runs.name(),
            verdict.cast_signed(),
            goes_on(self.hook).cast_signed()
        );
        let candidates = match &self.outcome {
            Outcome::Untouched => vec![before.clone()],
            Outcome::From(source) => vec![before.between(*source, before.destination)],
            Outcome::ToOneOf(backends) => {
                let to = |backend: &SocketAddr| before.between(before.source, *backend);
                backends.iter().map(to).collect()
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
