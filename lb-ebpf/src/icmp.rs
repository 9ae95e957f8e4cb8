//! What becomes of an ICMP message? An error about a flow's packet is translated as the packet was,
//! inside and outside; what is sent to a VIP itself gets no answer, or, if asked for, that to a ping.

use core::hint::black_box;

use lb_common::{
    addr::Family,
    csum,
    decide::{self, Decision, SCTP, TCP, UDP},
    drops::DropReason,
    layout::{
        CONFIG_STANDBY, CONFIG_TAKEOVER, Config, FLOW_BRIDGED, FLOW_HAIRPIN, FLOW_REPLY, FLOW_SNAT,
        Flow, FlowKey,
    },
    limits,
    wire::{Be16, IcmpHeader, Ports, TcpHeader, UdpHeader},
};

use crate::{
    fragments::Part,
    ip::OUR_TTL,
    live::Live,
    maps::{Answer, Maps},
    messages::{CHECKSUM, Messages, QUOTED},
    packet::{Packet, Verdict},
    parse::{Headers, extended},
    path::is_turned_at_egress,
    refuse,
    rewrite::difference,
    track,
    transit::{self, Way},
};

/// An error's headers and those that it quotes, in bytes at most: link layer, an IP header with
/// options, ICMP, an IP header with options, TCP.
const HEADERS: u32 = 14 + 60 + 8 + 60 + 20;

/// The same if the quoted packet has extension headers, as every fragment over IPv6.
const LONG_HEADERS: u32 = HEADERS + limits::EXTENSION_BYTES as u32;

/// The packet that an error is about.
struct Quote<A> {
    /// Key of the opposite direction: whoever sent the error sits there.
    key: FlowKey<A>,
    /// Where its IP header begins.
    ip: usize,
    /// Where its transport header begins.
    transport: usize,
}

/// What an error says about whom.
enum About<A> {
    /// A packet that may have been one of ours.
    Packet(Quote<A>),
    /// A packet that no flow can be found for: another protocol, a later fragment. Whoever sent that
    /// one sent a first one, too, which is as big.
    Other,
    /// Nothing: the quote ends too early or contradicts itself.
    Garbage,
}

/// A message that enters the node.
#[inline(always)]
pub(crate) fn arriving<A: Messages + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    live: &Live<A>,
) -> Verdict {
    let Some(kind) = packet.load::<u8>(headers.transport) else {
        return Verdict::Pass;
    };
    let mut nothing = DropReason::NotAPort;
    if A::is_error(kind) {
        match about(packet, headers) {
            About::Packet(quote) => {
                if let Some(flow) = track::find(&quote.key) {
                    if is_turned_at_egress(flow) {
                        return Verdict::Pass;
                    }
                    return toward(packet, headers, &quote, flow);
                }
            }
            About::Other => {}
            About::Garbage => nothing = DropReason::Malformed,
        }
        if live.config().flags & (CONFIG_TAKEOVER | CONFIG_STANDBY) != 0 {
            // It may be about a flow from before us.
            return Verdict::Pass;
        }
    }
    match decide::without_frontend(live, headers.flow) {
        Decision::Drop(DropReason::NotAPort) => Verdict::Drop(nothing),
        Decision::Drop(reason) => Verdict::Drop(reason),
        Decision::AnswerPing if kind == A::ECHO[0] => answer_ping(packet, headers, live.config()),
        Decision::AnswerPing => Verdict::Drop(nothing),
        _ => Verdict::Pass,
    }
}

/// A message that leaves the node: an error toward a client is one about the frontend that it
/// dialled.
#[inline(always)]
pub(crate) fn leaving<A: Messages + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
) -> Verdict {
    let kind = packet.load::<u8>(headers.transport);
    if !kind.is_some_and(A::is_error) {
        return Verdict::Pass;
    }
    let About::Packet(quote) = about(packet, headers) else {
        return Verdict::Pass;
    };
    match track::find(&quote.key) {
        Some(flow) if is_turned_at_egress(flow) => toward(packet, headers, &quote, flow),
        _ => Verdict::Pass,
    }
}

