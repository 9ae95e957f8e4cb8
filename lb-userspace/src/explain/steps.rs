//! What did the decision look up, what did it find, and why did it go on from there? In words.

use std::net::SocketAddr;

use lb_common::addr::Family;
use lb_common::decide::SourceClass;
use lb_common::layout::{
    Affinity, AffinityKey, BACKEND_HOST_NETWORK, BACKEND_LOCAL, BACKEND_TERMINATING, Backend,
    CONFIG_ANSWER_PING, CONFIG_MASQUERADE_ALL, FLOW_REPLY, Flow, FlowKey, FrontendInfo,
    FrontendKey, FrontendRef, POOL_DROP, POOL_LOCAL,
};

use super::answer::Step;
use super::names;
use super::recorder::Lookup;
use crate::tables::{PerFamily, Tables};

/// Tells the steps of one decision.
#[derive(Debug)]
pub(super) struct Narrator<'t, A> {
    /// What it ran on.
    pub(super) tables: &'t Tables,
    /// Who asks.
    pub(super) class: SourceClass,
    /// The frontend that it found.
    pub(super) info: Option<FrontendInfo<A>>,
    /// Whether the slot that it drew is the one that the flow will draw.
    pub(super) drawn: bool,
}

impl<A: PerFamily> Narrator<'_, A> {
    /// The steps, in order. Where the slot is left to chance, they end at the pool.
    pub(super) fn steps(&self, lookups: &[Lookup<A>]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut left_to_chance = false;
        for (i, lookup) in lookups.iter().enumerate() {
            left_to_chance |= matches!(lookup, Lookup::Slot(..)) && !self.drawn;
            if !left_to_chance || matches!(lookup, Lookup::Flags(_)) {
                steps.extend(self.step(lookup, &lookups[i + 1..]));
            }
            if settles_class(lookup, self.class) {
                steps.extend(self.pool());
            }
        }
        steps.dedup();
        steps
    }

    /// One look as a step, `rest` being those after it; none where it changed nothing.
    fn step(&self, lookup: &Lookup<A>, rest: &[Lookup<A>]) -> Option<Step> {
        Some(match lookup {
            Lookup::Frontend(key, reference) => self.frontend(key, reference.as_ref()),
            Lookup::Info(index, info) => self.info(*index, info.as_ref()),
            Lookup::Admits(_, source, is) => either(
                format!("{} for {source}", A::MAPS.ranges),
                *is,
                ["one contains it", "none contains it"],
                ["the client is admitted", "drop: the client is not admitted"],
            ),
            Lookup::Node(address, is) => either(
                format!("{} {address}", A::MAPS.nodes),
                *is,
                ["an address of this node", "nothing"],
                ["the client is this node", "is the client a pod?"],
            ),
            Lookup::Pod(address, is) => either(
                format!("config: is {address} in a prefix of pods?"),
                *is,
                ["yes", "no"],
                ["the client is a pod", "the client is outside"],
            ),
            Lookup::Service(address, is) => either(
                format!("config: is {address} in a ServiceCIDR?"),
                *is,
                ["yes", "no"],
                [
                    "drop: no Service has this address",
                    "pass: it is no address of a Service",
                ],
            ),
            // Without a frontend they are asked for a ping of its address only.
            Lookup::Flags(flags) if self.info.is_none() && flags & CONFIG_ANSWER_PING != 0 => {
                Step::new("config", "--answer-ping", "answer the ping")
            }
            Lookup::Flags(flags) if flags & CONFIG_MASQUERADE_ALL != 0 => Step::new(
                "config",
                "--masquerade-all",
                "replace the client's address on the way to every backend",
            ),
            Lookup::Flags(_) => return None,
            Lookup::Affinity(key, affinity) => self.affinity(key, affinity.as_ref()),
            Lookup::Slot(index, id) => element(
                format!("slots #{index}"),
                id.map(|id| format!("backend #{id}")),
                "look at it",
            ),
            Lookup::Backend(id, backend) => element(
                format!("{} #{id}", A::MAPS.backends),
                backend.as_ref().map(describe_backend),
                if rest.iter().any(|next| matches!(next, Lookup::Slot(..))) {
                    "it no longer serves this frontend: draw a slot"
                } else {
                    "forward"
                },
            ),
        })
    }

    fn info(&self, index: u32, info: Option<&FrontendInfo<A>>) -> Step {
        let is_ours = info.is_some() && info == self.info.as_ref();
        Step::new(
            format!("{} #{index}", A::MAPS.info),
            info.map_or_else(|| "nothing".to_owned(), |info| self.describe(info)),
            if is_ours {
                "go on with it"
            } else {
                "it is another frontend's: look once more, then drop"
            },
        )
    }

    fn affinity(&self, key: &AffinityKey<A>, affinity: Option<&Affinity>) -> Step {
        let found = affinity.map(|affinity| format!("backend #{}", affinity.backend));
        Step::new(
            format!(
                "affinity of {} to {}",
                key.client,
                self.service(key.service_port)
            ),
            found.unwrap_or_else(|| "none, or too old".to_owned()),
            if affinity.is_some() {
                "keep to it if it still serves"
            } else {
                "draw a slot"
            },
        )
    }

    fn frontend(&self, key: &FrontendKey<A>, reference: Option<&FrontendRef>) -> Step {
        let is_marker = key.protocol == 0;
        let asked = format!("{} {}", A::MAPS.frontends, names::key(key));
        match (reference, is_marker) {
            (Some(reference), false) => Step::new(
                asked,
                self.service(reference.service_port),
                "who may serve it?",
            ),
            (None, false) => Step::new(asked, "nothing", "is it another port of a ClusterIP?"),
            (Some(reference), true) => Step::new(
                asked,
                format!(
                    "a ClusterIP of {}",
                    self.service_alone(reference.service_port)
                ),
                "it exists only with its ports: refuse other ones, drop what has none",
            ),
            (None, true) => Step::new(asked, "nothing", "is it a free address of a ServiceCIDR?"),
        }
    }

    fn describe(&self, info: &FrontendInfo<A>) -> String {
        let kind = names::kind(info.flags);
        let key = names::key(&info.key);
        format!("{kind} {key} of {}", self.service(info.service_port))
    }

    /// Which slots are drawn from; known once the client's class is.
    fn pool(&self) -> Option<Step> {
        let info = self.info.as_ref()?;
        let (whose, pool) = match self.class {
            SourceClass::Outside => ("clients from outside", info.outside),
            SourceClass::Node | SourceClass::Pod => ("pods and nodes", info.inside),
        };
        let local = pool.flags & POOL_LOCAL != 0;
        let policy = if local {
            "policy Local"
        } else {
            "policy Cluster"
        };
        let (found, then) = match pool.count {
            0 if pool.flags & POOL_DROP != 0 => (
                format!("{policy}, no slot"),
                "drop: other nodes have endpoints",
            ),
            0 => (
                format!("{policy}, no slot"),
                "refuse: nobody could serve it",
            ),
            1 => (format!("{policy}, slot {}", pool.first), "take it"),
            count => (
                format!("{policy}, slots {}–{}", pool.first, pool.first + count - 1),
                "draw one by addresses and ports",
            ),
        };
        Some(Step::new(format!("pool for {whose}"), found, then))
    }

    fn service(&self, id: u32) -> String {
        let name = self.tables.services.get(&id);
        name.map_or_else(|| format!("service port #{id}"), ToString::to_string)
    }

    fn service_alone(&self, id: u32) -> String {
        names::served_port(self.tables, id).map_or_else(
            || format!("service port #{id}"),
            |port| port.service.to_string(),
        )
    }
}

