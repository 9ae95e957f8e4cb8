//! What does the packet say? Addresses, ports and flags, or that it is none that we can serve.

use aya_ebpf::bindings::bpf_fib_lookup;
use bytemuck::Pod;
use lb_common::{
    addr::{Family, Ip4, Ip6},
    csum,
    decide::{SCTP, TCP, UDP},
    layout::FlowKey,
    sctp,
    wire::{
        Be16, Be32, DONT_FRAGMENT, FRAGMENT_OFFSET, Ipv4Header, Ipv6Header, MORE_FRAGMENTS, Ports,
        TcpHeader,
    },
};

use crate::packet::Packet;

/// Where the TCP header's flags are, from its start.
const TCP_FLAGS: usize = 13;

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
    /// Bytes from the IP header on.
    pub(crate) length: u32,
    /// Flags of the TCP header, as of `lb_common::tcp`; of SCTP those that say the same; zero for
    /// other protocols.
    pub(crate) tcp_flags: u8,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
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
    /// Bytes of the header.
    pub(crate) header: usize,
    /// The packet is a fragment.
    pub(crate) fragment: bool,
}

/// How a family's headers are read and written.
pub(crate) trait Wire: Family {
    /// Where the addresses are, from the IP header's start: source, then destination.
    const ADDRESSES: usize;

    /// Reads the IP header; none if it is cut off or contradicts itself.
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

/// Reads all headers; none if the packet is nothing that a frontend could be dialled with.
#[inline(always)]
pub(crate) fn parse<A: Wire, P: Packet>(packet: &P) -> Option<Headers<A>> {
    let ip = packet.ip_offset();
    let network = A::network(packet, ip)?;
    if network.fragment {
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
    if matches!(network.protocol, TCP | UDP | SCTP) {
        let ports: Ports = packet.load(transport)?;
        flow.source_port = ports.source.get();
        flow.destination_port = ports.destination.get();
    }
    if network.protocol == TCP {
        tcp_flags = packet.load(transport + TCP_FLAGS)?;
    } else if network.protocol == SCTP {
        tcp_flags = sctp::as_tcp_flags(packet.load(transport + sctp::FIRST_CHUNK)?);
    }
    let length = (packet.length() - ip) as u32;
    Some(Headers {
        flow,
        ip,
        transport,
        length,
        tcp_flags,
        ttl: network.ttl,
    })
}

/// Where the transport checksum is, from the transport header's start; none = there is none.
#[inline(always)]
pub(crate) const fn checksum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(core::mem::offset_of!(TcpHeader, checksum)),
        UDP => Some(core::mem::offset_of!(lb_common::wire::UdpHeader, checksum)),
        _ => None,
    }
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

    #[inline(always)]
    fn network<P: Packet>(packet: &P, ip: usize) -> Option<Network<Self>> {
        let header: Ipv4Header = packet.load(ip)?;
        let words = header.version_length & 0x0f;
        if header.version_length >> 4 != 4 || words < 5 {
            return None;
        }
        Some(Network {
            source: header.source,
            destination: header.destination,
            protocol: header.protocol,
            ttl: header.ttl,
            header: usize::from(words) * 4,
            fragment: header.fragment.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0,
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

    #[inline(always)]
    fn network<P: Packet>(packet: &P, ip: usize) -> Option<Network<Self>> {
        let header: Ipv6Header = packet.load(ip)?;
        if header.version_class_flow.get() >> 28 != 6 {
            return None;
        }
        Some(Network {
            source: header.source,
            destination: header.destination,
            protocol: header.next_header,
            ttl: header.hop_limit,
            header: core::mem::size_of::<Ipv6Header>(),
            fragment: false,
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
