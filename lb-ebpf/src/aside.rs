//! What happens out of line? What is rare: ICMP, and telling somebody that a packet went no further.
//!
//! Functions of their own to the verifier, beside those of the path and not under them: the frames
//! of a call add up, and there are 512 bytes for all.

use core::hint::black_box;

use crate::{
    icmp,
    live::Live,
    maps::Maps,
    messages::Messages,
    packet::{Aside, Packet, Verdict},
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
    let Some(headers) = read::<A, P>(packet) else {
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
fn read<A: Messages, P: Packet>(packet: &P) -> Option<Headers<A>> {
    let headers = parse::<A, P>(packet)?;
    Some(Headers {
        ip: black_box(headers.ip),
        transport: black_box(headers.transport),
        ..headers
    })
}

/// A packet that leaves the node.
#[inline(never)]
pub(crate) fn leaving<A: Messages + Maps, P: Packet>(mut packet: P) -> i32 {
    let verdict = match read::<A, P>(&packet) {
        Some(headers) => icmp::leaving(&mut packet, &headers),
        None => Verdict::Pass,
    };
    packet.finish(verdict)
}