/// The flow that a packet belongs to.
pub(super) fn of_flow<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> Step {
    let source = SocketAddr::new(key.source.to_ip(), key.source_port);
    let asked = format!(
        "flows: {source} → {}",
        names::dialled(key.destination.to_ip(), key.destination_port, key.protocol)
    );
    let new_source = SocketAddr::new(flow.source.to_ip(), flow.source_port);
    let new_destination = SocketAddr::new(flow.destination.to_ip(), flow.destination_port);
    let then = if flow.flags & FLOW_REPLY != 0 {
        "go on as a reply: what follows is what a new flow would get"
    } else {
        "go on with this backend: what follows is what a new flow would get"
    };
    Step::new(asked, format!("{new_source} → {new_destination}"), then)
}

/// Who asks where an SCTP socket of the node connects to.
pub(super) fn own_sctp() -> Step {
    Step::new(
        "who sees where the node's own SCTP sockets connect to?",
        "no hook",
        "pass: the packet leaves the node as it is",
    )
}

/// Whether the lookup settles what the client is: the pool comes next.
fn settles_class<A>(lookup: &Lookup<A>, class: SourceClass) -> bool {
    match lookup {
        Lookup::Node(_, is) => *is && class == SourceClass::Node,
        Lookup::Pod(..) => true,
        _ => false,
    }
}

fn describe_backend<A: Family>(backend: &Backend<A>) -> String {
    let place = SocketAddr::new(backend.address.to_ip(), backend.port);
    let has = |flag| backend.flags & flag != 0;
    let what = match (has(BACKEND_HOST_NETWORK), has(BACKEND_LOCAL)) {
        (true, _) => "in this node's network",
        (false, true) => "on this node",
        (false, false) => "on another node",
    };
    let terminating = if has(BACKEND_TERMINATING) {
        ", terminating"
    } else {
        ""
    };
    format!("{place} {what}{terminating}")
}

/// A look whose answer is yes or no: what that says, and what follows.
fn either(asked: String, is: bool, found: [&str; 2], then: [&str; 2]) -> Step {
    let i = usize::from(!is);
    Step::new(asked, found[i], then[i])
}

/// A look at an element that must be there.
fn element(asked: String, found: Option<String>, then: &str) -> Step {
    match found {
        Some(found) => Step::new(asked, found, then),
        None => Step::new(asked, "nothing", "drop: the tables contradict each other"),
    }
}

impl Step {
    fn new(lookup: impl Into<String>, found: impl Into<String>, then: impl Into<String>) -> Self {
        Self {
            lookup: lookup.into(),
            found: found.into(),
            then: then.into(),
        }
    }
}
