//! What is the answer to a question, before anybody shows it?

use std::net::{IpAddr, SocketAddr};

use lb_common::addr::Family;
use lb_common::decide::{Decision, Nat, SourceClass};
use lb_common::drops::DropReason;
use lb_common::layout::{FrontendInfo, POOL_LOCAL, Pool};

use super::names;
use super::question::Question;
use crate::model::{ObjectName, Policy, Word};

/// What becomes of the flow, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// What the answer is drawn from.
    pub ground: Ground,
    /// What the client is to the decision.
    pub class: SourceClass,
    /// What becomes of the flow.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The Service's port; none if no Service is concerned.
    pub served: Option<ServedPort>,
    /// What the client dials; none if it dials nothing of ours.
    pub frontend: Option<Frontend>,
    /// Every backend that a new flow like this may get, sorted.
    pub candidates: Vec<Candidate>,
    /// The one that it gets, where that is certain.
    pub backend: Option<SocketAddr>,
    /// The backend of a flow with these very ports that is there already, and whether the client's
    /// address is replaced on the way.
    pub flow: Option<(SocketAddr, bool)>,
    /// What was looked up, in order.
    pub steps: Vec<Step>,
    /// What may help whoever asked, as sentences.
    pub hints: Vec<String>,
}

/// What an answer is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// What the programs in the kernel decide by now.
    Maps,
    /// What manifests would make of this node.
    Manifests,
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to a backend.
    Forward,
    /// It is refused with an answer.
    Reject,
    /// It is dropped in silence.
    Drop,
    /// It is a ping that we answer.
    Answer,
    /// It is none of our business.
    Pass,
}

/// Why a flow has its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A new flow to a frontend.
    NewFlow,
    /// A new flow to a frontend whose client has been here before.
    Affinity,
    /// It belongs to a flow that is there.
    Flow,
    /// It is the reply of a flow that is there.
    Reply,
    /// ICMP to a ClusterIP whose pings are answered.
    Ping,
    /// Nothing of ours has this address and port.
    NoFrontend,
    /// SCTP of the node itself to an address of ours: no hook serves it.
    OwnSctp,
    /// It is dropped or refused.
    Dropped(DropReason),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedPort {
    /// Its id in the tables.
    pub id: u32,
    /// The Service.
    pub service: ObjectName,
    /// The port's name; empty = unnamed.
    pub name: String,
    /// The port, which is not always the frontend's.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// What a client dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// `ClusterIP`, `NodePort`, `ExternalIP` or `LoadBalancer`.
    pub kind: &'static str,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Which endpoints serve pods and nodes.
    pub inside: Policy,
    /// Which endpoints serve everybody else.
    pub outside: Policy,
    /// Seconds that ClientIP affinity lasts; 0 = no affinity.
    pub affinity_seconds: u32,
}

/// A backend that a flow may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address and port.
    pub address: SocketAddr,
    /// It is on this node.
    pub local: bool,
    /// It has the node's own address.
    pub host_network: bool,
    /// It is terminating.
    pub terminating: bool,
    /// What changes on the way besides the destination.
    pub nat: Nat,
    /// `Kind/name` of what stands behind it, if anybody knows.
    pub target: Option<Word>,
    /// Name of its node, if anybody knows.
    pub node: Option<Word>,
}

/// One look into the tables.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// What was looked up, and where.
    pub lookup: String,
    /// What was there.
    pub found: String,
    /// What followed from it.
    pub then: String,
}

impl Answer {
    /// What the decision says by itself.
    pub(super) fn of_decision<A>(
        question: &Question,
        class: SourceClass,
        decision: &Decision<'_, A>,
    ) -> Self {
        let (verdict, reason) = match decision {
            Decision::Pass => (Verdict::Pass, Reason::NoFrontend),
            Decision::Drop(reason) => (Verdict::Drop, Reason::Dropped(*reason)),
            Decision::Refuse(reason) => (Verdict::Reject, Reason::Dropped(*reason)),
            Decision::AnswerPing => (Verdict::Answer, Reason::Ping),
            Decision::Forward(forward) if forward.by_affinity => {
                (Verdict::Forward, Reason::Affinity)
            }
            Decision::Forward(_) => (Verdict::Forward, Reason::NewFlow),
        };
        Self {
            question: *question,
            ground: Ground::Manifests,
            class,
            verdict,
            reason,
            served: None,
            frontend: None,
            candidates: Vec::new(),
            backend: None,
            flow: None,
            steps: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Which endpoints may serve this client; none without a frontend.
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        self.frontend.map(|frontend| match self.class {
            SourceClass::Outside => frontend.outside,
            SourceClass::Node | SourceClass::Pod => frontend.inside,
        })
    }

    /// Whether the client's address is replaced on the way to at least one of the backends.
    #[must_use]
    pub fn snat(&self) -> bool {
        match self.flow {
            Some((_, snat)) => snat,
            None => self.candidates.iter().any(Candidate::snat),
        }
    }
}

impl Candidate {
    /// Whether the client's address is replaced on the way.
    #[must_use]
    pub fn snat(&self) -> bool {
        self.nat != Nat::DestinationOnly
    }
}

impl Ground {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Maps => "maps",
            Self::Manifests => "manifests",
        }
    }
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reject => "reject",
            Self::Drop => "drop",
            Self::Answer => "answer",
            Self::Pass => "pass",
        }
    }
}

impl Reason {
    /// The word for it; that of the drop counters where there is one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewFlow => "new-flow",
            Self::Affinity => "affinity",
            Self::Flow => "flow",
            Self::Reply => "reply",
            Self::Ping => "ping",
            Self::NoFrontend => "no-frontend",
            Self::OwnSctp => "own-sctp",
            Self::Dropped(reason) => reason.name(),
        }
    }
}

impl Frontend {
    pub(super) fn of_info<A: Family>(info: &FrontendInfo<A>) -> Self {
        Self {
            kind: names::kind(info.flags),
            address: info.key.address.to_ip(),
            port: info.key.port,
            inside: policy(&info.inside),
            outside: policy(&info.outside),
            affinity_seconds: info.affinity_seconds,
        }
    }
}

const fn policy(pool: &Pool) -> Policy {
    if pool.flags & POOL_LOCAL != 0 {
        Policy::Local
    } else {
        Policy::Cluster
    }
}
