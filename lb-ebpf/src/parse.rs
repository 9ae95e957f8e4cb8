//! What does the packet say? Addresses, ports and flags, or that it is none that we can serve.

use core::mem::MaybeUninit;

use lb_common::{
    decide::{SCTP, TCP, UDP},
    layout::FlowKey,
    limits, sctp,
    wire::{Ipv6Header, Ports, TcpHeader, UdpHeader},
};

use crate::{
    forget::forget,
    fragments::{self, Part},
    ip::{Network, Wire},
    maps::Maps,
    packet::Packet,
    walk::walk,
};

/// What the headers say, and where they are.
///
/// Only the key lies in memory, where maps are asked for it: with the rest beside it, LLVM would write
/// all of that for every packet, needed or not.
pub(crate) struct Headers<'k, A> {
    /// Addresses, ports and protocol.
    pub(crate) flow: &'k FlowKey<A>,
    /// Where the IP header begins.
    pub(crate) ip: usize,
    /// Where the transport header begins.
    pub(crate) transport: usize,
    /// Bytes from the IP header on, without what the link may have filled up the frame with.
    pub(crate) length: usize,
    /// Flags of the TCP header, as of `lb_common::tcp`; of SCTP those that say the same; zero for
    /// other protocols.
    pub(crate) tcp_flags: u8,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
    /// Which part of a datagram the packet is. In a later one there is no transport header.
    pub(crate) part: Part,
    /// Identification of that datagram; anything if the packet is a whole one.
    pub(crate) id: u32,
}

/// Reads the IP header at an offset, extension headers included; none if they are cut off or
/// contradict each other.
#[inline(always)]
pub(crate) fn network<A: Wire, P: Packet>(packet: &P, ip: usize) -> Option<Network<A>> {
    let network = A::network(packet, ip)?;
    if network.is_long() {
        return extended(packet, ip, network);
    }
    Some(network)
}

/// The same header with the extension headers behind it; none as in [`network`].
#[inline(always)]
pub(crate) fn extended<A: Wire, P: Packet>(
    packet: &P,
    ip: usize,
    network: Network<A>,
) -> Option<Network<A>> {
    if !A::EXTENSIONS {
        return Some(network);
    }
    let chain = walk(packet, ip + network.header, network.protocol)?;
    Some(Network {
        protocol: chain.protocol,
        header: network.header + chain.length,
        part: chain.part,
        id: chain.id,
        ..network
    })
}

/// Headers with options and extensions end within this many bytes: link layer, IPv6, TCP.
const LONG_HEADERS: u32 = 14 + 40 + 20 + limits::EXTENSION_BYTES as u32;

/// Reads all headers, the key into `key`; none if they are cut off or contradict each other, or if the
/// packet is a later fragment of a datagram that is not known.
#[inline(always)]
pub(crate) fn parse<'k, A: Wire + Maps, P: Packet>(
    packet: &mut P,
    key: &'k mut MaybeUninit<FlowKey<A>>,
) -> Option<Headers<'k, A>> {
    let ip = packet.ip_offset();
    let mut network = A::network(packet, ip)?;
    if network.is_long() {
        packet.pull_to(LONG_HEADERS);
        network = extended(packet, ip, network)?;
    }
    let there = packet.length() - ip;
    let length = if network.length == 0 {
        there
    } else {
        network.length
    };
    if length > there {
        return None;
    }
    let transport = ip + network.header;
    let mut flow = FlowKey {
        source: network.source,
        destination: network.destination,
        protocol: network.protocol,
        ..FlowKey::default()
    };
    let mut tcp_flags = 0;
    let mut least = network.header;
    if network.part == Part::LATER {
        fragments::recall(&mut flow, network.id)?;
    } else if network.protocol == TCP {
        let header: TcpHeader = packet.load(transport)?;
        set_ports(&mut flow, header.ports);
        tcp_flags = header.flags;
        least += size_of::<TcpHeader>();
    } else if network.protocol == UDP {
        let header: UdpHeader = packet.load(transport)?;
        set_ports(&mut flow, header.ports);
        least += size_of::<UdpHeader>();
    } else if network.protocol == SCTP {
        let ports: Ports = packet.load(transport)?;
        set_ports(&mut flow, ports);
        tcp_flags = sctp::as_tcp_flags(packet.load(transport + sctp::FIRST_CHUNK)?);
        least += sctp::FIRST_CHUNK + 1;
    } else {
        let none = forget(0);
        flow.source_port = none as u16;
        flow.destination_port = (none >> 16) as u16;
    }
    // As words of 32 bits: the verifier would learn of the length, and go on once for each least.
    if (length as u32) < least as u32 {
        return None;
    }
    // From here on, all kinds of packets are one to the verifier.
    let told = forget(
        u32::from(flow.protocol)
            | u32::from(tcp_flags) << 8
            | u32::from(network.part.0) << 16
            | (network.header as u32 / 4) << 18,
    );
    let key = key.write(FlowKey::default());
    key.set_addresses(&network.source, &network.destination);
    key.set_ports(flow.source_port, flow.destination_port, told as u8);
    Some(Headers {
        flow: key,
        ip,
        transport: ip + (told >> 18 & 0xff) as usize * 4,
        length,
        tcp_flags: (told >> 8) as u8,
        ttl: network.ttl,
        part: Part((told >> 16 & 3) as u8),
        id: network.id,
    })
}

/// The longest header is a number of words that has eight bits.
const _: () = assert!((size_of::<Ipv6Header>() + limits::EXTENSION_BYTES) / 4 <= 0xff);

#[inline(always)]
fn set_ports<A>(flow: &mut FlowKey<A>, ports: Ports) {
    flow.source_port = ports.source.get();
    flow.destination_port = ports.destination.get();
}
