//! Which packets are there? A description for tests; `bytes` says how they look on the wire.

mod bytes;
mod extension;

use std::net::{IpAddr, SocketAddr};

pub use bytes::checksum;
pub use extension::Extension;

/// TCP flags.
pub const SYN: u8 = 0x02;
/// As [`SYN`].
pub const ACK: u8 = 0x10;
/// As [`SYN`].
pub const FIN: u8 = 0x01;
/// As [`SYN`].
pub const RST: u8 = 0x04;

/// Type of an SCTP chunk.
pub const INIT: u8 = 1;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;

/// A packet as a test describes it; [`Packet::bytes`] is what goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from; the port is 0 for protocols without.
    pub source: SocketAddr,
    /// Where it goes; of the same family.
    pub destination: SocketAddr,
    /// Destination and source MAC address; none = there is no Ethernet header.
    pub macs: Option<[[u8; 6]; 2]>,
    /// Time to live, hop limit.
    pub ttl: u8,
    /// Its place among the fragments of a datagram.
    pub fragment: Option<Fragment>,
    /// IPv4: its options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6: its extension headers; a fragment header stands before destination options alone.
    pub extensions: Vec<Extension>,
    /// What the IP header is followed by.
    pub body: Body,
    /// What the link appended to fill up a short frame.
    pub trailer: Vec<u8>,
    /// Bytes of payload in each of the packets that this one stands for (GSO); 0 = it is one.
    pub segment: u32,
}

/// A part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Which datagram.
    pub id: u16,
    /// Where in the datagram, in bytes; a multiple of 8.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
}

/// What the IP header is followed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// TCP with its flags, sequence and acknowledgement number, and payload.
    Tcp {
        /// Flag bits.
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
        /// Window, in bytes.
        window: u16,
        /// What follows the header.
        payload: Vec<u8>,
    },
    /// UDP with its payload.
    Udp {
        /// What follows the header.
        payload: Vec<u8>,
        /// Whether the checksum is filled in (over IPv4 it may be left out).
        has_checksum: bool,
    },
    /// SCTP with one chunk.
    Sctp {
        /// Verification tag.
        tag: u32,
        /// Type and flags of the chunk.
        chunk: [u8; 2],
        /// What the chunk contains; not filled up to a multiple of four bytes.
        payload: Vec<u8>,
        /// Whether the checksum is filled in, or left to the device.
        has_checksum: bool,
    },
    /// ICMP or ICMPv6: type, code, the four bytes that depend on them, and what follows.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Four bytes after the checksum.
        rest: [u8; 4],
        /// What follows the header.
        payload: Vec<u8>,
    },
    /// Another protocol, or no header at all (a later fragment).
    Raw {
        /// IP protocol number.
        protocol: u8,
        /// All of it.
        bytes: Vec<u8>,
    },
}

impl Packet {
    /// A TCP packet with these flags and no payload.
    #[must_use]
    pub const fn tcp(source: SocketAddr, destination: SocketAddr, flags: u8) -> Self {
        let body = Body::Tcp {
            flags,
            sequence: 1_000,
            acknowledgement: 0,
            window: 0xfaf0,
            payload: Vec::new(),
        };
        Self::new(source, destination, body)
    }

    /// A UDP packet.
    #[must_use]
    pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Self {
        let payload = payload.to_vec();
        Self::new(
            source,
            destination,
            Body::Udp {
                payload,
                has_checksum: true,
            },
        )
    }

    /// An SCTP packet with one chunk of this type.
    #[must_use]
    pub fn sctp(source: SocketAddr, destination: SocketAddr, chunk: u8, payload: &[u8]) -> Self {
        let body = Body::Sctp {
            // An INIT knows none yet.
            tag: if chunk == INIT { 0 } else { 0x7461_6731 },
            chunk: [chunk, 0],
            payload: payload.to_vec(),
            has_checksum: true,
        };
        Self::new(source, destination, body)
    }

    /// An ICMP or ICMPv6 message, by the family of the addresses.
    #[must_use]
    pub fn icmp(
        source: IpAddr,
        destination: IpAddr,
        [kind, code]: [u8; 2],
        rest: [u8; 4],
        payload: &[u8],
    ) -> Self {
        let payload = payload.to_vec();
        Self::new(
            SocketAddr::new(source, 0),
            SocketAddr::new(destination, 0),
            Body::Icmp {
                kind,
                code,
                rest,
                payload,
            },
        )
    }

    /// A packet on an Ethernet link, with MAC addresses of its own.
    #[must_use]
    pub const fn new(source: SocketAddr, destination: SocketAddr, body: Body) -> Self {
        Self {
            source,
            destination,
            macs: Some([[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]]),
            ttl: 64,
            fragment: None,
            options: Vec::new(),
            extensions: Vec::new(),
            body,
            trailer: Vec::new(),
            segment: 0,
        }
    }