/// Reads what the error quotes.
#[inline(always)]
fn about<A: Messages, P: Packet>(packet: &mut P, headers: &Headers<'_, A>) -> About<A> {
    packet.pull_to(HEADERS);
    let ip = headers.transport + size_of::<IcmpHeader>();
    let Some(mut network) = A::network(packet, ip) else {
        return About::Garbage;
    };
    if network.is_long() {
        packet.pull_to(LONG_HEADERS);
        network = match extended(packet, ip, network) {
            Some(network) => network,
            None => return About::Garbage,
        };
    }
    if network.part == Part::LATER || !matches!(network.protocol, TCP | UDP | SCTP) {
        return About::Other;
    }
    // Hidden from LLVM, as in `aside`.
    let transport = black_box(ip + network.header);
    if packet.load::<[u8; QUOTED]>(transport).is_none() {
        return About::Garbage;
    }
    let Some(ports) = packet.load::<Ports>(transport) else {
        return About::Garbage;
    };
    let key = FlowKey {
        source: network.destination,
        destination: network.source,
        source_port: ports.destination.get(),
        destination_port: ports.source.get(),
        protocol: network.protocol,
        ..FlowKey::default()
    };
    About::Packet(Quote { key, ip, transport })
}

/// Sends the error to whoever sent the packet that it is about. `flow` is that of the opposite
/// direction, in which the error goes.
#[inline(always)]
fn toward<A: Messages + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    quote: &Quote<A>,
    flow: &Flow<A>,
) -> Verdict {
    if headers.flow.destination != quote.key.destination {
        // An error is for whoever sent the packet: one that is not could hit any flow.
        return Verdict::Drop(DropReason::Malformed);
    }
    let mut way = None;
    if flow.flags & (FLOW_SNAT | FLOW_BRIDGED) != 0 {
        let Some(scratch) = A::scratch() else {
            return Verdict::Drop(DropReason::KernelRefused);
        };
        let route = &mut scratch.route;
        if flow.flags & FLOW_SNAT != 0 {
            // What has no room here is told to nobody: an error is not answered by an error.
            match transit::way(packet, headers, &flow.destination, route) {
                Ok(Way::NextHook) => return Verdict::Pass,
                Ok(Way::Stack) => {}
                Ok(Way::Out) => {
                    if packet.set_neighbour(route).is_none() {
                        return Verdict::Drop(DropReason::KernelRefused);
                    }
                    way = Some(route.ifindex);
                }
                Err(reason) => return Verdict::Drop(reason),
            }
        } else if flow.flags & FLOW_REPLY == 0
            && transit::stay_on_bridge(packet, headers, &flow.destination, route).is_none()
        {
            return Verdict::Drop(DropReason::KernelRefused);
        }
    }
    if rewrite(packet, headers, quote, flow, u8::from(way.is_some())).is_none() {
        return Verdict::Drop(DropReason::KernelRefused);
    }
    match way {
        Some(link) => Verdict::Out(link),
        None if flow.flags & FLOW_HAIRPIN != 0 => Verdict::Back,
        None => Verdict::Pass,
    }
}

/// Whom the error comes from: the router that sent it keeps its address (`traceroute` wants to
/// know it), unless the client's address is replaced on this way; the backend is the frontend.
#[inline(always)]
fn source<A: Family>(headers: &Headers<'_, A>, quote: &Quote<A>, flow: &Flow<A>) -> A {
    let replaced = if flow.flags & FLOW_REPLY != 0 {
        headers.flow.source == quote.key.source
    } else {
        flow.flags & (FLOW_SNAT | FLOW_HAIRPIN) != 0
    };
    if replaced {
        flow.source
    } else {
        headers.flow.source
    }
}

