//! The packet path, top to bottom: parse, find or begin the flow, rewrite, send.

use core::mem::MaybeUninit;

use lb_common::{
    addr::{Family, Ip4, Ip6},
    decide::{Arrival, Decision, Request, decide, has_connections},
    drops::DropReason,
    hash::{self, ByFlow},
    layout::{FLOW_BRIDGED, FLOW_HAIRPIN, FLOW_HELD, FLOW_REPLY, FLOW_SNAT, Flow},
    sieve, tcp,
};

use crate::{
    apart, aside,
    fragments::{self, Part},
    globals,
    ip::Wire,
    live::{Live, now},
    maps::{self, Maps},
    packet::{Aside, Packet, Tc, Verdict},
    parse::{Headers, parse},
    rewrite::rewrite,
    track,
    transit::{self, Way},
    unread::unread,
};

/// A packet that enters the node: from a client toward a frontend, or a reply of transit.
#[inline(always)]
pub(crate) fn arriving<P: Packet>(mut packet: P, arrival: Arrival) -> i32 {
    packet.pull();
    match packet.ether_type() {
        Ip4::ETHER_TYPE => {
            let code = enter::<Ip4, P>(packet, arrival);
            Aside::of_code(code).map_or(code, |what| aside::arriving::<Ip4, P>(packet, what))
        }
        Ip6::ETHER_TYPE => {
            let code = enter::<Ip6, P>(packet, arrival);
            Aside::of_code(code).map_or(code, |what| aside::arriving::<Ip6, P>(packet, what))
        }
        _ => packet.finish(Verdict::Pass),
    }
}

/// A packet that leaves the node by a pod's link: a reply toward the client gets the frontend's
/// address back.
#[inline(always)]
pub(crate) fn leaving_to_pod(packet: Tc) -> i32 {
    leaving(packet, false)
}

/// A packet that leaves the node by an uplink: as toward a pod, and what the socket hook could not
/// refuse is refused.
#[inline(always)]
pub(crate) fn leaving_by_uplink(packet: Tc) -> i32 {
    leaving(packet, globals::EGRESS_REFUSES.load() != 0)
}

#[inline(always)]
fn leaving(mut packet: Tc, refuses: bool) -> i32 {
    packet.pull();
    match packet.ether_type() {
        Ip4::ETHER_TYPE => {
            let code = leave::<Ip4>(packet, refuses);
            Aside::of_code(code).map_or(code, |what| aside::leaving::<Ip4>(packet, what))
        }
        Ip6::ETHER_TYPE => {
            let code = leave::<Ip6>(packet, refuses);
            Aside::of_code(code).map_or(code, |what| aside::leaving::<Ip6>(packet, what))
        }
        _ => packet.finish(Verdict::Pass),
    }
}

/// A function of its own to the verifier, so that the families do not share one stack frame.
#[inline(never)]
fn enter<A: Wire + Maps, P: Packet>(mut packet: P, arrival: Arrival) -> i32 {
    let verdict = entering::<A, P>(&mut packet, arrival);
    packet.finish(verdict)
}

#[inline(always)]
fn entering<A: Wire + Maps, P: Packet>(packet: &mut P, arrival: Arrival) -> Verdict {
    let mut key = MaybeUninit::uninit();
    let Some(headers) = parse::<A, P>(packet, &mut key) else {
        return match unread::<A, P>(packet) {
            Some(reason) => Verdict::Drop(reason),
            None => Verdict::Pass,
        };
    };
    if is_foreign(&headers) {
        return Verdict::Pass;
    }
    if let Some(flow) = track::find(headers.flow) {
        if is_turned_at_egress(flow) {
            return if is_held(flow) {
                Verdict::Drop(DropReason::HandedOver)
            } else {
                Verdict::Pass
            };
        }
        if !begins_anew(&headers, flow) {
            return go_on(packet, &headers, flow);
        }
    }
    if headers.flow.protocol == A::ICMP {
        return Verdict::Aside(Aside::Icmp);
    }
    begin(packet, &headers, arrival)
}

