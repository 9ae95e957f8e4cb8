//! How does each family write what all IP headers say?

use aya_ebpf::bindings::bpf_fib_lookup;
use bytemuck::Pod;
use lb_common::{
    addr::{Family, Ip4, Ip6},
    csum,
    wire::{Be16, Be32, DONT_FRAGMENT, FRAGMENT_OFFSET, Ipv4Header, Ipv6Header, MORE_FRAGMENTS},
};

use crate::{fragments::Part, packet::Packet, parse::Headers, walk::is_extension};

/// Time to live of packets of our own: what Linux gives its own.
pub(crate) const OUR_TTL: u8 = 64;

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
    pub(crate) length: usize,
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
    /// Whether extension headers may follow the IP header.
    const EXTENSIONS: bool;

    /// Reads the IP header, without extension headers; none if it is cut off or contradicts itself.
    fn network<P: Packet>(packet: &P, ip: usize) -> Option<Network<Self>>;

    /// Writes addresses into the IP header at an offset and counts its time to live down by so many
    /// hops, of which it has more; `change` is what the addresses change its checksum by, where it has one.
    #[must_use]
    fn readdress<P: Packet>(
        packet: &mut P,
        ip: usize,
        addresses: [&Self; 2],
        change: u64,
        hops: u8,
    ) -> Option<()>;

    /// Sets the time to live and keeps the header checksum right.
    #[must_use]
    fn set_ttl<P: Packet>(packet: &mut P, headers: &Headers<'_, Self>, ttl: u8) -> Option<()>;

    /// The family's IP header.
    type Header: Pod;

    /// A header of our own, checksum included, for a payload of so many bytes.
    fn header(source: Self, destination: Self, protocol: u8, payload: u16) -> Self::Header;

    /// What the pseudo header adds to the checksum of the family's ICMP.
    fn icmp_pseudo(source: &Self, destination: &Self, payload: u16) -> u64;

    /// Fills in the addresses of a route look-up.
    fn route_between(parameters: &mut bpf_fib_lookup, source: &Self, destination: &Self);
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

/// What the header checksum must add when the time to live, the first byte of its word, changes.
#[inline(always)]
const fn change_of_ttl(old: u8, new: u8) -> u64 {
    csum::difference(
        u16::from_ne_bytes([old, 0]) as u32,
        u16::from_ne_bytes([new, 0]) as u32,
    )
}

impl Wire for Ip4 {
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
        // At once, as a key has them (`FlowKey::set_addresses`).
        let [source, destination]: [Ip4; 2] = bytemuck::must_cast(
            packet.load::<u64>(ip + core::mem::offset_of!(Ipv4Header, source))?,
        );
        Some(Network {
            source,
            destination,
            protocol: header.protocol,
            ttl: header.ttl,
            header: usize::from(words) * 4,
            length: usize::from(header.total_length.get()),
            part,
            // Of a whole one what is there, and not zero, which the verifier would remember.
            id: if part == Part::WHOLE {
                u32::from(header.version_length)
            } else {
                u32::from(header.id.get())
            },
        })
    }

    #[inline(always)]
    fn readdress<P: Packet>(
        packet: &mut P,
        ip: usize,
        [source, destination]: [&Self; 2],
        change: u64,
        hops: u8,
    ) -> Option<()> {
        let header: &mut Ipv4Header = packet.edit(ip)?;
        let change = change + u64::from(hops) * change_of_ttl(1, 0);
        header.checksum = csum::update(header.checksum, change);
        header.ttl = header.ttl.wrapping_sub(hops);
        header.source = *source;
        header.destination = *destination;
        Some(())
    }

    #[inline(always)]
    fn set_ttl<P: Packet>(packet: &mut P, headers: &Headers<'_, Self>, ttl: u8) -> Option<()> {
        let header: &mut Ipv4Header = packet.edit(headers.ip)?;
        header.checksum = csum::update(header.checksum, change_of_ttl(headers.ttl, ttl));
        header.ttl = ttl;
        Some(())
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
    const EXTENSIONS: bool = true;

    #[inline(always)]
    fn network<P: Packet>(packet: &P, ip: usize) -> Option<Network<Self>> {
        let header: Ipv6Header = packet.load(ip)?;
        if header.version_class_flow.get() >> 28 != 6 {
            return None;
        }
        let payload = usize::from(header.payload_length.get());
        Some(Network {
            source: header.source,
            destination: header.destination,
            protocol: header.next_header,
            ttl: header.hop_limit,
            header: size_of::<Ipv6Header>(),
            // Zero: a jumbogram, or more than 64 KiB in one (RFC 2675; Linux' BIG TCP).
            length: match payload {
                0 => 0,
                payload => size_of::<Ipv6Header>() + payload,
            },
            part: Part::WHOLE,
            // Whatever it is, but not zero, which the verifier would remember.
            id: header.version_class_flow.get(),
        })
    }

    #[inline(always)]
    fn readdress<P: Packet>(
        packet: &mut P,
        ip: usize,
        [source, destination]: [&Self; 2],
        _: u64,
        hops: u8,
    ) -> Option<()> {
        let header: &mut Ipv6Header = packet.edit(ip)?;
        header.hop_limit = header.hop_limit.wrapping_sub(hops);
        header.source = *source;
        header.destination = *destination;
        Some(())
    }

    #[inline(always)]
    fn set_ttl<P: Packet>(packet: &mut P, headers: &Headers<'_, Self>, ttl: u8) -> Option<()> {
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
