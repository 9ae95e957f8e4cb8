//! Which way does a packet go that shall not go up the stack: to another node, or along a bridge?
//!
//! A packet in transit passes the node without its stack, so what a router owes is owed here: the
//! route, the time to live, the size.

use core::mem::offset_of;

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED,
    bpf_fib_lookup,
};
use lb_common::{drops::DropReason, wire::Ethernet};

use crate::{
    maps,
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

/// The way to a destination; `parameters` is scratch memory.
///
/// # Errors
/// No route, time to live spent, or too big for the link.
#[inline(always)]
pub(crate) fn way<A: Wire, P: Packet>(
    packet: &P,
    headers: &Headers<A>,
    destination: &A,
    parameters: &mut bpf_fib_lookup,
) -> Result<Way, DropReason> {
    if headers.ttl <= 1 {
        return Err(DropReason::TimeExceeded);
    }
    let neighbour_known = match look_up(packet, headers, destination, parameters) {
        Ok(()) => true,
        Err(code) if code == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH) => false,
        Err(code) if code == i64::from(BPF_FIB_LKUP_RET_NOT_FWDED) => return Ok(Way::Stack),
        // Traffic control's look-up judges the size by itself.
        Err(code) if code == i64::from(BPF_FIB_LKUP_RET_FRAG_NEEDED) => {
            return Err(DropReason::TooBig);
        }
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

/// The bridge that the packet's link is a port of, if the destination is reached through that very
/// bridge.
#[inline(always)]
pub(crate) fn shares_bridge<A: Wire, P: Packet>(
    packet: &P,
    headers: &Headers<A>,
    destination: &A,
    parameters: &mut bpf_fib_lookup,
) -> bool {
    let Some(link) = maps::link(packet.link()) else {
        return false;
    };
    if link.master == 0 {
        return false;
    }
    let found = match look_up(packet, headers, destination, parameters) {
        Ok(()) => true,
        Err(code) => code == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH),
    };
    found && parameters.ifindex == link.master
}

/// Addresses the frame to the backend itself, so that the bridge carries it as it carries the
/// reply. Through the stack, conntrack would see the one direction without the other where bridged
/// packets do not pass it (`bridge-nf-call-iptables` off), and call the second packet invalid.
#[inline(always)]
pub(crate) fn stay_on_bridge<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    destination: &A,
    parameters: &mut bpf_fib_lookup,
) -> Option<()> {
    if look_up(packet, headers, destination, parameters).is_err() {
        // The neighbour is not known yet: the stack finds it.
        return Some(());
    }
    packet.store(offset_of!(Ethernet, destination), parameters.dmac)
}

/// Looks up the route from the packet's source to a destination.
#[inline(always)]
fn look_up<A: Wire, P: Packet>(
    packet: &P,
    headers: &Headers<A>,
    destination: &A,
    parameters: &mut bpf_fib_lookup,
) -> Result<(), i64> {
    // SAFETY: integers and arrays of such: zero is valid.
    *parameters = unsafe { core::mem::zeroed() };
    parameters.family = A::SOCKET_FAMILY;
    parameters.l4_protocol = headers.flow.protocol;
    parameters.ifindex = packet.link();
    A::route_between(parameters, &headers.flow.source, destination);
    packet.look_up_route(parameters)
}
