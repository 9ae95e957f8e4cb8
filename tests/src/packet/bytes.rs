//! How does a packet look, byte by byte? With an own idea of checksums: everything is summed up
//! from scratch, by the text of RFC 1071, and shares no code with what is tested.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Body, Extension, Fragment, Packet};

impl Packet {
    /// The whole packet.
    ///
    /// # Panics
    /// If its addresses are of two families or it is longer than 64 KiB.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some([to, from]) = self.macs {
            let kind: u16 = if self.source.is_ipv4() {
                0x0800
            } else {
                0x86dd
            };
            bytes.extend([to, from].concat());
            bytes.extend(kind.to_be_bytes());
        }
        bytes.extend(self.ip_bytes());
        bytes.extend(&self.trailer);
        bytes
    }

    /// The packet from its IP header on.
    ///
    /// # Panics
    /// As [`Packet::bytes`].
    #[must_use]
    pub fn ip_bytes(&self) -> Vec<u8> {
        let body = self.body_bytes();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.in_ipv4(source, destination, &body)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.in_ipv6(source, destination, &body)
            }
            families => panic!("a packet between families: {families:?}"),
        }
    }

    fn in_ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr, body: &[u8]) -> Vec<u8> {
        const DO_NOT_FRAGMENT: u16 = 0x4000;
        let (id, place) = match self.fragment {
            None => (0, DO_NOT_FRAGMENT),
            Some(Fragment { id, offset, more }) => (id, (u16::from(more) << 13) | (offset / 8)),
        };
        let words = 5 + self.options.len() / 4;
        let mut header = vec![0x40 | words as u8, 0];
        header.extend(length(4 * words + body.len()).to_be_bytes());
        header.extend(id.to_be_bytes());
        header.extend(place.to_be_bytes());
        header.extend([self.ttl, self.protocol(), 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.options);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [header.as_slice(), body].concat()
    }

    fn in_ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr, body: &[u8]) -> Vec<u8> {
        const FRAGMENT: u8 = 44;
        let is_behind = |extension: &&Extension| extension.kind == Extension::DESTINATION_OPTIONS;
        // From the last header to the first, as each names the one behind it.
        let (mut next, mut rest) = (self.protocol(), body.to_vec());
        let mut put = |kind: u8, second: u8, data: &[u8]| {
            let header = [&[next, second], data].concat();
            rest.splice(0..0, header);
            next = kind;
        };
        // A later fragment begins anywhere: what it continues has had its headers.
        let is_later = self.fragment.is_some_and(|fragment| fragment.offset != 0);
        let behind = self.extensions.iter().rev().filter(is_behind);
        for extension in behind.filter(|_| !is_later) {
            put(extension.kind, extension.length(), &extension.data);
        }
        if let Some(Fragment { id, offset, more }) = self.fragment {
            let place = (offset | u16::from(more)).to_be_bytes();
            put(
                FRAGMENT,
                0,
                &[place.as_slice(), &u32::from(id).to_be_bytes()].concat(),
            );
        }
        for extension in self.extensions.iter().rev() {
            if !is_behind(&extension) {
                put(extension.kind, extension.length(), &extension.data);
            }
        }
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length(rest.len()).to_be_bytes());
        packet.extend([next, self.ttl]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(rest);
        packet
    }

    /// The packet from its transport header on.
    pub(super) fn body_bytes(&self) -> Vec<u8> {
        let ports = [
            self.source.port().to_be_bytes(),
            self.destination.port().to_be_bytes(),
        ]
        .concat();
        let (mut bytes, sum_at) = match &self.body {
            Body::Tcp {
                flags,
                sequence,
                acknowledgement,
                window,
                payload,
            } => {
                let mut bytes = ports;
                bytes.extend(sequence.to_be_bytes());
                bytes.extend(acknowledgement.to_be_bytes());
                // Five words of header.
                bytes.extend([5 << 4, *flags]);
                bytes.extend(window.to_be_bytes());
                // Checksum, urgent data.
                bytes.extend([0; 4]);
                bytes.extend(payload);
                (bytes, Some(16))
            }
            Body::Udp {
                payload,
                has_checksum,
            } => {
                let mut bytes = ports;
                bytes.extend(length(8 + payload.len()).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(payload);
                (bytes, has_checksum.then_some(6))
            }
            Body::Sctp {
                tag,
                chunk,
                payload,
                has_checksum,
            } => {
                let mut bytes = ports;
                bytes.extend(tag.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(chunk);
                bytes.extend(length(4 + payload.len()).to_be_bytes());
                bytes.extend(payload);
                if *has_checksum {
                    let sum = crc32c::crc32c(&bytes);
                    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
                }
                (bytes, None)
            }
            Body::Icmp {
                kind,
                code,
                rest,
                payload,
            } => {
                let mut bytes = vec![*kind, *code, 0, 0];
                bytes.extend(rest);
                bytes.extend(payload);
                (bytes, Some(2))
            }
            Body::Raw { bytes, .. } => (bytes.clone(), None),
        };
        if let Some(at) = sum_at {
            let sum = self.body_checksum(&bytes);
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// Over the pseudo-header too, which ICMP for IPv4 alone does without.
    fn body_checksum(&self, bytes: &[u8]) -> u16 {
        let mut covered = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) if self.protocol() == 1 => Vec::new(),
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                [source.octets(), destination.octets()].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                [source.octets(), destination.octets()].concat()
            }
            families => panic!("a packet between families: {families:?}"),
        };
        if !covered.is_empty() {
            // IPv4 writes protocol and length in four bytes, IPv6 in eight: the sum is the same.
            covered.extend([0, self.protocol()]);
            covered.extend(length(bytes.len()).to_be_bytes());
        }
        covered.extend(bytes);
        match checksum(&covered) {
            // In UDP zero says that there is no checksum.
            0 if self.protocol() == 17 => 0xffff,
            sum => sum,
        }
    }
}