/// Whether where the packet goes tells that it is none of our business (`lb_common::sieve`).
#[inline(always)]
fn is_foreign<A: Maps>(headers: &Headers<'_, A>) -> bool {
    let flow = headers.flow;
    headers.part == Part::WHOLE
        && sieve::is_asked(flow.protocol)
        && A::sieve().is_some_and(|sieve| !sieve.holds(&flow.destination, flow.destination_port))
}

/// As `enter`.
#[inline(never)]
fn leave<A: Wire + Maps>(mut packet: Tc, refuses: bool) -> i32 {
    let verdict = leaving_toward_client::<A>(&mut packet, refuses);
    packet.finish(verdict)
}

#[inline(always)]
fn leaving_toward_client<A: Wire + Maps>(packet: &mut Tc, refuses: bool) -> Verdict {
    let mut key = MaybeUninit::uninit();
    let Some(headers) = parse::<A, Tc>(packet, &mut key) else {
        return Verdict::Pass;
    };
    match track::find(headers.flow) {
        Some(flow) if is_turned_at_egress(flow) => {
            if flow.state == 0 && apart::is_of_direct(headers.flow, flow, headers.tcp_flags) {
                return Verdict::Pass;
            }
            if let Err(reason) = track::touch(&headers, flow) {
                return Verdict::Drop(reason);
            }
            if let Err(reason) = fragments::remember(&headers) {
                return Verdict::Drop(reason);
            }
            match rewrite(packet, &headers, flow, 0) {
                Some(()) => Verdict::Pass,
                None => Verdict::Drop(DropReason::KernelRefused),
            }
        }
        None if headers.flow.protocol == A::ICMP => Verdict::Aside(Aside::Icmp),
        None if refuses && may_begin(&headers) && fragments::may_begin(&headers) => {
            Verdict::Aside(Aside::Refuse)
        }
        _ => Verdict::Pass,
    }
}

/// A reply whose addresses change only where it leaves toward the client: the stack between sees
/// the backend's own address.
#[inline(always)]
pub(crate) fn is_turned_at_egress<A>(flow: &Flow<A>) -> bool {
    flow.flags & (FLOW_REPLY | FLOW_SNAT | FLOW_HAIRPIN) == FLOW_REPLY
}

/// A SYN on the ports of a connection that is over, and gone now: the client uses them again. Protocols
/// without connections have no flags.
#[inline(always)]
fn begins_anew<A: Maps>(headers: &Headers<'_, A>, flow: &Flow<A>) -> bool {
    tcp::begins(headers.tcp_flags)
        && flow.flags & FLOW_REPLY == 0
        && track::gives_way(headers.flow, flow)
}

/// Whether a flow may begin with the packet.
#[inline(always)]
fn may_begin<A>(headers: &Headers<'_, A>) -> bool {
    !has_connections(headers.flow.protocol) || tcp::begins(headers.tcp_flags)
}

/// A packet of a flow that is known.
#[inline(always)]
fn go_on<A: Wire + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    flow: &mut Flow<A>,
) -> Verdict {
    if is_held(flow) {
        return Verdict::Drop(DropReason::HandedOver);
    }
    if flow.flags & FLOW_SNAT == 0 {
        return note_and_translate(packet, headers, flow, None);
    }
    let Some(scratch) = A::scratch() else {
        return Verdict::Drop(DropReason::KernelRefused);
    };
    match transit::way(packet, headers, &flow.destination, &mut scratch.route) {
        Ok(Way::NextHook) => Verdict::Pass,
        Ok(to) => note_and_translate(packet, headers, flow, Some(to)),
        Err(reason) => give_up::<P>(reason),
    }
}

