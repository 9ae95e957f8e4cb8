//! What becomes of a flow, and why? The question runs the decision that the kernel runs, on the
//! live maps or on tables planned from manifests.
//!
//! Pure: whoever asks brings the tables and what else is known; nothing is decided here.

mod answer;
pub mod capture;
mod document;
mod hints;
mod names;
mod planned;
mod question;
mod recorder;
mod steps;
mod story;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::decide::{self, Arrival, Decision, Forward, Request, SCTP, SourceClass};
use lb_common::hash::{self, ByFlow};
use lb_common::layout::{
    Affinity, AffinityKey, BACKEND_HOST_NETWORK, BACKEND_LOCAL, BACKEND_TERMINATING, FLOW_HAIRPIN,
    FLOW_REPLY, FLOW_SNAT, FRONTEND_MAGLEV, Flow, FlowKey, FrontendInfo,
};

pub use answer::{Answer, Candidate, Frontend, Ground, Reason, ServedPort, Step, Verdict};
pub use capture::{Capture, CapturedFlow};
pub use document::Document;
pub use planned::{Planned, planned};
pub use question::{Question, QuestionError, has_ports, protocol_name};

use recorder::{Lookup, Recorder};

use crate::state::State;
use crate::tables::{PerFamily, Tables, View};

/// What an answer is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The tables.
    pub tables: &'a Tables,
    /// What the tables do not hold, for hints only.
    pub state: &'a State,
    /// What the programs wrote; none where the tables were planned for the question, so that not
    /// even the key that draws slots is known.
    pub traffic: Option<&'a Traffic>,
}

/// What the programs wrote, as far as it matters for the question.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// IPv4's.
    pub v4: FamilyTraffic<Ip4>,
    /// IPv6's.
    pub v6: FamilyTraffic<Ip6>,
    /// The kernel's jiffies, low 32 bits.
    pub now: u32,
}

/// What the programs wrote in one family.
#[derive(Clone, Debug)]
pub struct FamilyTraffic<A> {
    /// Flows.
    pub flows: BTreeMap<FlowKey<A>, Flow<A>>,
    /// Affinities.
    pub affinities: BTreeMap<AffinityKey<A>, Affinity>,
}

impl<A> Default for FamilyTraffic<A> {
    fn default() -> Self {
        Self {
            flows: BTreeMap::new(),
            affinities: BTreeMap::new(),
        }
    }
}

/// The flow that the question is about; none if its addresses are of the other family.
#[must_use]
pub fn flow_key<A: Family>(question: &Question) -> Option<FlowKey<A>> {
    Some(FlowKey {
        source: A::from_ip(question.source)?,
        destination: A::from_ip(question.destination)?,
        source_port: question.source_port.unwrap_or_default(),
        destination_port: question.destination_port,
        protocol: question.protocol,
        reserved: [0; 3],
    })
}

/// Answers the question.
///
/// # Errors
/// The question names an address of each family.
pub fn explain(question: &Question, known: &Known<'_>) -> Result<Answer, QuestionError> {
    let v4 = known.traffic.map(|traffic| (&traffic.v4, traffic.now));
    let v6 = known.traffic.map(|traffic| (&traffic.v6, traffic.now));
    let mut answer = if let Some(flow) = flow_key::<Ip4>(question) {
        answer(question, &flow, known.tables, v4)
    } else if let Some(flow) = flow_key::<Ip6>(question) {
        answer(question, &flow, known.tables, v6)
    } else {
        return Err(QuestionError::Families {
            source_address: question.source,
            destination: question.destination,
        });
    };
    if known.traffic.is_some() {
        answer.ground = Ground::Maps;
    }
    introduce(&mut answer, known.state);
    answer.hints = hints::hints(&answer, known);
    Ok(answer)
}

/// Gives the backends the names that people know them by.
fn introduce(answer: &mut Answer, state: &State) {
    let Some(served) = &answer.served else {
        return;
    };
    for candidate in &mut answer.candidates {
        let mut targets = state.targets.iter();
        let target = targets.find(|target| {
            target.service == served.service && target.address == candidate.address.ip()
        });
        candidate.target = target.and_then(|target| target.target.clone());
        candidate.node = target.and_then(|target| target.node.clone());
    }
}

