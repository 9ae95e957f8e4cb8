//! Which flow does a connection of nf_conntrack become? Pure.

use std::collections::BTreeMap;

use lb_common::decide::{Arrival, SCTP, SourceClass, TCP, Tables as _, source_class};
use lb_common::drops::Hook;
use lb_common::flow::{ASSURED_AFTER_SECONDS, mirror};
use lb_common::layout::{
    FLOW_HAIRPIN, FLOW_OUTSIDE, FLOW_RENUMBERED, FLOW_SNAT, Flow, FlowKey, FrontendKey,
};
use lb_common::tcp;

use super::{Fate, Passage, Way, Why};
use crate::netlink::conntrack::{Connection, Status, TcpState};
use crate::tables::{PerFamily, Tables, View};

/// What a connection is compared with.
pub(super) struct Known<'t, A: PerFamily> {
    view: View<'t, A>,
    /// Generation of each backend, by service port, address and port.
    backends: BTreeMap<(u32, A, u16), u32>,
    /// Jiffies now, low 32 bits, and in a second.
    now: u32,
    hz: u32,
}

impl<'t, A: PerFamily> Known<'t, A> {
    pub(super) fn new(tables: &'t Tables, now: u32) -> Self {
        let backends = A::of(tables).backends.values();
        Self {
            view: View::new(tables),
            backends: backends
                .map(|backend| {
                    let place = (backend.service_port, backend.address, backend.port);
                    (place, backend.generation)
                })
                .collect(),
            now,
            hz: tables.config.hz,
        }
    }

    /// Id of the service port whose frontend this is.
    pub(super) fn service_port(&self, key: &FlowKey<A>) -> Option<u32> {
        let frontend = FrontendKey {
            address: key.destination,
            port: key.destination_port,
            protocol: key.protocol,
            reserved: 0,
        };
        let reference = self.view.frontend(&frontend)?;
        let info = self.view.info(reference.info)?;
        (info.key == frontend).then_some(info.service_port)
    }
}

/// The client's packets, as they arrive; none if they are of the other family.
pub(super) fn key<A: PerFamily>(connection: &Connection) -> Option<FlowKey<A>> {
    let ends = connection.original;
    Some(FlowKey {
        source: A::from_ip(ends.source.ip())?,
        destination: A::from_ip(ends.destination.ip())?,
        source_port: ends.source.port(),
        destination_port: ends.destination.port(),
        protocol: connection.protocol,
        reserved: [0; 3],
    })
}

/// What becomes of a connection with this key.
pub(super) fn take<A: PerFamily>(
    connection: &Connection,
    key: FlowKey<A>,
    known: &Known<'_, A>,
) -> Fate<A> {
    if !connection.status.contains(Status::DstNat) {
        return Fate::Nothing;
    }
    if connection.tcp == Some(TcpState::Ended) {
        let is_ours = known.service_port(&key).is_some();
        return if is_ours { Fate::Over } else { Fate::Nothing };
    }
    if let Some(why) = unfit(connection, &key, known) {
        return Fate::Stays(why);
    }
    let Some(service_port) = known.service_port(&key) else {
        return Fate::Stays(Why::UnknownFrontend);
    };
    let back = connection.reply;
    let (Some(backend), Some(seen_as)) = (
        A::from_ip(back.source.ip()),
        A::from_ip(back.destination.ip()),
    ) else {
        return Fate::Nothing;
    };
    let place = (service_port, backend, back.source.port());
    let Some(generation) = known.backends.get(&place) else {
        return Fate::Stays(Why::UnknownBackend);
    };
    if connection.tcp == Some(TcpState::Opening) {
        return Fate::Later;
    }
    let seen_port = back.destination.port();
    let nat = nat(&key, seen_as, seen_port, backend);
    if nat & (FLOW_SNAT | FLOW_HAIRPIN) != 0 && known.view.is_node(&backend) {
        return Fate::Stays(Why::MasqueradedToNode);
    }
    let outside = source_class(&known.view, &key.source, Arrival::Unknown) == SourceClass::Outside;
    let (state, reply_state) = states(connection);
    let flow = Flow {
        source: seen_as,
        destination: backend,
        source_port: seen_port,
        destination_port: back.source.port(),
        flags: nat | if outside { FLOW_OUTSIDE } else { 0 },
        state,
        hook: Hook::Tc as u8,
        service_port,
        generation: *generation,
        created: began(connection, known),
        last_seen: known.now,
        packets: 0,
        bytes: 0,
    };
    Fate::Passes(Box::new(Passage {
        key,
        flow,
        reply: Flow {
            state: reply_state,
            ..mirror(&key, &flow)
        },
        way: Way::Take { known: *connection },
    }))
}

/// What of a connection no flow can say.
fn unfit<A: PerFamily>(
    connection: &Connection,
    key: &FlowKey<A>,
    known: &Known<'_, A>,
) -> Option<Why> {
    let is_of_node = known.view.is_node(&key.source) || key.source.to_ip().is_loopback();
    [
        (connection.zone != 0, Why::Zone),
        (key.protocol == SCTP, Why::Sctp),
        (is_of_node, Why::OfNode),
        (connection.status.contains(Status::SeqAdjust), Why::Sequence),
        (connection.status.contains(Status::Offload), Why::Offloaded),
    ]
    .into_iter()
    .find_map(|(is_so, why)| is_so.then_some(why))
}

/// What changes besides the destination.
fn nat<A: PerFamily>(key: &FlowKey<A>, seen_as: A, seen_port: u16, backend: A) -> u16 {
    if seen_as != key.source {
        if backend == key.source {
            FLOW_HAIRPIN
        } else {
            FLOW_SNAT
        }
    } else if seen_port != key.source_port {
        FLOW_RENUMBERED
    } else {
        0
    }
}

/// What each direction has shown.
fn states(connection: &Connection) -> (u8, u8) {
    let is_answered = connection.status.contains(Status::SeenReply);
    if connection.protocol != TCP {
        return (tcp::SEEN, if is_answered { tcp::SEEN } else { 0 });
    }
    let open = tcp::SEEN | tcp::SYN | tcp::ACK;
    // Which side has ended it is not known: it lasts as long either way.
    if connection.tcp == Some(TcpState::HalfClosed) {
        (open | tcp::FIN, open)
    } else {
        (open, open)
    }
}

/// When it began, as far as that counts: what is assured has lasted for a while.
fn began<A: PerFamily>(connection: &Connection, known: &Known<'_, A>) -> u32 {
    if connection.status.contains(Status::Assured) {
        known.now.wrapping_sub(ASSURED_AFTER_SECONDS * known.hz)
    } else {
        known.now
    }
}
