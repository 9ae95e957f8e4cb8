//! What stands between an IPv6 header and the transport header? Extension headers, and what the one
//! of them that makes fragments says.
//!
//! Hardly any packet has them, so whoever reads headers asks `is_extension` first.

use lb_common::{
    limits,
    wire::{ExtensionHeader, FRAGMENT6_MORE, FRAGMENT6_OFFSET},
};

use crate::{fragments::Part, packet::Packet};

/// Hop-by-hop options, routing, fragment and destination options (RFC 8200, section 4). Not the
/// authentication header: it covers the addresses, so a packet with it cannot be translated, and its
/// number is taken for that of a transport protocol without ports.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Stands for a chain that is cut off, too long, or contradicts itself.
const BROKEN: u64 = 0;

/// What a chain of extension headers says.
pub(crate) struct Chain {
    /// Protocol of what follows; of a later fragment, what its header says.
    pub(crate) protocol: u8,
    /// Bytes of all extension headers.
    pub(crate) length: usize,
    /// Which part of a datagram the packet is.
    pub(crate) part: Part,
    /// Identification of that datagram; zero for a whole one.
    pub(crate) id: u32,
}

/// Whether the number is that of an extension header.
#[inline(always)]
pub(crate) const fn is_extension(protocol: u8) -> bool {
    const ALL: u64 = 1 << HOP_BY_HOP | 1 << ROUTING | 1 << FRAGMENT | 1 << DESTINATION_OPTIONS;
    protocol < 64 && ALL >> protocol & 1 != 0
}

/// Reads the chain that begins with `first` at an offset; none if it is cut off, longer than
/// [`limits::EXTENSION_BYTES`] or [`limits::EXTENSION_HEADERS`], names two fragments, or has a
/// routing header that leads on, so that the transport checksum is about another address.
#[inline(always)]
pub(crate) fn walk<P: Packet>(packet: &P, at: usize, first: u8) -> Option<Chain> {
    let chain = follow(packet, at, first);
    if chain == BROKEN {
        return None;
    }
    Some(Chain {
        protocol: chain as u8,
        // The mask is for the verifier, which does not know what `follow` returns.
        length: (chain >> 8 & LENGTH_MASK) as usize,
        part: Part((chain >> 24 & 3) as u8),
        id: (chain >> 32) as u32,
    })
}

const LENGTH_MASK: u64 = 0x3ff;
const _: () = assert!(limits::EXTENSION_BYTES as u64 <= LENGTH_MASK);

/// The chain in one register: a function of its own has no room for more, and a loop inlined where
/// headers are read would be verified there twice.
const fn pack(protocol: u8, length: usize, part: Part, id: u32) -> u64 {
    protocol as u64 | (length as u64) << 8 | (part.0 as u64) << 24 | (id as u64) << 32
}

#[inline(never)]
fn follow<P: Packet>(packet: &P, at: usize, first: u8) -> u64 {
    let (mut next, mut length) = (first, 0);
    let (mut part, mut id) = (Part::WHOLE, 0);
    let mut fragments = 0;
    let mut count = 0;
    while count < limits::EXTENSION_HEADERS {
        if !is_extension(next) {
            return pack(next, length, part, id);
        }
        let Some(header) = packet.load::<ExtensionHeader>(at + length) else {
            return BROKEN;
        };
        if next == FRAGMENT {
            let place = u16::from_be_bytes([header.data[0], header.data[1]]);
            let [_, _, number @ ..] = header.data;
            fragments += 1;
            length += size_of::<ExtensionHeader>();
            if place & (FRAGMENT6_OFFSET | FRAGMENT6_MORE) != 0 {
                id = u32::from_be_bytes(number);
                part = Part::FIRST;
            }
            if fragments > 1 {
                return BROKEN;
            }
            if place & FRAGMENT6_OFFSET != 0 {
                return pack(header.next, length, Part::LATER, id);
            }
        } else {
            let segments_left = header.data[1];
            if next == ROUTING && segments_left != 0 {
                return BROKEN;
            }
            length += (usize::from(header.length) + 1) * 8;
        }
        if length > limits::EXTENSION_BYTES {
            return BROKEN;
        }
        next = header.next;
        count += 1;
    }
    if is_extension(next) {
        return BROKEN;
    }
    pack(next, length, part, id)
}
