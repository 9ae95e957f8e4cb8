//! Which connections are known, and where does each go?

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::addr::Family;
use lb_common::drops::Hook;
use lb_common::flow::mirror_key;
use lb_common::layout::{
    FLOW_AFFINITY, FLOW_DIRECT, FLOW_HAIRPIN, FLOW_OUTSIDE, FLOW_RENUMBERED, FLOW_REPLY, FLOW_SNAT,
    Flow, FlowKey,
};
use lb_common::tcp;
use serde::Serialize;

use super::index::{Index, PortName, protocol};
use super::{Column, Record, age, column, joined, port_name, wide};
use crate::model::{ObjectName, Protocol};

/// The kernel's clock, by which entries are dated.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Jiffies now, low 32 bits.
    pub now: u32,
    /// Jiffies in a second.
    pub hz: u32,
}

/// Jiffies begin so many seconds before they wrap around (`INITIAL_JIFFIES`).
const WRAP_AFTER_SECONDS: u32 = 300;

impl Clock {
    /// The clock after so long a time of CLOCK_MONOTONIC, to less than a second.
    #[must_use]
    pub fn at(uptime: Duration, hz: u32) -> Self {
        let passed = uptime.as_millis() * u128::from(hz) / 1_000;
        let first = WRAP_AFTER_SECONDS.wrapping_mul(hz).wrapping_neg();
        Self {
            now: first.wrapping_add(passed as u32),
            hz,
        }
    }
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowRecord {
    /// Its Service.
    #[serde(flatten)]
    pub service: ObjectName,
    /// Name of the Service's port; empty = unnamed.
    pub port_name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Who asks.
    pub client: SocketAddr,
    /// What it dialled.
    pub frontend: SocketAddr,
    /// Who answers.
    pub backend: SocketAddr,
    /// Whom the backend sees, where that is not the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_as: Option<SocketAddr>,
    /// How far it has come.
    pub state: State,
    /// Where it was balanced.
    pub hook: &'static str,
    /// What is particular about it: `snat`, `hairpin`, `outside`, `renumbered`, `affinity`,
    /// `direct`.
    pub marks: Vec<&'static str>,
    /// Seconds since a packet came, in either direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u32>,
    /// Seconds since it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u32>,
    /// Packets from the client.
    pub packets_sent: u64,
    /// Packets to the client.
    pub packets_received: u64,
    /// Bytes from the client, from the IP header on.
    pub bytes_sent: u64,
    /// Bytes to the client, from the IP header on.
    pub bytes_received: u64,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Nothing came back yet.
    Unanswered,
    /// Packets came both ways.
    Established,
    /// One side has ended it.
    Closing,
    /// Both sides have, or one has reset it.
    Ended,
}

/// All connections among the entries of one family; `clock` dates them if it is known.
#[must_use]
pub fn flows<A: Family>(
    index: &Index<'_>,
    entries: &[(FlowKey<A>, Flow<A>)],
    clock: Option<Clock>,
) -> Vec<FlowRecord> {
    let replies: BTreeMap<_, _> = entries
        .iter()
        .filter(|(_, flow)| flow.flags & FLOW_REPLY != 0)
        .map(|(key, flow)| (*key, *flow))
        .collect();
    let mut records: Vec<_> = entries
        .iter()
        .filter(|(_, flow)| flow.flags & FLOW_REPLY == 0)
        .map(|(key, flow)| {
            let reply = replies.get(&mirror_key(key, flow));
            record(index.port(flow.service_port), key, flow, reply, clock)
        })
        .collect();
    records.sort();
    records
}

fn record<A: Family>(
    port: PortName,
    key: &FlowKey<A>,
    flow: &Flow<A>,
    reply: Option<&Flow<A>>,
    clock: Option<Clock>,
) -> FlowRecord {
    let client = SocketAddr::new(key.source.to_ip(), key.source_port);
    let seen_as = SocketAddr::new(flow.source.to_ip(), flow.source_port);
    let quiet = |now: u32| {
        let back = reply.map_or(u32::MAX, |reply| now.wrapping_sub(reply.last_seen));
        now.wrapping_sub(flow.last_seen).min(back)
    };
    FlowRecord {
        service: port.service,
        port_name: port.name,
        protocol: protocol(key.protocol),
        client,
        frontend: SocketAddr::new(key.destination.to_ip(), key.destination_port),
        backend: SocketAddr::new(flow.destination.to_ip(), flow.destination_port),
        seen_as: (seen_as != client).then_some(seen_as),
        state: state(flow.state, reply.map_or(0, |reply| reply.state)),
        hook: Hook::ALL
            .get(usize::from(flow.hook))
            .map_or("unknown", |hook| hook.name()),
        marks: marks(flow.flags),
        idle_seconds: clock.map(|clock| quiet(clock.now) / clock.hz.max(1)),
        age_seconds: clock.map(|clock| clock.now.wrapping_sub(flow.created) / clock.hz.max(1)),
        packets_sent: flow.packets,
        packets_received: reply.map_or(0, |reply| reply.packets),
        bytes_sent: flow.bytes,
        bytes_received: reply.map_or(0, |reply| reply.bytes),
    }
}

fn state(sent: u8, received: u8) -> State {
    if tcp::ended(sent, received) {
        State::Ended
    } else if (sent | received) & tcp::FIN != 0 {
        State::Closing
    } else if received & tcp::SEEN != 0 {
        State::Established
    } else {
        State::Unanswered
    }
}

fn marks(flags: u16) -> Vec<&'static str> {
    let all = [
        (FLOW_SNAT, "snat"),
        (FLOW_HAIRPIN, "hairpin"),
        (FLOW_OUTSIDE, "outside"),
        (FLOW_RENUMBERED, "renumbered"),
        (FLOW_AFFINITY, "affinity"),
        (FLOW_DIRECT, "direct"),
    ];
    all.into_iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, mark)| mark)
        .collect()
}