impl Extension {
    /// Its length as it says it: words of 8 bytes behind the first; authentication counts in words
    /// of 4 (RFC 4302, section 2.2).
    fn length(&self) -> u8 {
        let bytes = self.data.len() + 2;
        let words = if self.kind == Self::AUTHENTICATION {
            bytes / 4 - 2
        } else {
            bytes / 8 - 1
        };
        words.try_into().expect("an extension header is shorter")
    }
}

/// The Internet checksum of bytes whose checksum field is zero (RFC 1071, in big-endian words).
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("a packet has less than 64 KiB")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::SYN;
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_has_its_sum() {
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
    }

    #[test]
    fn whole_packets_sum_up_to_all_ones() {
        let pairs = [
            ("10.42.0.9:40000", "10.43.165.39:80"),
            ("[fd00::9]:40000", "[fd00:43::39]:80"),
        ];
        for (source, destination) in pairs {
            let [source, destination]: [SocketAddr; 2] =
                [source, destination].map(|a| a.parse().unwrap());
            for packet in [
                Packet::tcp(source, destination, SYN).with_payload(b"odd"),
                Packet::udp(source, destination, b"even"),
            ] {
                let bytes = packet.ip_bytes();
                let header = if source.is_ipv4() { 20 } else { 40 };
                if source.is_ipv4() {
                    assert_eq!(checksum(&bytes[..header]), 0);
                }
                // Addresses are the last thing in either header.
                let addresses = if source.is_ipv4() { 8 } else { 32 };
                let mut covered = bytes[header - addresses..].to_vec();
                covered.splice(addresses..addresses, [0, packet.protocol()]);
                let body = u16::try_from(bytes.len() - header).unwrap();
                covered.splice(addresses + 2..addresses + 2, body.to_be_bytes());
                assert_eq!(checksum(&covered), 0, "{packet:?}");
            }
        }
    }
}
