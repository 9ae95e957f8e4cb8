//! What is a timed program given, and what must it make of it?

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_common::drops::Hook;
use lb_common::limits;

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
    /// Packets of so many flows that are known, in turn.
    ManyFlows(Flows),
}

/// How many flows take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Flows {
    /// 1,024.
    #[value(name = "1k")]
    Few,
    /// 65,536.
    #[default]
    #[value(name = "64k")]
    Many,
    /// 1,048,576, in larger tables.
    #[value(name = "1m")]
    Million,
}

impl Flows {
    /// That many, as a power of two.
    const fn bits(self) -> u32 {
        match self {
            Self::Few => 10,
            Self::Many => 16,
            Self::Million => 20,
        }
    }

    /// Elements of a flow table that has room for them, and for as many others as there are.
    pub(super) const fn room(self) -> u32 {
        let room = 4 << self.bits();
        if room > limits::FLOWS {
            room
        } else {
            limits::FLOWS
        }
    }

    /// Names of the case, of its floor, and for people.
    pub(super) const fn names(self) -> [&'static str; 3] {
        match self {
            Self::Few => ["flows_1k", "full-1k", "1 k flows in turn"],
            Self::Many => ["flows_64k", "full-64k", "64 k flows in turn"],
            Self::Million => ["flows_1m", "full-1m", "1 M flows in turn"],
        }
    }
}

/// Runs in a batch whose ports differ: one for each port.
const PORTS: u16 = 1 << PORT_BITS;
const PORT_BITS: u32 = 13;
/// Runs in a batch whose packets are the same, or of flows that are known; more where there are more flows.
const REPEATS: u32 = 1 << 16;

impl Runs {
    /// How many runs make a batch: some milliseconds, so that batches of all programs take turns
    /// while the machine is in the same mood.
    pub(super) const fn per_batch(self) -> u32 {
        match self {
            Self::ManyFlows(Flows::Million) => 1 << Flows::Million.bits(),
            Self::Same | Self::ManyFlows(_) => REPEATS,
            Self::NewPort | Self::NewClient => PORTS as u32,
        }
    }

    /// What differs, for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Same => "one flow",
            Self::NewPort => "new port each",
            Self::NewClient => "new port each, table full",
            Self::ManyFlows(flows) => flows.names()[2],
        }
    }

    /// The bits of the run's number that are added to the source port.
    pub(super) const fn port_mask(self) -> u16 {
        match self {
            Self::Same => 0,
            Self::ManyFlows(flows) if flows.bits() < PORT_BITS => (1 << flows.bits()) - 1,
            Self::NewPort | Self::NewClient | Self::ManyFlows(_) => PORTS - 1,
        }
    }

    /// The further bits that are added to the source address.
    pub(super) const fn address_mask(self) -> u32 {
        match self {
            Self::Same | Self::NewPort | Self::NewClient => 0,
            Self::ManyFlows(flows) => (1 << flows.bits().saturating_sub(PORT_BITS)) - 1,
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

    /// A packet of each flow, where all batches are alike.
    pub(super) fn packets(&self) -> impl Iterator<Item = Packet> + use<> {
        let subject = self.clone();
        let ports = u32::from(self.runs.port_mask()) + 1;
        (0..ports * (self.runs.address_mask() + 1)).map(move |run| subject.packet_of(0, run))
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
