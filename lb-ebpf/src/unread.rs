//! What becomes of a packet whose ports cannot be told? It passes, unless its address is one that
//! exists only together with ports of ours.

use lb_common::{
    decide::{Tables as _, Whose, whose},
    drops::{DropReason, Hook},
    layout::{CONFIG_STANDBY, CONFIG_TAKEOVER},
};

use crate::{fragments::Part, ip::Wire, live::Live, maps::Maps, packet::Packet, parse::network};

/// Why the packet goes no further, if it does not: out of line, as hardly any packet comes here.
#[inline(never)]
pub(crate) fn unread<A: Wire + Maps, P: Packet>(packet: &P) -> Option<DropReason> {
    let ip = packet.ip_offset();
    let header = A::network(packet, ip)?;
    let live = Live::<A>::new()?;
    let early = network::<A, P>(packet, ip).is_some_and(|network| network.part == Part::LATER);
    match whose(&live, &header.destination) {
        // Flows from before us may be among those that the stack knows.
        _ if live.flags() & (CONFIG_TAKEOVER | CONFIG_STANDBY) != 0 => None,
        Whose::Foreign => None,
        Whose::Nobody => Some(DropReason::UnallocatedAddress),
        // XDP may run over several packets before traffic control, which may know the first
        // fragment, runs over the first of them.
        Whose::Services if early && P::HOOK == Hook::Xdp => None,
        Whose::Services if early => Some(DropReason::EarlyFragment),
        Whose::Services => Some(DropReason::Malformed),
    }
}
