//! Which way does a packet go that shall not go up the stack: to another node, or along a bridge?
//!
//! A packet in transit passes the node without its stack, so what a router owes is owed here: the
//! route, the time to live, the size.

use core::mem::offset_of;

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_NOT_FWDED,
    bpf_fib_lookup,
};
use lb_common::{
    decide::TCP,
    drops::DropReason,
    layout::Link,
    wire::{Ethernet, TcpHeader, UdpHeader},
};

use crate::{ip::Wire, maps, packet::Packet, parse::Headers};

/// Who carries a packet on.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// We do, out of the link and to the neighbour that the look-up found: the parameters say which. No
    /// link in here: LLVM would read it on ways on which there is none, which kernels before 6.3 refuse.
    Out,
    /// The node's own stack: the destination is its own.
    Stack,
    /// A later hook, which can do more.
    NextHook,
}

/// The way to a destination; `parameters` is scratch memory.
///
/// # Errors
/// No route, time to live spent, or too big for the way; `parameters` say then how much fits.
#[inline(always)]
pub(crate) fn way<A: Wire, P: Packet>(
    packet: &P,
    headers: &Headers<'_, A>,
    destination: &A,
    parameters: &mut bpf_fib_lookup,
) -> Result<Way, DropReason> {
    let length = length_on_wire(packet, headers);
    let found = look_up(packet, headers, destination, length, parameters);
    if found == Err(i64::from(BPF_FIB_LKUP_RET_NOT_FWDED)) {
        return Ok(Way::Stack);
    }
    if headers.ttl <= 1 {
        return Err(DropReason::TimeExceeded);
    }
    let neighbour_known = match found {
        Ok(()) => true,
        Err(code) if code == i64::from(BPF_FIB_LKUP_RET_NO_NEIGH) => false,
        Err(code) if code == i64::from(BPF_FIB_LKUP_RET_FRAG_NEEDED) => {
            if mtu(parameters) >= length {
                // The kernel left the length that it was asked about: it does not say how much
                // fits before 5.12, but the link does.
                let _found = look_up(packet, headers, destination, 0, parameters);
                set_mtu(parameters, maps::link(parameters.ifindex));
            }
            return Err(DropReason::TooBig);
        }
        Err(_) => return Err(DropReason::NoRoute),
    };
    let link = parameters.ifindex;
    // Where the look-up judges no size, or only the link's with room to spare.
    let properties = maps::link(link);
    if properties.is_some_and(|link| link.mtu != 0 && length > link.mtu) {
        set_mtu(parameters, properties);
        return Err(DropReason::TooBig);
    }
    if !P::can_send(properties, neighbour_known) {
        return Ok(Way::NextHook);
    }
    Ok(Way::Out)
}

/// Bytes of the longest packet that this one is on the wire, from the IP header on; zero if nobody
/// can tell.
#[inline(always)]
fn length_on_wire<A, P: Packet>(packet: &P, headers: &Headers<'_, A>) -> u32 {
    /// Where the TCP header says how long it is, in words in the upper four bits.
    const WORDS: usize = offset_of!(TcpHeader, data_offset);
    /// What SCTP says instead of a size: it was told how much fits, and cut its chunks accordingly.
    const BY_FRAGMENTS: u32 = 0xffff;
    let segment = packet.segment();
    if segment == 0 {
        return headers.length as u32;
    }
    if segment == BY_FRAGMENTS {
        return 0;
    }
    let header = if headers.flow.protocol == TCP {
        let words: u8 = packet.load(headers.transport + WORDS).unwrap_or_default();
        u32::from(words >> 4) * 4
    } else {
        size_of::<UdpHeader>() as u32
    };
    (headers.transport - headers.ip) as u32 + header + segment
}

/// How much fits, from a look-up that found a packet too big; zero if nobody knows.
#[inline(always)]
pub(crate) fn mtu(parameters: &bpf_fib_lookup) -> u32 {
    // SAFETY: both fields of the union are 16 bits wide.
    u32::from(unsafe { parameters.__bindgen_anon_1.mtu_result })
}

/// Notes how much fits where the kernel did not.
#[inline(always)]
fn set_mtu(parameters: &mut bpf_fib_lookup, link: Option<&Link>) {
    let mtu = link.map_or(0, |link| link.mtu);
    parameters.__bindgen_anon_1.mtu_result = if mtu > u32::from(u16::MAX) {
        u16::MAX
    } else {
        mtu as u16
    };
}

/// The bridge that the packet's link is a port of, if the destination is reached through that very
/// bridge.
#[inline(always)]
pub(crate) fn shares_bridge<A: Wire, P: Packet>(
    packet: &P,
    headers: &Headers<'_, A>,
    destination: &A,
    parameters: &mut bpf_fib_lookup,
) -> bool {
    let Some(link) = maps::link(packet.link()) else {
        return false;
    };
    if link.master == 0 {
        return false;
    }
    let found = match look_up(packet, headers, destination, 0, parameters) {
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
    headers: &Headers<'_, A>,
    destination: &A,
    parameters: &mut bpf_fib_lookup,
) -> Option<()> {
    if look_up(packet, headers, destination, 0, parameters).is_err() {
        // The neighbour is not known yet: the stack finds it.
        return Some(());
    }
    packet.store(offset_of!(Ethernet, destination), parameters.dmac)
}

/// Looks up the route from the packet's source to a destination, for packets of this length if it
/// is not zero.
#[inline(always)]
fn look_up<A: Wire, P: Packet>(
    packet: &P,
    headers: &Headers<'_, A>,
    destination: &A,
    length: u32,
    parameters: &mut bpf_fib_lookup,
) -> Result<(), i64> {
    // SAFETY: integers and arrays of such: zero is valid.
    *parameters = unsafe { core::mem::zeroed() };
    parameters.family = A::SOCKET_FAMILY;
    parameters.l4_protocol = headers.flow.protocol;
    parameters.__bindgen_anon_1.tot_len = length as u16;
    parameters.ifindex = packet.link();
    A::route_between(parameters, &headers.flow.source, destination);
    packet.look_up_route(parameters)
}