fn duration_cell(seconds: Option<u32>) -> String {
    seconds.map_or_else(
        || "<unknown>".to_owned(),
        |seconds| age(Duration::from_secs(seconds.into())),
    )
}

impl Record for FlowRecord {
    const KIND: &'static str = "flow";
    const COLUMNS: &'static [Column<Self>] = &[
        column("SERVICE", |flow| flow.service.name.to_string()),
        column("PORT", |flow| port_name(&flow.port_name)),
        column("PROTOCOL", |flow| flow.protocol.to_string()),
        column("CLIENT", |flow| flow.client.to_string()),
        column("FRONTEND", |flow| flow.frontend.to_string()),
        column("BACKEND", |flow| flow.backend.to_string()),
        column("STATE", |flow| {
            match flow.state {
                State::Unanswered => "Unanswered",
                State::Established => "Established",
                State::Closing => "Closing",
                State::Ended => "Ended",
            }
            .to_owned()
        }),
        column("IDLE", |flow| duration_cell(flow.idle_seconds)),
        wide("AGE", |flow| duration_cell(flow.age_seconds)),
        wide("HOOK", |flow| flow.hook.to_owned()),
        wide("SEEN-AS", |flow| {
            flow.seen_as
                .map_or_else(String::new, |seen| seen.to_string())
        }),
        wide("MARKS", |flow| joined(&flow.marks)),
        wide("PACKETS", |flow| {
            format!("{}/{}", flow.packets_sent, flow.packets_received)
        }),
        wide("BYTES", |flow| {
            format!("{}/{}", flow.bytes_sent, flow.bytes_received)
        }),
    ];

    fn object(&self) -> &ObjectName {
        &self.service
    }

    fn name(&self) -> String {
        format!("{}/{}-{}", self.client, self.protocol, self.frontend)
    }

    fn is_called(&self, name: &str) -> bool {
        let ends = [self.client, self.frontend, self.backend];
        self.name() == name
            || ends
                .iter()
                .any(|end| name.parse() == Ok(*end) || name.parse() == Ok(end.ip()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `/proc/timer_list` and the uptime told on a machine with 250 Hz.
    #[test]
    fn jiffies_follow_the_uptime() {
        let clock = Clock::at(Duration::from_millis(4_360_065), 250);
        assert_eq!(clock.now.abs_diff(4_295_982_217_u64 as u32) / clock.hz, 0);
    }
}
