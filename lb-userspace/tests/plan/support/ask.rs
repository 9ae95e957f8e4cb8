//! What would become of a packet? The decision function, run on the tables.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use lb_common::decide::{Arrival, Nat, Request, Tables as _};
use lb_common::hash;
use lb_common::layout::FlowKey;
use lb_common::{Decision, Ip4, Ip6, decide};
use lb_userspace::model::Protocol;
use lb_userspace::tables::{PerFamily, Tables, View};

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
}

/// What becomes of such flows, whatever their source port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They get one of these backends, some of them with another source.
    Forward {
        backends: BTreeSet<SocketAddr>,
        snat: BTreeSet<SocketAddr>,
    },
    /// Answered with a reset or an ICMP error.
    Refuse,
    /// Dropped in silence.
    Drop,
    /// Not ours.
    Pass,
}

impl Outcome {
    /// The backends, if there are any.
    pub(crate) fn backends(&self) -> BTreeSet<SocketAddr> {
        match self {
            Self::Forward { backends, .. } => backends.clone(),
            _ => BTreeSet::new(),
        }
    }
}

/// A TCP question from texts.
pub(crate) fn tcp(source: &str, destination: &str) -> Question {
    let destination: SocketAddr = destination.parse().unwrap();
    Question {
        source: source.parse().unwrap(),
        destination: destination.ip(),
        port: destination.port(),
        protocol: Protocol::Tcp,
    }
}

/// What becomes of flows like this.
pub(crate) fn ask(tables: &Tables, question: &Question) -> Outcome {
    if question.destination.is_ipv4() {
        ask_view(&View::<Ip4>::new(tables), question)
    } else {
        ask_view(&View::<Ip6>::new(tables), question)
    }
}

/// As [`ask`], of a view that may know affinities.
pub(crate) fn ask_view<A: PerFamily>(view: &View<'_, A>, question: &Question) -> Outcome {
    let mut backends = BTreeSet::new();
    let mut snat = BTreeSet::new();
    let flow = FlowKey {
        source: A::from_ip(question.source).unwrap(),
        destination: A::from_ip(question.destination).unwrap(),
        source_port: 40_000,
        destination_port: question.port,
        protocol: question.protocol.number(),
        reserved: [0; 3],
    };
    let request = Request {
        flow: &flow,
        arrival: Arrival::Unknown,
        begins: true,
    };
    let pool = match decide(view, &request, 0) {
        // Only ICMP is pinged with, and nobody asks for that here.
        Decision::Pass | Decision::AnswerPing => return Outcome::Pass,
        Decision::Refuse(_) => return Outcome::Refuse,
        Decision::Drop(_) => return Outcome::Drop,
        Decision::Forward(forward) if forward.outside => forward.info.outside,
        Decision::Forward(forward) => forward.info.inside,
    };
    // Each slot that names a backend that none before it named.
    let mut seen = BTreeSet::new();
    let slots = (0..pool.count).filter(|slot| seen.insert(view.slot(pool.first + slot)));
    for slot in slots {
        let draw = hash::draw_of(slot, pool.count);
        let Decision::Forward(forward) = decide(view, &request, draw) else {
            panic!("draw {draw} of {question:?} is not forwarded as draw 0 is");
        };
        let backend = forward.backend;
        let address = SocketAddr::new(backend.address.to_ip(), backend.port);
        backends.insert(address);
        if forward.nat != Nat::DestinationOnly {
            snat.insert(address);
        }
    }
    Outcome::Forward { backends, snat }
}