/// Takes note of the packet and translates it. Written into its caller twice, once with no way: what is
/// not in transit does not carry along that it might be.
#[inline(always)]
fn note_and_translate<A: Wire + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    flow: &mut Flow<A>,
    way: Option<Way>,
) -> Verdict {
    match track::touch(headers, flow) {
        Ok(()) => translate(packet, headers, flow, way),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Whether the flow is being handed over. Whoever does that may have been ended amid its work, and
/// its clock is not exactly this one.
#[inline(always)]
fn is_held<A>(flow: &Flow<A>) -> bool {
    flow.flags & FLOW_HELD != 0 && {
        let hz = maps::hz();
        now().wrapping_sub(flow.created).wrapping_add(hz) < 2 * hz
    }
}

/// The first packet of a flow, or none of our business.
#[inline(always)]
fn begin<A: Wire + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    arrival: Arrival,
) -> Verdict {
    let Some(live) = Live::<A>::new() else {
        return Verdict::Pass;
    };
    let begins = may_begin(headers);
    let request = Request {
        flow: headers.flow,
        arrival,
        begins,
    };
    let draw = hash::draw(headers.flow, live.config().hash_key);
    let by_flow = ByFlow {
        flow: headers.flow,
        own: draw,
    };
    let begun = match decide(&live, &request, by_flow) {
        Decision::Pass
            if begins && headers.flow.source_port != 0 && fragments::may_begin(headers) =>
        {
            match apart::begin_direct(packet, headers, arrival, draw) {
                Ok(None) => return Verdict::Pass,
                Ok(Some(flow)) => Ok((flow, None)),
                Err(reason) => Err(reason),
            }
        }
        Decision::Pass => return Verdict::Pass,
        Decision::Drop(reason) => return Verdict::Drop(reason),
        // Before what others have in common: LLVM would carry along a reason that a ping has not, which the
        // verifier takes for a register that nobody wrote.
        Decision::AnswerPing if fragments::may_begin(headers) => {
            return Verdict::Aside(Aside::Icmp);
        }
        Decision::AnswerPing => return Verdict::Drop(fragments::why(headers)),
        _ if !fragments::may_begin(headers) => return Verdict::Drop(fragments::why(headers)),
        Decision::Refuse(reason) => {
            maps::count(P::HOOK, reason);
            return Verdict::Aside(Aside::Refuse);
        }
        Decision::Forward(forward) => track::begin(packet, &live, headers, &forward, draw),
    };
    match begun {
        Ok((_, Some(Way::NextHook))) => Verdict::Pass,
        Ok((flow, way)) => translate(packet, headers, flow, way),
        Err(reason) => give_up::<P>(reason),
    }
}

/// The packet goes no further; what a router owes its sender is sent out of line.
#[inline(always)]
fn give_up<P: Packet>(reason: DropReason) -> Verdict {
    let what = match reason {
        DropReason::TimeExceeded => Aside::TimeExceeded,
        DropReason::TooBig => Aside::TooBig,
        _ => return Verdict::Drop(reason),
    };
    maps::count(P::HOOK, reason);
    Verdict::Aside(what)
}

/// Rewrites the packet and says where it goes.
#[inline(always)]
fn translate<A: Wire + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    flow: &Flow<A>,
    way: Option<Way>,
) -> Verdict {
    if let Err(reason) = fragments::remember(headers) {
        return Verdict::Drop(reason);
    }
    match apply(packet, headers, flow, way) {
        None => Verdict::Drop(DropReason::KernelRefused),
        Some(NO_LINK) if way.is_none() && flow.flags & FLOW_HAIRPIN != 0 => Verdict::Back,
        Some(NO_LINK) => Verdict::Pass,
        Some(link) => Verdict::Out(link),
    }
}

/// Number of no link.
const NO_LINK: u32 = 0;

/// Rewrites the packet, and its frame where it does not go up the stack; the link that it goes out of, or
/// [`NO_LINK`]. None if the kernel refused.
#[inline(always)]
fn apply<A: Wire + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    flow: &Flow<A>,
    way: Option<Way>,
) -> Option<u32> {
    let (mut link, mut hops) = (NO_LINK, 0);
    match way {
        Some(Way::Out) => {
            let route = &A::scratch()?.route;
            packet.set_neighbour(route)?;
            link = route.ifindex;
            hops = 1;
        }
        None if flow.flags & FLOW_BRIDGED != 0 => {
            let route = &mut A::scratch()?.route;
            transit::stay_on_bridge(packet, headers, &flow.destination, route)?;
        }
        _ => {}
    }
    rewrite(packet, headers, flow, hops)?;
    Some(link)
}
