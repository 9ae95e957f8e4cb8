//! Which flow does a packet belong to, and how does a flow begin, go on and end?

use lb_common::{
    decide::{Forward, Nat},
    drops::DropReason,
    flow::{mirror, mirror_key},
    layout::{
        FLOW_AFFINITY, FLOW_BRIDGED, FLOW_HAIRPIN, FLOW_OUTSIDE, FLOW_RENUMBERED, FLOW_SNAT, Flow,
        FlowKey,
    },
    tcp,
};

use crate::{
    affinity, apart,
    ip::Wire,
    live::{Live, now},
    maps::{self, Maps, Scratch},
    packet::Packet,
    parse::Headers,
    room, snat,
    transit::{self, Way},
};

/// A flow that was quiet for so many jiffies looks after its other direction. Between a quarter of
/// a second and 2.5 s, whatever the kernel's HZ.
const QUIET: u32 = 256;

/// A flow that is never quiet looks after its other direction with every so many packets.
const PACKETS: u64 = 64;

/// The packet's flow.
#[inline(always)]
pub(crate) fn find<A: Maps>(key: &FlowKey<A>) -> Option<&'static mut Flow<A>> {
    // SAFETY: programs on several CPUs may hold the element at once; each field is a word that is
    // read or written whole, and counters may lose an increment, as their documentation says.
    A::flows()
        .get_ptr_mut(key)
        .map(|flow| unsafe { &mut *flow })
}

/// Takes note of a packet.
///
/// # Errors
/// The other direction was lost, and there is no room to enter it again: the flow is over.
#[inline(always)]
pub(crate) fn touch<A: Maps>(
    headers: &Headers<'_, A>,
    flow: &mut Flow<A>,
) -> Result<(), DropReason> {
    let now = now();
    let quiet = now.wrapping_sub(flow.last_seen);
    let before = flow.state;
    flow.last_seen = now;
    flow.state = tcp::observe(before, headers.tcp_flags);
    flow.packets += 1;
    flow.bytes += headers.length as u64;
    if quiet <= QUIET && !flow.packets.is_multiple_of(PACKETS) && !tcp::ends(headers.tcp_flags) {
        return Ok(());
    }
    match look_after(headers.flow, flow, before) {
        Other::There => {}
        Other::Ended => room::ended_may_go(headers.flow, flow.created),
        Other::Lost => return Err(DropReason::FlowTableFull),
    }
    Ok(())
}

/// What became of a flow's other direction. As wide as a register, as `DropReason` is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Other {
    /// It is there, if only again.
    There,
    /// It is there, and with this packet both have ended.
    Ended,
    /// It was lost and finds no room: neither is there.
    Lost,
}

/// Enters the other direction again if it was lost; `before` is the state before the packet.
///
/// A function of its own to the verifier, which would check it at every place.
#[inline(never)]
fn look_after<A: Maps>(key: &FlowKey<A>, flow: &Flow<A>, before: u8) -> Other {
    let Some(other_key) = room::other_of(key, flow) else {
        return Other::There;
    };
    if let Some(other) = find(other_key) {
        return if tcp::ended(flow.state, other.state) && !tcp::ended(before, other.state) {
            Other::Ended
        } else {
            Other::There
        };
    }
    let Some(scratch) = A::scratch() else {
        return Other::There;
    };
    scratch.reply = mirror(key, flow);
    if A::flows().insert(other_key, &scratch.reply, 0).is_ok() {
        Other::There
    } else {
        room::end(key, flow);
        Other::Lost
    }
}

/// Whether the client's SYN begins a new connection on the ports of this one: it is over, or its
/// backend has been silent for a second. A backend that lives answers such a SYN at once (RFC 9293,
/// section 3.10.7.4), and the client's reset follows if the connection is not known there any more.
///
/// What is over is gone then.
#[inline(never)]
pub(crate) fn gives_way<A: Maps>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    let over = match room::other_of(key, flow).and_then(find) {
        Some(reply) => {
            tcp::ended(flow.state, reply.state) || now().wrapping_sub(reply.last_seen) >= maps::hz()
        }
        None => true,
    };
    if over {
        room::end(key, flow);
    }
    over
}

