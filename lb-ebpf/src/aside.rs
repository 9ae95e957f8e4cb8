//! What happens out of line? What is rare: ICMP, and telling somebody that a packet went no further.
//!
//! Functions of their own to the verifier, beside those of the path and not under them: the frames
//! of a call add up, and there are 512 bytes for all.

use core::{hint::black_box, mem::MaybeUninit};

use lb_common::{
    decide::{Arrival, Decision, Request, Tables as _, decide},
    layout::FlowKey,
};

use crate::{
    icmp,
    live::Live,
    maps::{self, Maps},
    messages::Messages,
    packet::{Aside, Packet, Tc, Verdict},
    parse::{Headers, parse},
    refuse,
};

/// A packet that enters the node.
#[inline(never)]
pub(crate) fn arriving<A: Messages + Maps, P: Packet>(mut packet: P, what: Aside) -> i32 {
    let verdict = verdict::<A, P>(&mut packet, what);
    packet.finish(verdict)
}

#[inline(always)]
fn verdict<A: Messages + Maps, P: Packet>(packet: &mut P, what: Aside) -> Verdict {
    let mut key = MaybeUninit::uninit();
    let Some(headers) = read::<A, P>(packet, &mut key) else {
        return Verdict::Pass;
    };
    let Some(live) = Live::<A>::new() else {
        return Verdict::Pass;
    };
    match what {
        Aside::Icmp => icmp::arriving(packet, &headers, &live),
        _ => refuse::answer(packet, &headers, live.config(), what),
    }
}

/// Reads the headers. Where they begin is hidden from LLVM: it would leave out the check of a place
/// that lies before one that was checked, which the verifier does not see.
#[inline(always)]
fn read<'k, A: Messages + Maps, P: Packet>(
    packet: &mut P,
    key: &'k mut MaybeUninit<FlowKey<A>>,
) -> Option<Headers<'k, A>> {
    let headers = parse::<A, P>(packet, key)?;
    Some(Headers {
        ip: black_box(headers.ip),
        transport: black_box(headers.transport),
        ..headers
    })
}

/// A packet that leaves the node.
#[inline(always)]
pub(crate) fn leaving<A: Messages + Maps>(packet: Tc, what: Aside) -> i32 {
    match what {
        Aside::Icmp => leaving_message::<A>(packet),
        _ => leaving_unrefused::<A>(packet),
    }
}

#[inline(never)]
fn leaving_message<A: Messages + Maps>(mut packet: Tc) -> i32 {
    let mut key = MaybeUninit::uninit();
    let verdict = match read::<A, Tc>(&mut packet, &mut key) {
        Some(headers) => icmp::leaving(&mut packet, &headers),
        None => Verdict::Pass,
    };
    packet.finish(verdict)
}

/// What may begin a flow, of the node's own: if it is for a frontend that refuses, the socket hook had to
/// let it go, and it gets its answer as if that came in by the link that the packet leaves by. There
/// the frontend's route points, so the answer passes `rp_filter`.
#[inline(never)]
fn leaving_unrefused<A: Messages + Maps>(mut packet: Tc) -> i32 {
    let mut key = MaybeUninit::uninit();
    // One after the other: LLVM would read what there is none of, which kernels before 6.3 refuse.
    let Some(headers) = read::<A, Tc>(&mut packet, &mut key) else {
        return packet.finish(Verdict::Pass);
    };
    let Some(live) = Live::<A>::new() else {
        return packet.finish(Verdict::Pass);
    };
    let verdict = refuse_own(&mut packet, &headers, &live);
    packet.finish_toward_stack(verdict)
}

#[inline(always)]
fn refuse_own<A: Messages + Maps>(
    packet: &mut Tc,
    headers: &Headers<'_, A>,
    live: &Live<A>,
) -> Verdict {
    let request = Request {
        flow: headers.flow,
        arrival: Arrival::Socket,
        begins: true,
    };
    if !live.is_node(&headers.flow.source) {
        return Verdict::Pass;
    }
    match decide(live, &request, 0) {
        Decision::Refuse(reason) => {
            maps::count(Tc::HOOK, reason);
            refuse::answer(packet, headers, live.config(), Aside::Refuse)
        }
        _ => Verdict::Pass,
    }
}
