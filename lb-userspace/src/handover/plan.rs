//! What becomes of all connections, and of which of them must people know? Pure.

use std::collections::BTreeMap;

use lb_common::addr::{Ip4, Ip6};
use lb_common::flow::mirror_key;
use lb_common::layout::{FLOW_REPLY, Flow, FlowKey};

use super::give::give;
use super::take::{Known, key, take};
use super::{Fate, Over, Passage, Passenger, Why};
use crate::dataplane::kernel::FlowEntry;
use crate::netlink::conntrack::Connection;
use crate::tables::{PerFamily, Tables};

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Connections of IPv4 that pass.
    pub v4: Vec<Passage<Ip4>>,
    /// Connections of IPv6 that pass.
    pub v6: Vec<Passage<Ip6>>,
    /// Those that stay where they are, and why.
    pub stay: Vec<(Passenger, Why)>,
    /// Those that cannot be told yet, as their handshake is under way.
    pub later: Vec<Passenger>,
    /// What is to be forgotten.
    pub over: Vec<Over>,
}

/// What holds for all flows.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Jiffies now, low 32 bits.
    pub now: u32,
    /// Whether netfilter sees packets that stay on a bridge.
    pub bridged: bool,
}

impl Plan {
    /// How many pass.
    #[must_use]
    pub fn passing(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Those that pass, as people know them.
    pub fn passengers(&self) -> impl Iterator<Item = Passenger> {
        let v4 = self.v4.iter().map(Passage::passenger);
        v4.chain(self.v6.iter().map(Passage::passenger))
    }
}

/// What becomes of the connections that nf_conntrack knows.
#[must_use]
pub fn take_all(connections: &[Connection], tables: &Tables, circumstances: Circumstances) -> Plan {
    let mut plan = Plan::default();
    let (known4, known6) = (
        Known::<Ip4>::new(tables, circumstances.now),
        Known::<Ip6>::new(tables, circumstances.now),
    );
    for connection in connections {
        if let Some(key) = key::<Ip4>(connection) {
            let passenger = Passenger::of_connection(connection, known4.service_port(&key));
            let passes = plan.note(
                take(connection, key, &known4),
                passenger,
                Over::Theirs(*connection),
            );
            plan.v4.extend(passes);
        } else if let Some(key) = key::<Ip6>(connection) {
            let passenger = Passenger::of_connection(connection, known6.service_port(&key));
            let passes = plan.note(
                take(connection, key, &known6),
                passenger,
                Over::Theirs(*connection),
            );
            plan.v6.extend(passes);
        }
    }
    plan.sort();
    plan
}

/// What becomes of our flows; `hz`: jiffies in a second.
#[must_use]
pub fn give_all(
    flows4: &[FlowEntry<Ip4>],
    flows6: &[FlowEntry<Ip6>],
    hz: u32,
    circumstances: Circumstances,
) -> Plan {
    let mut plan = Plan::default();
    plan.v4 = give_family(flows4, hz, circumstances, Over::Ours4, &mut plan);
    plan.v6 = give_family(flows6, hz, circumstances, Over::Ours6, &mut plan);
    plan.sort();
    plan
}

fn give_family<A: PerFamily>(
    entries: &[FlowEntry<A>],
    hz: u32,
    circumstances: Circumstances,
    over: impl Fn(FlowKey<A>, Flow<A>) -> Over,
    plan: &mut Plan,
) -> Vec<Passage<A>> {
    let is_reply = |(_, flow): &&FlowEntry<A>| flow.flags & FLOW_REPLY != 0;
    let replies: BTreeMap<_, _> = entries
        .iter()
        .filter(is_reply)
        .map(|(key, flow)| (key, flow))
        .collect();
    let forward = entries.iter().filter(|entry| !is_reply(entry));
    forward
        .filter_map(|(key, flow)| {
            let reply = replies.get(&mirror_key(key, flow)).copied();
            let fate = give(key, flow, reply, hz, circumstances);
            plan.note(fate, Passenger::of_flow(key, flow), over(*key, *flow))
        })
        .collect()
}

impl Plan {
    /// Notes the connection where it belongs, unless it passes.
    fn note<A>(&mut self, fate: Fate<A>, passenger: Passenger, over: Over) -> Option<Passage<A>> {
        match fate {
            Fate::Nothing => {}
            Fate::Later => self.later.push(passenger),
            Fate::Over => self.over.push(over),
            Fate::Passes(passage) => return Some(*passage),
            Fate::Stays(why) => self.stay.push((passenger, why)),
        }
        None
    }

    fn sort(&mut self) {
        self.stay.sort_unstable();
        self.later.sort_unstable();
    }
}
