//! What does a client get whose packet is refused?

use lb_common::drops::DropReason;

use crate::{
    packet::{Packet, Verdict},
    parse::{Headers, Wire},
};

#[inline(always)]
pub fn refuse<A: Wire, P: Packet>(
    _packet: &mut P,
    _headers: &Headers<A>,
    reason: DropReason,
) -> Verdict {
    Verdict::Drop(reason)
}
