//! What do the headers of a packet look like? As they lie in memory, numbers in network order.

use bytemuck::{Pod, Zeroable};

use crate::addr::{Ip4, Ip6};

/// A 16-bit number in network order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// The number, from host order.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// The number in host order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The number as it lies in memory, for checksums.
    #[inline(always)]
    #[must_use]
    pub const fn raw(self) -> u16 {
        self.0
    }
}

/// A 32-bit number in network order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Be32(u32);

impl Be32 {
    /// The number, from host order.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number.to_be())
    }

    /// The number in host order.
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        u32::from_be(self.0)
    }
}

/// Ethernet II.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Ethernet {
    /// Receiver.
    pub destination: [u8; 6],
    /// Sender.
    pub source: [u8; 6],
    /// What follows.
    pub ether_type: Be16,
}

/// RFC 791, without options.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version (4) and header length in words.
    pub version_length: u8,
    /// Type of service.
    pub tos: u8,
    /// Bytes from here on.
    pub total_length: Be16,
    /// Identification.
    pub id: Be16,
    /// Flags and offset in units of 8 bytes.
    pub fragment: Be16,
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Of the header, as it lies in memory.
    pub checksum: u16,
    /// Sender.
    pub source: Ip4,
    /// Receiver.
    pub destination: Ip4,
}

/// RFC 8200, without extensions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (6), traffic class and flow label.
    pub version_class_flow: Be32,
    /// Bytes after this header.
    pub payload_length: Be16,
    /// What follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Sender.
    pub source: Ip6,
    /// Receiver.
    pub destination: Ip6,
}

/// What TCP, UDP and SCTP begin with.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Ports {
    /// Sender's port.
    pub source: Be16,
    /// Receiver's port.
    pub destination: Be16,
}

/// RFC 9293, without options.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct TcpHeader {
    /// Both ports.
    pub ports: Ports,
    /// Sequence number.
    pub sequence: Be32,
    /// Acknowledgment number.
    pub acknowledgment: Be32,
    /// Header length in words, in the upper four bits.
    pub data_offset: u8,
    /// Bits of [`crate::tcp`].
    pub flags: u8,
    /// Window.
    pub window: Be16,
    /// As it lies in memory.
    pub checksum: u16,
    /// Urgent pointer.
    pub urgent: Be16,
}

/// RFC 768.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct UdpHeader {
    /// Both ports.
    pub ports: Ports,
    /// Bytes from here on.
    pub length: Be16,
    /// As it lies in memory; zero = none (IPv4 only).
    pub checksum: u16,
}

/// RFC 792 and RFC 4443: errors and echoes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct IcmpHeader {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// As it lies in memory.
    pub checksum: u16,
    /// What the type says.
    pub rest: Be32,
}

/// More fragments follow, in [`Ipv4Header::fragment`].
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Where the fragment begins, in [`Ipv4Header::fragment`], in units of 8 bytes.
pub const FRAGMENT_OFFSET: u16 = 0x1fff;
/// Do not fragment, in [`Ipv4Header::fragment`].
pub const DONT_FRAGMENT: u16 = 0x4000;

/// RFC 8200: what every IPv6 extension header begins with that we read over.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ExtensionHeader {
    /// What follows.
    pub next: u8,
    /// Words of 8 bytes after these 8; zero in a fragment header.
    pub length: u8,
    /// Routing: type, segments left. Fragment: place (big-endian), identification (big-endian).
    pub data: [u8; 6],
}

/// More fragments follow, in the place of an IPv6 fragment header.
pub const FRAGMENT6_MORE: u16 = 1;
/// Where the fragment begins, in the place of an IPv6 fragment header, in bytes.
pub const FRAGMENT6_OFFSET: u16 = 0xfff8;
