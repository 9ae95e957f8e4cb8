//! Where does a packet go whose client is not here and whose backend is not here either?
//!
//! Such a packet passes the node without its stack, so what a router owes is owed here: the route,
//! the time to live, the size.

use aya_ebpf::bindings::{BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED};
use lb_common::drops::DropReason;

use crate::{
    maps::{self, Maps},
    packet::{Packet, Route},
    parse::{Headers, Wire},
};

/// Who carries a packet on.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// We do, out of this link.
    Out(Route),
    /// The node's own stack: the destination is its own.
    Stack,
    /// A later hook, which can do more.
    NextHook,
}

/// The way to a destination.
///
/// # Errors
/// No route, time to live spent, or too big for the link.
#[inline(always)]
pub(crate) fn way<A: Wire + Maps, P: Packet>(
    packet: &P,
    headers: &Headers<A>,
    destination: &A,
) -> Result<Way, DropReason> {
    if headers.ttl <= 1 {
        return Err(DropReason::TimeExceeded);
    }
    let parameters = &mut A::scratch().ok_or(DropReason::NoRoute)?.route;
    // SAFETY: integers and arrays of such: zero is valid.
    *parameters = unsafe { core::mem::zeroed() };
    parameters.family = A::SOCKET_FAMILY;
    parameters.l4_protocol = headers.flow.protocol;
    parameters.ifindex = packet.link();
    A::route_between(parameters, &headers.flow.source, destination);
    let neighbour_known = match packet.look_up_route(parameters) {
        Ok(()) => true,
        Err(code) if code == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH) => false,
        Err(code) if code == i64::from(BPF_FIB_LKUP_RET_NOT_FWDED) => return Ok(Way::Stack),
        Err(_) => return Err(DropReason::NoRoute),
    };
    let link = parameters.ifindex;
    if !P::can_send(link, neighbour_known) {
        return Ok(Way::NextHook);
    }
    if let Some(properties) = maps::link(link)
        && properties.mtu != 0
        && headers.length > properties.mtu
        && !packet.is_aggregate()
    {
        return Err(DropReason::TooBig);
    }
    Ok(Way::Out(Route {
        link,
        ethernet: [parameters.smac, parameters.dmac],
    }))
}
