//! How are a client's connections to one backend kept apart that the backend could not tell: through
//! two frontends, or through one and directly? The later one gets another port.
//!
//! Direct connections are none of our business until they meet one that is. Then they become flows
//! as others are, which are translated into themselves (but for the port, if they came later).

use lb_common::{
    decide::{Arrival, TCP},
    drops::{DropReason, Hook},
    flow::{mirror, mirror_key},
    layout::{FLOW_DIRECT, FLOW_RENUMBERED, FLOW_REPLY, Flow, FlowKey, LINK_XDP},
    tcp,
};

use crate::{
    ip::Wire,
    live::now,
    maps::{self, Maps, Scratch},
    packet::Packet,
    parse::Headers,
    room, track,
};

/// From link to link a packet takes microseconds: two jiffies, in case one ends meanwhile.
const JUST_NOW: u32 = 2;

/// Whether the backend's reply would be taken for that of another flow that still lives: the same
/// client port through another frontend, or directly. One that is over goes.
#[inline(always)]
pub(crate) fn is_taken<A: Maps>(scratch: &mut Scratch<A>) -> bool {
    let key = &scratch.key;
    scratch.reply_key = mirror_key(key, &scratch.flow);
    match track::find(&scratch.reply_key) {
        Some(other)
            if other.source != key.destination || other.source_port != key.destination_port =>
        {
            !track::ended(&scratch.reply_key, other)
        }
        _ => false,
    }
}

/// Begins a flow for a packet that is for no frontend, if its replies would be taken for those of a
/// flow through one; none if they would not.
///
/// # Errors
/// No free port, no room.
#[inline(always)]
pub(crate) fn begin_direct<A: Wire + Maps, P: Packet>(
    packet: &P,
    headers: &Headers<'_, A>,
    arrival: Arrival,
    draw: u32,
) -> Result<Option<&'static Flow<A>>, DropReason> {
    let key = headers.flow;
    let Some(rival) = rival(key) else {
        return Ok(None);
    };
    if is_second_time(packet, key, headers.tcp_flags, arrival, rival) {
        return Ok(None);
    }
    let scratch = A::scratch().ok_or(DropReason::FlowTableFull)?;
    let now = now();
    scratch.key = *key;
    scratch.flow = Flow {
        flags: FLOW_DIRECT,
        state: tcp::observe(0, headers.tcp_flags),
        hook: P::HOOK as u8,
        service_port: rival.service_port,
        generation: rival.generation,
        created: now,
        last_seen: now,
        packets: 1,
        bytes: headers.length as u64,
        ..itself(key)
    };
    track::settle(packet, draw).map(Some)
}

/// The entry of packets that would be this one's replies, if it is of a flow through a frontend.
#[inline(never)]
fn rival<A: Maps>(key: &FlowKey<A>) -> Option<&'static Flow<A>> {
    let reply_key = turned(key);
    let reply = track::find(&reply_key)?;
    let is_rival =
        reply.flags & (FLOW_REPLY | FLOW_DIRECT) == FLOW_REPLY && !track::ended(&reply_key, reply);
    is_rival.then_some(reply)
}

/// Whether the packet is no rival but of the flow itself, and was translated before it came here: by
/// XDP, or at a link below this one (a port of a bond or bridge).
///
/// Nothing is below a pod's link. XDP has met the rivals itself where it runs. Elsewhere the flow has
/// seen its packet just now; a SYN after the handshake is none that it translated.
#[inline(never)]
fn is_second_time<A: Maps, P: Packet>(
    packet: &P,
    key: &FlowKey<A>,
    tcp_flags: u8,
    arrival: Arrival,
    reply: &Flow<A>,
) -> bool {
    if arrival == Arrival::PodLink || P::HOOK == Hook::Xdp {
        return false;
    }
    if maps::link(packet.link()).is_some_and(|link| link.flags & LINK_XDP != 0) {
        return true;
    }
    let Some(forward) = track::find(&mirror_key(&turned(key), reply)) else {
        return false;
    };
    let is_new = tcp::begins(tcp_flags) && forward.state & tcp::ACK != 0;
    !is_new && now().wrapping_sub(forward.last_seen) <= JUST_NOW
}

/// Whether a reply belongs to a direct connection that was there before the flow whose ports it has:
/// a backend that has nothing but the client's SYN answers by a SYN or a reset. The flow ends, and
/// gets another port when the client repeats its SYN; the connection becomes a flow of its own.
#[inline(never)]
pub(crate) fn is_of_direct<A: Maps>(key: &FlowKey<A>, reply: &Flow<A>, flags: u8) -> bool {
    let is_first = key.protocol == TCP
        && flags & (tcp::SYN | tcp::RST) == 0
        && reply.flags & FLOW_RENUMBERED == 0;
    if !is_first {
        return false;
    }
    let (Some(forward), Some(scratch)) = (
        room::other_of(key, reply).and_then(track::find),
        A::scratch(),
    ) else {
        return false;
    };
    if forward.state & tcp::ACK != 0 {
        return false;
    }
    let now = now();
    scratch.reply_key = *key;
    scratch.key = turned(key);
    scratch.flow = Flow {
        flags: FLOW_DIRECT,
        state: tcp::observe(0, tcp::ACK),
        hook: reply.hook,
        service_port: reply.service_port,
        generation: reply.generation,
        created: now,
        last_seen: now,
        ..itself(&scratch.key)
    };
    scratch.reply = mirror(&scratch.key, &scratch.flow);
    scratch.reply.state = tcp::observe(0, flags);
    room::end(key, reply);
    // Without room the connection goes on as before, and meets the flow's next beginning again.
    let _without = room::enter(scratch);
    true
}

/// The key of packets in the opposite direction, nothing being translated.
#[inline(always)]
fn turned<A: Maps>(key: &FlowKey<A>) -> FlowKey<A> {
    FlowKey {
        source: key.destination,
        destination: key.source,
        source_port: key.destination_port,
        destination_port: key.source_port,
        ..*key
    }
}

/// The flow that leaves packets as they are.
#[inline(always)]
fn itself<A: Maps>(key: &FlowKey<A>) -> Flow<A> {
    Flow {
        source: key.source,
        destination: key.destination,
        source_port: key.source_port,
        destination_port: key.destination_port,
        ..Flow::default()
    }
}