/// Enters both directions of a new flow, unless the next hook shall do that. The second result is
/// the way of transit.
///
/// # Errors
/// No route, no free port, no room.
#[inline(always)]
pub(crate) fn begin<A: Wire + Maps, P: Packet>(
    packet: &P,
    live: &Live<A>,
    headers: &Headers<'_, A>,
    forward: &Forward<'_, A>,
    draw: u32,
) -> Result<(&'static Flow<A>, Option<Way>), DropReason> {
    let scratch = A::scratch().ok_or(DropReason::FlowTableFull)?;
    let key = headers.flow;
    let now = now();
    scratch.key = *key;
    scratch.flow = Flow {
        source: key.source,
        destination: forward.backend.address,
        source_port: key.source_port,
        destination_port: forward.backend.port,
        flags: flags(forward),
        state: tcp::observe(0, headers.tcp_flags),
        hook: P::HOOK as u8,
        service_port: forward.info.service_port,
        generation: forward.backend.generation,
        created: now,
        last_seen: now,
        packets: 1,
        bytes: headers.length as u64,
    };
    let mut way = None;
    match forward.nat {
        Nat::DestinationOnly => {
            let Scratch { flow, route, .. } = scratch;
            if transit::shares_bridge(packet, headers, &flow.destination, route) {
                flow.flags |= FLOW_BRIDGED;
            }
        }
        Nat::Hairpin => {
            scratch.flow.source = A::snat_address(live.config(), maps::link(packet.link()));
        }
        Nat::Source => {
            let Scratch { flow, route, .. } = scratch;
            let to = transit::way(packet, headers, &flow.destination, route)?;
            let link = match to {
                Way::Out => maps::link(route.ifindex),
                Way::Stack => None,
                Way::NextHook => return Ok((&scratch.flow, Some(to))),
            };
            scratch.flow.source = A::snat_address(live.config(), link);
            way = Some(to);
        }
    }
    let flow = settle(packet, draw)?;
    affinity::remember(forward, &key.source, now);
    Ok((flow, way))
}

/// Enters the flow in the scratch element with a port that tells its replies from others', which is
/// the client's own where that can be kept; the flow, as it was entered.
///
/// # Errors
/// No free port, no room.
#[inline(always)]
pub(crate) fn settle<A: Maps, P: Packet>(
    packet: &P,
    draw: u32,
) -> Result<&'static Flow<A>, DropReason> {
    const ENTERED: u32 = Settled::Entered as u32;
    const NO_PORT: u32 = Settled::NoPort as u32;
    match (packet.settle::<A>(draw), A::scratch()) {
        (ENTERED, Some(scratch)) => Ok(&scratch.flow),
        (NO_PORT, _) => Err(DropReason::SnatExhausted),
        _ => Err(DropReason::FlowTableFull),
    }
}

/// What became of a flow that was to be entered.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Settled {
    /// It is there.
    Entered,
    /// No port is free.
    NoPort,
    /// There is no room.
    NoRoom,
}

/// As [`settle`]; for [`alone`](crate::alone) only.
#[inline(always)]
pub(crate) fn settled<A: Maps, P: Packet>(packet: &P, draw: u32) -> Settled {
    let Some(scratch) = A::scratch() else {
        return Settled::NoRoom;
    };
    let is_masked = scratch.flow.flags & (FLOW_SNAT | FLOW_HAIRPIN) != 0;
    let is_renumbered = !is_masked && apart::is_taken(scratch);
    if is_renumbered {
        scratch.flow.flags |= FLOW_RENUMBERED;
    }
    let has_port = is_masked || is_renumbered;
    if has_port && snat::reserve(packet, scratch, draw).is_err() {
        return Settled::NoPort;
    }
    scratch.reply_key = mirror_key(&scratch.key, &scratch.flow);
    scratch.reply = mirror(&scratch.key, &scratch.flow);
    if room::enter(scratch).is_err() {
        if has_port {
            snat::give_back(&scratch.reply_key);
        }
        return Settled::NoRoom;
    }
    Settled::Entered
}

#[inline(always)]
fn flags<A>(forward: &Forward<'_, A>) -> u16 {
    let nat = match forward.nat {
        Nat::DestinationOnly => 0,
        Nat::Source => FLOW_SNAT,
        Nat::Hairpin => FLOW_HAIRPIN,
    };
    let outside = if forward.outside { FLOW_OUTSIDE } else { 0 };
    let affinity = if forward.by_affinity {
        FLOW_AFFINITY
    } else {
        0
    };
    nat | outside | affinity
}

/// Whether the reply's flow is over; if so, it is gone then.
#[inline(never)]
pub(crate) fn ended<A: Maps>(reply_key: &FlowKey<A>, reply: &Flow<A>) -> bool {
    let over = match room::other_of(reply_key, reply).and_then(find) {
        Some(forward) => tcp::ended(forward.state, reply.state),
        None => true,
    };
    if over {
        room::end(reply_key, reply);
    }
    over
}