/// Gives the quoted packet the addresses and ports that it was sent with, and the error itself its
/// receiver's address and so many hops less, every checksum right. A quote may end before its transport
/// checksum.
#[inline(always)]
fn rewrite<A: Messages, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    quote: &Quote<A>,
    flow: &Flow<A>,
    hops: u8,
) -> Option<()> {
    let key = &quote.key;
    let addresses =
        difference(&key.destination, &flow.destination) + difference(&key.source, &flow.source);
    let sent = [&flow.destination, &flow.source];
    A::readdress(packet, quote.ip, sent, addresses, 0)?;

    let old: u32 = packet.load(quote.transport)?;
    let new = ports_word(
        Be16::new(flow.destination_port),
        Be16::new(flow.source_port),
    );
    packet.store(quote.transport, new)?;
    let ports = csum::difference(old, new);
    let transport = change_quoted_checksum(packet, quote, addresses + ports);

    let new_source = source(headers, quote, flow);
    let outer = difference(&headers.flow.source, &new_source)
        + difference(&headers.flow.destination, &flow.destination);
    let received = [&new_source, &flow.destination];
    A::readdress(packet, headers.ip, received, outer, hops)?;

    // Over IPv4 the quoted header's checksum makes up for its addresses, and there is no pseudo
    // header. The arithmetic is ours at every hook: no device completes the checksum of ICMP.
    let seen = if A::WORDS > 1 { addresses + outer } else { 0 };
    let place = headers.transport + CHECKSUM;
    let old: u16 = packet.load(place)?;
    packet.store(place, csum::update(old, ports + transport + seen))
}

/// Where the transport checksum is, from the transport header's start; none = there is none.
#[inline(always)]
const fn checksum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(core::mem::offset_of!(TcpHeader, checksum)),
        UDP => Some(core::mem::offset_of!(UdpHeader, checksum)),
        _ => None,
    }
}

/// Both ports as one word of the packet.
#[inline(always)]
fn ports_word(source: Be16, destination: Be16) -> u32 {
    bytemuck::cast(Ports {
        source,
        destination,
    })
}

/// Adds a change to the quoted packet's transport checksum, if it is there; what the error's own
/// checksum must add for it.
#[inline(always)]
fn change_quoted_checksum<A: Family, P: Packet>(
    packet: &mut P,
    quote: &Quote<A>,
    change: u64,
) -> u64 {
    let Some(offset) = checksum_offset(quote.key.protocol) else {
        return 0;
    };
    let place = quote.transport + offset;
    // Zero: none, or what fills a quote up that was cut off (RFC 4884).
    let Some(old) = packet.load::<u16>(place).filter(|&old| old != 0) else {
        return 0;
    };
    let new = match csum::update(old, change) {
        0 if quote.key.protocol == UDP => 0xffff,
        new => new,
    };
    match packet.store(place, new) {
        Some(()) => csum::difference(u32::from(old), u32::from(new)),
        None => 0,
    }
}

/// Answers a ping in the VIP's name.
#[inline(always)]
fn answer_ping<A: Messages, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    config: &Config,
) -> Verdict {
    if !refuse::may_answer(packet, headers, config, Answer::Ping) {
        return Verdict::Drop(DropReason::NotAPort);
    }
    match turn_ping(packet, headers) {
        Some(()) => Verdict::Back,
        None => Verdict::Drop(DropReason::KernelRefused),
    }
}

/// Turns an echo request into its reply; that the addresses change places changes no sum.
#[inline(always)]
fn turn_ping<A: Messages, P: Packet>(packet: &mut P, headers: &Headers<'_, A>) -> Option<()> {
    let [request, reply] = A::ECHO;
    let turned = [&headers.flow.destination, &headers.flow.source];
    A::readdress(packet, headers.ip, turned, 0, 0)?;
    A::set_ttl(packet, headers, OUR_TTL)?;
    packet.store(headers.transport, reply)?;
    let word = |kind| u32::from(u16::from_ne_bytes([kind, 0]));
    let place = headers.transport + CHECKSUM;
    let old: u16 = packet.load(place)?;
    let change = csum::difference(word(request), word(reply));
    packet.store(place, csum::update(old, change))
}
