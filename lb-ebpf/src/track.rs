//! Which flow does a packet belong to, and how does a flow begin?

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
    affinity,
    live::{Live, now},
    maps::{self, Maps, Scratch},
    packet::Packet,
    parse::{Headers, Wire},
    snat,
    transit::{self, Way},
};

/// A flow that was quiet for so many jiffies looks after its other direction: the flow table may
/// have dropped it meanwhile. Between a quarter of a second and 2.5 s, whatever the kernel's HZ.
const QUIET: u32 = 256;

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
#[inline(always)]
pub(crate) fn touch<A: Maps>(headers: &Headers<A>, flow: &mut Flow<A>) {
    let now = now();
    let quiet = now.wrapping_sub(flow.last_seen);
    flow.last_seen = now;
    flow.state = tcp::observe(flow.state, headers.tcp_flags);
    flow.packets += 1;
    flow.bytes += u64::from(headers.length);
    if quiet > QUIET {
        keep_other_direction(&headers.flow, flow);
    }
}

/// Enters the other direction again if the table lost it.
#[inline(always)]
fn keep_other_direction<A: Maps>(key: &FlowKey<A>, flow: &Flow<A>) {
    let Some(scratch) = A::scratch() else {
        return;
    };
    scratch.reply_key = mirror_key(key, flow);
    scratch.reply = mirror(key, flow);
    if A::flows().get_ptr(&scratch.reply_key).is_none() {
        // The map refuses only when memory is short; the next quiet moment tries again.
        let _later = A::flows().insert(&scratch.reply_key, &scratch.reply, 0);
    }
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
    headers: &Headers<A>,
    forward: &Forward<'_, A>,
    draw: u32,
) -> Result<(&'static Flow<A>, Option<Way>), DropReason> {
    let scratch = A::scratch().ok_or(DropReason::FlowTableFull)?;
    let key = &headers.flow;
    let now = now();
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
        bytes: u64::from(headers.length),
    };
    let mut way = None;
    let keeps_port = match forward.nat {
        Nat::DestinationOnly => {
            let Scratch { flow, route, .. } = scratch;
            if transit::shares_bridge(packet, headers, &flow.destination, route) {
                flow.flags |= FLOW_BRIDGED;
            }
            !is_taken(key, scratch)
        }
        Nat::Hairpin => {
            scratch.flow.source = A::snat_address(live.config(), maps::link(packet.link()));
            false
        }
        Nat::Source => {
            let Scratch { flow, route, .. } = scratch;
            let to = transit::way(packet, headers, &flow.destination, route)?;
            let link = match to {
                Way::Out(route) => maps::link(route.link),
                Way::Stack => None,
                Way::NextHook => return Ok((&scratch.flow, Some(to))),
            };
            scratch.flow.source = A::snat_address(live.config(), link);
            way = Some(to);
            false
        }
    };
    if !keeps_port {
        if forward.nat == Nat::DestinationOnly {
            scratch.flow.flags |= FLOW_RENUMBERED;
        }
        snat::reserve(key, scratch, live.config(), draw)?;
    }
    scratch.reply_key = mirror_key(key, &scratch.flow);
    scratch.reply = mirror(key, &scratch.flow);
    // The reply first: once the packet is on its way, so may the answer be.
    if A::flows()
        .insert(&scratch.reply_key, &scratch.reply, 0)
        .is_err()
        || A::flows().insert(key, &scratch.flow, 0).is_err()
    {
        return Err(DropReason::FlowTableFull);
    }
    affinity::remember(forward, &key.source, now);
    Ok((&scratch.flow, way))
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

/// Whether the backend's reply would be taken for that of another flow that still lives: the same
/// client port through another frontend.
#[inline(always)]
fn is_taken<A: Maps>(key: &FlowKey<A>, scratch: &mut Scratch<A>) -> bool {
    scratch.reply_key = mirror_key(key, &scratch.flow);
    match find(&scratch.reply_key) {
        Some(other) => {
            let same_frontend =
                other.source == key.destination && other.source_port == key.destination_port;
            !same_frontend && !tcp::ended(other.state, 0)
        }
        None => false,
    }
}
