//! What does the packet say? Addresses, ports and flags, or that it is none that we can serve.

use aya_ebpf::bindings::bpf_fib_lookup;
use bytemuck::Pod;
use lb_common::{
    addr::{Family, Ip4, Ip6},
    csum,
    decide::{SCTP, TCP, UDP},
    layout::FlowKey,
    limits, sctp,
    wire::{
        Be16, Be32, DONT_FRAGMENT, FRAGMENT_OFFSET, Ipv4Header, Ipv6Header, MORE_FRAGMENTS, Ports,
        TcpHeader, UdpHeader,
    },
};

use crate::{
    forget::forget,
    fragments::{self, Part},
    maps::Maps,
    packet::Packet,
    walk::{is_extension, walk},
};

/// Time to live of packets of our own: what Linux gives its own.
pub(crate) const OUR_TTL: u8 = 64;

/// What the headers say, and where they are.
pub(crate) struct Headers<A> {
    /// Addresses, ports and protocol.
    pub(crate) flow: FlowKey<A>,
    /// Where the IP header begins.
    pub(crate) ip: usize,
    /// Where the transport header begins.
    pub(crate) transport: usize,
    /// Bytes from the IP header on, without what the link may have filled up the frame with.
    pub(crate) length: u32,
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

/// The IP header.
pub(crate) struct Network<A> {
    /// Sender.
    pub(crate) source: A,
    /// Receiver.
    pub(crate) destination: A,
    /// Protocol of the transport header.
    pub(crate) protocol: u8,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
    /// Bytes of the header, with options and extension headers.
    pub(crate) header: usize,
    /// Bytes from the header on, as it says; zero where that is more than it can say.
    pub(crate) length: u32,
    /// Which part of a datagram the packet is.
    pub(crate) part: Part,
    /// Identification of that datagram; anything if the packet is a whole one.
    pub(crate) id: u32,
}

impl<A: Wire> Network<A> {
    /// Whether more stands before the transport header than the IP header without options.
    #[inline(always)]
    pub(crate) fn is_long(&self) -> bool {
        A::EXTENSIONS && is_extension(self.protocol) || self.header > size_of::<A::Header>()
    }
}

/// How a family's headers are read and written.
pub(crate) trait Wire: Family {
    /// Where the addresses are, from the IP header's start: source, then destination.
    const ADDRESSES: usize;

    /// Whether extension headers may follow the IP header.
    const EXTENSIONS: bool;

    /// Reads the IP header, without extension headers; none if it is cut off or contradicts itself.
    fn network<P: Packet>(packet: &P, ip: usize) -> Option<Network<Self>>;

    /// Adds a change of what the header checksum covers to it, where there is one.
    #[must_use]
    fn change_header_checksum<P: Packet>(packet: &mut P, ip: usize, change: u64) -> Option<()>;

    /// Sets the time to live and keeps the header checksum right.
    #[must_use]
    fn set_ttl<P: Packet>(packet: &mut P, headers: &Headers<Self>, ttl: u8) -> Option<()>;

    /// Counts the time to live down by one.
    #[inline(always)]
    #[must_use]
    fn count_down<P: Packet>(packet: &mut P, headers: &Headers<Self>) -> Option<()> {
        Self::set_ttl(packet, headers, headers.ttl - 1)
    }

    /// The family's IP header.
    type Header: Pod;

    /// A header of our own, checksum included, for a payload of so many bytes.
    fn header(source: Self, destination: Self, protocol: u8, payload: u16) -> Self::Header;

    /// What the pseudo header adds to the checksum of the family's ICMP.
    fn icmp_pseudo(source: &Self, destination: &Self, payload: u16) -> u64;