    /// The packet with other addresses and ports; what they enter into follows.
    #[must_use]
    pub fn between(&self, source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source,
            destination,
            ..self.clone()
        }
    }

    /// The packet with another payload, if its protocol has one.
    #[must_use]
    pub fn with_payload(mut self, bytes: &[u8]) -> Self {
        match &mut self.body {
            Body::Tcp { payload, .. }
            | Body::Udp { payload, .. }
            | Body::Sctp { payload, .. }
            | Body::Icmp { payload, .. } => {
                *payload = bytes.to_vec();
            }
            Body::Raw { bytes: all, .. } => *all = bytes.to_vec(),
        }
        self
    }

    /// The packet with another time to live.
    #[must_use]
    pub const fn with_ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The packet between other machines of the link: destination, source.
    #[must_use]
    pub const fn with_macs(mut self, macs: [[u8; 6]; 2]) -> Self {
        self.macs = Some(macs);
        self
    }

    /// The packet in a frame that the link filled up with these bytes.
    #[must_use]
    pub fn with_trailer(mut self, bytes: &[u8]) -> Self {
        self.trailer = bytes.to_vec();
        self
    }

    /// The packet as one that stands for several with so much payload each (GSO).
    #[must_use]
    pub const fn in_segments_of(mut self, bytes: u32) -> Self {
        self.segment = bytes;
        self
    }

    /// The packet as a link without Ethernet header carries it.
    #[must_use]
    pub const fn without_ethernet(mut self) -> Self {
        self.macs = None;
        self
    }

    /// The packet as a fragment.
    #[must_use]
    pub const fn fragment(mut self, id: u16, offset: u16, more: bool) -> Self {
        self.fragment = Some(Fragment { id, offset, more });
        self
    }

    /// The packet as the fragments of a datagram, each of so many bytes (a multiple of 8) but the
    /// last.
    ///
    /// # Panics
    /// If it is longer than 64 KiB.
    #[must_use]
    pub fn in_fragments(&self, id: u16, size: usize) -> Vec<Self> {
        let body = self.body_bytes();
        let count = body.chunks(size).len();
        let parts = body.chunks(size).enumerate().map(|(i, part)| {
            let mut fragment = self.clone().fragment(id, (i * size) as u16, i + 1 < count);
            fragment.body = Body::Raw {
                protocol: self.protocol(),
                bytes: part.to_vec(),
            };
            fragment
        });
        parts.collect()
    }

    /// The packet with these IPv4 options.
    #[must_use]
    pub fn with_options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// The packet with these IPv6 extension headers.
    #[must_use]
    pub fn with_extensions(mut self, extensions: &[Extension]) -> Self {
        self.extensions = extensions.to_vec();
        self
    }

    /// The packet on its way back over the link that it came by.
    #[must_use]
    pub fn turned(mut self) -> Self {
        self.macs = self.macs.map(|[to, from]| [from, to]);
        self
    }

    /// The reset that answers this TCP packet (RFC 9293, section 3.10.7.1).
    ///
    /// # Panics
    /// If it is no TCP packet.
    #[must_use]
    pub fn reset(&self) -> Self {
        let Body::Tcp {
            flags,
            sequence,
            acknowledgement,
            payload,
            ..
        } = &self.body
        else {
            panic!("a reset answers TCP only: {self:?}");
        };
        let counted = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        let (flags, sequence, acknowledgement) = if flags & ACK != 0 {
            (RST, *acknowledgement, 0)
        } else {
            (RST | ACK, 0, sequence.wrapping_add(counted))
        };
        let body = Body::Tcp {
            flags,
            sequence,
            acknowledgement,
            window: 0,
            payload: Vec::new(),
        };
        Self::new(self.destination, self.source, body)
    }

    /// The ABORT that answers this SCTP packet (RFC 9260, section 8.4): with the tag that an INIT
    /// asks for, else with the packet's own and a flag that says so.
    ///
    /// # Panics
    /// If it is no SCTP packet, or an INIT without a tag.
    #[must_use]
    pub fn abort(&self) -> Self {
        const ABORT: u8 = 6;
        const REFLECTED: u8 = 1;
        let Body::Sctp {
            tag,
            chunk: [kind, _],
            payload,
            ..
        } = &self.body
        else {
            panic!("an ABORT answers SCTP only: {self:?}");
        };
        let (tag, flags) = if *kind == INIT {
            let tag = payload.first_chunk().expect("an INIT has a tag");
            (u32::from_be_bytes(*tag), 0)
        } else {
            (*tag, REFLECTED)
        };
        let body = Body::Sctp {
            tag,
            chunk: [ABORT, flags],
            payload: Vec::new(),
            has_checksum: true,
        };
        Self::new(self.destination, self.source, body)
    }

    /// Its IP protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp { .. } => 6,
            Body::Udp { .. } => 17,
            Body::Sctp { .. } => 132,
            Body::Icmp { .. } if self.source.is_ipv4() => 1,
            Body::Icmp { .. } => 58,
            Body::Raw { protocol, .. } => protocol,
        }
    }
}
