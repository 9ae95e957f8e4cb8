//! The packet path, top to bottom: parse, find or begin the flow, rewrite, send.

use lb_common::{
    addr::{Family, Ip4, Ip6},
    decide::{Arrival, Decision, Request, TCP, decide},
    drops::DropReason,
    hash,
    layout::{FLOW_HAIRPIN, FLOW_REPLY, FLOW_SNAT, Flow},
    tcp,
};

use crate::{
    live::Live,
    maps::Maps,
    packet::{Packet, Verdict},
    parse::{Headers, Wire, parse},
    refuse::refuse,
    rewrite::rewrite,
    track,
    transit::{self, Way},
};

/// A packet that enters the node: from a client toward a frontend, or a reply of transit.
#[inline(always)]
pub(crate) fn arriving<P: Packet>(mut packet: P, arrival: Arrival) -> i32 {
    packet.pull();
    match packet.ether_type() {
        Ip4::ETHER_TYPE => enter::<Ip4, P>(packet, arrival),
        Ip6::ETHER_TYPE => enter::<Ip6, P>(packet, arrival),
        _ => packet.finish(Verdict::Pass),
    }
}

/// A packet that leaves the node: a reply toward the client gets the frontend's address back.
#[inline(always)]
pub(crate) fn leaving<P: Packet>(mut packet: P) -> i32 {
    packet.pull();
    match packet.ether_type() {
        Ip4::ETHER_TYPE => leave::<Ip4, P>(packet),
        Ip6::ETHER_TYPE => leave::<Ip6, P>(packet),
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
    let Some(headers) = parse::<A, P>(packet) else {
        return Verdict::Pass;
    };
    if let Some(flow) = track::find(&headers.flow) {
        if is_turned_at_egress(flow) {
            return Verdict::Pass;
        }
        if !begins_anew(&headers, flow) {
            return go_on(packet, &headers, flow);
        }
    }
    begin(packet, &headers, arrival)
}

/// As `enter`.
#[inline(never)]
fn leave<A: Wire + Maps, P: Packet>(mut packet: P) -> i32 {
    let verdict = leaving_toward_client::<A, P>(&mut packet);
    packet.finish(verdict)
}

#[inline(always)]
fn leaving_toward_client<A: Wire + Maps, P: Packet>(packet: &mut P) -> Verdict {
    let Some(headers) = parse::<A, P>(packet) else {
        return Verdict::Pass;
    };
    match track::find(&headers.flow) {
        Some(flow) if is_turned_at_egress(flow) => {
            track::touch(&headers, flow);
            match rewrite(packet, &headers, flow) {
                Some(()) => Verdict::Pass,
                None => Verdict::Drop(DropReason::KernelRefused),
            }
        }
        _ => Verdict::Pass,
    }
}

/// A reply whose addresses change only where it leaves toward the client: the stack between sees
/// the backend's own address.
#[inline(always)]
fn is_turned_at_egress<A>(flow: &Flow<A>) -> bool {
    flow.flags & (FLOW_REPLY | FLOW_SNAT | FLOW_HAIRPIN) == FLOW_REPLY
}

/// A SYN on the ports of a connection that went further than that: the client uses them again.
#[inline(always)]
fn begins_anew<A>(headers: &Headers<A>, flow: &Flow<A>) -> bool {
    headers.flow.protocol == TCP
        && tcp::begins(headers.tcp_flags)
        && flow.flags & FLOW_REPLY == 0
        && flow.state & (tcp::ACK | tcp::FIN | tcp::RST) != 0
}

/// A packet of a flow that is known.
#[inline(always)]
fn go_on<A: Wire + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    flow: &mut Flow<A>,
) -> Verdict {
    if flow.flags & FLOW_SNAT == 0 {
        track::touch(headers, flow);
        return translate(packet, headers, flow, None);
    }
    match transit::way(packet, headers, &flow.destination) {
        Ok(Way::NextHook) => Verdict::Pass,
        Ok(way) => {
            track::touch(headers, flow);
            translate(packet, headers, flow, Some(way))
        }
        Err(reason) => Verdict::Drop(reason),
    }
}

/// The first packet of a flow, or none of our business.
#[inline(always)]
fn begin<A: Wire + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    arrival: Arrival,
) -> Verdict {
    let Some(live) = Live::<A>::new() else {
        return Verdict::Pass;
    };
    let begins = headers.flow.protocol != TCP || tcp::begins(headers.tcp_flags);
    let request = Request {
        flow: &headers.flow,
        arrival,
        begins,
    };
    let draw = hash::draw(&headers.flow, live.config().hash_key);
    let forward = match decide(&live, &request, draw) {
        Decision::Pass => return Verdict::Pass,
        Decision::Drop(reason) => return Verdict::Drop(reason),
        Decision::Refuse(reason) => return refuse(packet, headers, live.config().hz, reason),
        Decision::Forward(forward) => forward,
    };
    match track::begin(packet, &live, headers, &forward, draw) {
        Ok((_, Some(Way::NextHook))) => Verdict::Pass,
        Ok((flow, way)) => translate(packet, headers, flow, way),
        Err(reason) => Verdict::Drop(reason),
    }
}

/// Rewrites the packet and says where it goes.
#[inline(always)]
fn translate<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    flow: &Flow<A>,
    way: Option<Way>,
) -> Verdict {
    let leaves = matches!(way, Some(Way::Out(_)));
    if leaves && A::count_down(packet, headers).is_none() {
        return Verdict::Drop(DropReason::KernelRefused);
    }
    if rewrite(packet, headers, flow).is_none() {
        return Verdict::Drop(DropReason::KernelRefused);
    }
    match way {
        Some(Way::Out(route)) => Verdict::Out(route),
        None if flow.flags & FLOW_HAIRPIN != 0 => Verdict::Back,
        _ => Verdict::Pass,
    }
}