    /// Fills in the addresses of a route look-up.
    fn route_between(parameters: &mut bpf_fib_lookup, source: &Self, destination: &Self);
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

/// Reads all headers; none if they are cut off or contradict each other, or if the packet is a later
/// fragment of a datagram that is not known.
#[inline(always)]
pub(crate) fn parse<A: Wire + Maps, P: Packet>(packet: &mut P) -> Option<Headers<A>> {
    let ip = packet.ip_offset();
    let mut network = A::network(packet, ip)?;
    if network.is_long() {
        packet.pull_to(LONG_HEADERS);
        network = extended(packet, ip, network)?;
    }
    let there = (packet.length() - ip) as u32;
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
    if (length as usize) < least {
        return None;
    }
    // From here on, all kinds of packets are one to the verifier.
    let told = forget(
        u32::from(flow.protocol)
            | u32::from(tcp_flags) << 8
            | u32::from(network.part.0) << 16
            | (network.header as u32 / 4) << 18,
    );
    let (source_port, destination_port) = (flow.source_port, flow.destination_port);
    flow.set_ports(source_port, destination_port, told as u8);
    Some(Headers {
        flow,
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

/// What the pseudo header adds to a transport checksum.
#[inline(always)]
pub(crate) fn pseudo<A: Family>(source: &A, destination: &A, protocol: u8, payload: u16) -> u64 {
    let mut sum = u64::from(u16::from(protocol).to_be()) + u64::from(payload.to_be());
    let mut i = 0;
    while i < A::WORDS {
        sum += u64::from(source.word(i)) + u64::from(destination.word(i));
        i += 1;
    }
    sum
}

impl Wire for Ip4 {
    const ADDRESSES: usize = core::mem::offset_of!(Ipv4Header, source);
    const EXTENSIONS: bool = false;

    #[inline(always)]
    fn network<P: Packet>(packet: &P, ip: usize) -> Option<Network<Self>> {
        let header: Ipv4Header = packet.load(ip)?;
        let words = header.version_length & 0x0f;
        if header.version_length >> 4 != 4 || words < 5 {
            return None;
        }
        let place = header.fragment.get();
        let part = if place & (MORE_FRAGMENTS | FRAGMENT_OFFSET) == 0 {
            Part::WHOLE
        } else if place & FRAGMENT_OFFSET == 0 {
            Part::FIRST
        } else {
            Part::LATER
        };
        Some(Network {
            source: header.source,
            destination: header.destination,
            protocol: header.protocol,
            ttl: header.ttl,
            header: usize::from(words) * 4,
            length: u32::from(header.total_length.get()),
            part,
            id: u32::from(header.id.get()),
        })
    }

    #[inline(always)]
    fn change_header_checksum<P: Packet>(packet: &mut P, ip: usize, change: u64) -> Option<()> {
        let place = ip + core::mem::offset_of!(Ipv4Header, checksum);
        let old: u16 = packet.load(place)?;
        packet.store(place, csum::update(old, change))
    }

    #[inline(always)]
    fn set_ttl<P: Packet>(packet: &mut P, headers: &Headers<Self>, ttl: u8) -> Option<()> {
        packet.store(headers.ip + core::mem::offset_of!(Ipv4Header, ttl), ttl)?;
        // The time to live is the first byte of its word.
        let change = csum::difference(
            u32::from(u16::from_ne_bytes([headers.ttl, 0])),
            u32::from(u16::from_ne_bytes([ttl, 0])),
        );
        Self::change_header_checksum(packet, headers.ip, change)
    }

    type Header = Ipv4Header;

    #[inline(always)]
    fn header(source: Self, destination: Self, protocol: u8, payload: u16) -> Ipv4Header {
        let header = Ipv4Header {
            version_length: 0x45,
            total_length: Be16::new(size_of::<Ipv4Header>() as u16 + payload),
            fragment: Be16::new(DONT_FRAGMENT),
            ttl: OUR_TTL,
            protocol,
            source,
            destination,
            ..Ipv4Header::default()
        };
        let words: [u32; 5] = bytemuck::must_cast(header);
        let sum = words.iter().fold(0, |sum, &word| sum + u64::from(word));
        Ipv4Header {
            checksum: !csum::fold(sum),
            ..header
        }
    }

    #[inline(always)]
    fn icmp_pseudo(_: &Self, _: &Self, _: u16) -> u64 {
        0
    }

    #[inline(always)]
    fn route_between(parameters: &mut bpf_fib_lookup, source: &Self, destination: &Self) {
        parameters.__bindgen_anon_3.ipv4_src = source.word(0);
        parameters.__bindgen_anon_4.ipv4_dst = destination.word(0);
    }
}

impl Wire for Ip6 {
    const ADDRESSES: usize = core::mem::offset_of!(Ipv6Header, source);
    const EXTENSIONS: bool = true;

    #[inline(always)]
    fn network<P: Packet>(packet: &P, ip: usize) -> Option<Network<Self>> {
        let header: Ipv6Header = packet.load(ip)?;
        if header.version_class_flow.get() >> 28 != 6 {
            return None;
        }
        let payload = u32::from(header.payload_length.get());
        Some(Network {
            source: header.source,
            destination: header.destination,
            protocol: header.next_header,
            ttl: header.hop_limit,
            header: size_of::<Ipv6Header>(),
            // Zero: a jumbogram, or more than 64 KiB in one (RFC 2675; Linux' BIG TCP).
            length: match payload {
                0 => 0,
                payload => size_of::<Ipv6Header>() as u32 + payload,
            },
            part: Part::WHOLE,
            // Whatever it is, but not zero, which the verifier would remember.
            id: header.version_class_flow.get(),
        })
    }

    #[inline(always)]
    fn change_header_checksum<P: Packet>(_: &mut P, _: usize, _: u64) -> Option<()> {
        Some(())
    }

    #[inline(always)]
    fn set_ttl<P: Packet>(packet: &mut P, headers: &Headers<Self>, ttl: u8) -> Option<()> {
        packet.store(
            headers.ip + core::mem::offset_of!(Ipv6Header, hop_limit),
            ttl,
        )
    }

    type Header = Ipv6Header;

    #[inline(always)]
    fn header(source: Self, destination: Self, protocol: u8, payload: u16) -> Ipv6Header {
        Ipv6Header {
            version_class_flow: Be32::new(6 << 28),
            payload_length: Be16::new(payload),
            next_header: protocol,
            hop_limit: OUR_TTL,
            source,
            destination,
        }
    }

    #[inline(always)]
    fn icmp_pseudo(source: &Self, destination: &Self, payload: u16) -> u64 {
        pseudo(source, destination, Self::ICMP, payload)
    }

    #[inline(always)]
    fn route_between(parameters: &mut bpf_fib_lookup, source: &Self, destination: &Self) {
        let word = |address: &Self| [0, 1, 2, 3].map(|i| address.word(i));
        parameters.__bindgen_anon_3.ipv6_src = word(source);
        parameters.__bindgen_anon_4.ipv6_dst = word(destination);
    }
}