fn answer<A: PerFamily>(
    question: &Question,
    flow: &FlowKey<A>,
    tables: &Tables,
    traffic: Option<(&FamilyTraffic<A>, u32)>,
) -> Answer {
    let view = match traffic {
        Some((traffic, now)) => View::with_affinities(tables, traffic.affinities.clone(), now),
        None => View::new(tables),
    };
    let request = Request {
        flow,
        arrival: if question.source.is_loopback() {
            // Only a socket of the node has such an address.
            Arrival::Socket
        } else {
            Arrival::Unknown
        },
        begins: true,
    };
    let class = decide::source_class(&view, &flow.source, request.arrival);
    let by_flow = ByFlow {
        flow,
        own: hash::draw(flow, tables.config.hash_key),
    };
    let recorder = Recorder::new(&view);
    let decision = decide::decide(&recorder, &request, by_flow);
    let mut answer = Answer::of_decision(question, class, &decision);
    let chosen = match decision {
        Decision::Forward(forward) => Some((place(&forward), forward.by_affinity)),
        _ => None,
    };
    let lookups = recorder.into_lookups();
    let info = lookups.iter().rev().find_map(|lookup| match lookup {
        Lookup::Info(_, info) => info.filter(|info| info.key.address == flow.destination),
        _ => None,
    });
    // The node's own sockets draw each for itself, and another node's key is its own; but all nodes agree
    // about Maglev frontends.
    let is_agreed =
        info.is_some_and(|info| info.flags & FRONTEND_MAGLEV != 0 && info.affinity_seconds == 0);
    let is_known = (traffic.is_some() || is_agreed)
        && class != SourceClass::Node
        && question.source_port.is_some();
    answer.served = served_port(&lookups).and_then(|id| names::served_port(tables, id));
    answer.frontend = info.as_ref().map(Frontend::of_info);
    answer.candidates = candidates(&view, &request);
    answer.backend = match (answer.candidates.as_slice(), chosen) {
        ([only], _) => Some(only.address),
        (_, Some((place, by_affinity))) if by_affinity || is_known => Some(place),
        _ => None,
    };
    let narrator = steps::Narrator {
        tables,
        class,
        info,
        drawn: answer.backend.is_some(),
    };
    answer.steps = narrator.steps(&lookups);
    if class == SourceClass::Node && question.protocol == SCTP && answer.verdict != Verdict::Pass {
        leave_to_the_stack(&mut answer);
    }
    if let Some((traffic, _)) = traffic
        && let Some(known) = question.source_port.and_then(|_| traffic.flows.get(flow))
    {
        follow(&mut answer, tables, flow, known);
    }
    answer
}

/// Every backend that a flow like this may get, by asking for every slot of its pool.
fn candidates<A: PerFamily>(view: &View<'_, A>, request: &Request<'_, A>) -> Vec<Candidate> {
    let slots = match decide::decide(view, request, 0) {
        Decision::Forward(forward) if forward.by_affinity => 1,
        Decision::Forward(forward) => pool_of(&forward).count,
        _ => 0,
    };
    let forwards = (0..slots).filter_map(|slot| {
        match decide::decide(view, request, hash::draw_of(slot, slots)) {
            Decision::Forward(forward) => Some((place(&forward), candidate(&forward))),
            _ => None,
        }
    });
    forwards.collect::<BTreeMap<_, _>>().into_values().collect()
}

const fn pool_of<'t, A>(forward: &Forward<'t, A>) -> &'t lb_common::layout::Pool {
    if forward.outside {
        &forward.info.outside
    } else {
        &forward.info.inside
    }
}

fn candidate<A: Family>(forward: &Forward<'_, A>) -> Candidate {
    let has = |flag| forward.backend.flags & flag != 0;
    Candidate {
        address: place(forward),
        local: has(BACKEND_LOCAL),
        host_network: has(BACKEND_HOST_NETWORK),
        terminating: has(BACKEND_TERMINATING),
        nat: forward.nat,
        target: None,
        node: None,
    }
}

fn place<A: Family>(forward: &Forward<'_, A>) -> SocketAddr {
    SocketAddr::new(forward.backend.address.to_ip(), forward.backend.port)
}

/// The service port that the decision came upon last.
fn served_port<A>(lookups: &[Lookup<A>]) -> Option<u32> {
    lookups.iter().rev().find_map(|lookup| match lookup {
        Lookup::Info(_, Some(FrontendInfo { service_port, .. })) => Some(*service_port),
        Lookup::Frontend(_, Some(reference)) => Some(reference.service_port),
        _ => None,
    })
}

/// The decision is right, but nobody asks for it: no hook sees where the node's own SCTP sockets
/// connect to.
fn leave_to_the_stack(answer: &mut Answer) {
    answer.verdict = Verdict::Pass;
    answer.reason = Reason::OwnSctp;
    answer.candidates.clear();
    answer.backend = None;
    answer.steps = vec![steps::own_sctp()];
}

/// Packets with these very ports belong to a flow that is there already: nothing is drawn.
fn follow<A: PerFamily>(answer: &mut Answer, tables: &Tables, key: &FlowKey<A>, flow: &Flow<A>) {
    let is_reply = flow.flags & FLOW_REPLY != 0;
    answer.verdict = Verdict::Forward;
    answer.reason = if is_reply {
        Reason::Reply
    } else {
        Reason::Flow
    };
    answer.served = names::served_port(tables, flow.service_port);
    let destination = SocketAddr::new(flow.destination.to_ip(), flow.destination_port);
    answer.backend = (!is_reply).then_some(destination);
    answer.steps.insert(0, steps::of_flow(key, flow));
    if is_reply {
        answer.frontend = None;
        answer.candidates.clear();
    } else if let Some(backend) = answer.backend {
        // What the flow got when it began, which may be gone for new ones.
        let snat = flow.flags & (FLOW_SNAT | FLOW_HAIRPIN) != 0;
        answer.flow = Some((backend, snat));
    }
}
