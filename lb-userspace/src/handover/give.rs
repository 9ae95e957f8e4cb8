//! Which connection of nf_conntrack does a flow become? Pure.

use lb_common::decide::{SCTP, UDP};
use lb_common::flow::{Stage, mirror, stage};
use lb_common::layout::{FLOW_BRIDGED, FLOW_HAIRPIN, FLOW_SNAT, Flow, FlowKey};

use super::{Circumstances, Fate, Passage, Way, Why, ends_of_flow, ends_of_key};
use crate::netlink::conntrack::NewConnection;
use crate::tables::PerFamily;

/// Seconds that the first packet may take; it sets nf_conntrack's own time.
const TCP_TIMEOUT: u32 = 86_400;
const UDP_TIMEOUT: u32 = 120;

/// The last packets of a connection come within this part of a second.
const LAST_PACKETS: u32 = 16;

/// What becomes of a flow, told by the entries of both its directions.
pub(super) fn give<A: PerFamily>(
    key: &FlowKey<A>,
    flow: &Flow<A>,
    reply: Option<&Flow<A>>,
    hz: u32,
    circumstances: Circumstances,
) -> Fate<A> {
    let reply = reply.copied().unwrap_or_else(|| mirror(key, flow));
    let stage = stage(key.protocol, flow, &reply, hz);
    let (dialled, carried) = (ends_of_key(key), ends_of_flow(flow));
    if dialled == carried {
        return Fate::Nothing;
    }
    if matches!(stage, Stage::Ended | Stage::Reset) {
        // Its last packets may be under way.
        let quiet = |seen: u32| circumstances.now.wrapping_sub(seen).cast_signed();
        let quiet = quiet(flow.last_seen).min(quiet(reply.last_seen));
        let is_recent = quiet < (hz / LAST_PACKETS).cast_signed();
        return if is_recent { Fate::Later } else { Fate::Over };
    }
    if key.protocol == SCTP {
        return Fate::Stays(Why::Sctp);
    }
    if flow.flags & FLOW_BRIDGED != 0 && !circumstances.bridged {
        return Fate::Stays(Why::Bridged);
    }
    if stage == Stage::Opening {
        return Fate::Later;
    }
    let is_through_stack = flow.flags & (FLOW_SNAT | FLOW_HAIRPIN) == 0;
    let is_udp = key.protocol == UDP;
    Fate::Passes(Box::new(Passage {
        key: *key,
        flow: *flow,
        reply,
        way: Way::Give {
            new: NewConnection {
                protocol: key.protocol,
                original: dialled,
                reply: carried.turned(),
                answered: !is_udp || reply.state != 0,
                half_closed: stage == Stage::HalfClosed,
                mark: 0,
                timeout: if is_udp { UDP_TIMEOUT } else { TCP_TIMEOUT },
            },
            seen: is_through_stack.then_some(carried),
        },
    }))
}
