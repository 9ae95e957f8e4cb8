//! What is special about SCTP (RFC 9260)? Its checksum, and which chunks begin and end an
//! association.
//!
//! The checksum is CRC32c over the whole packet, without addresses. A CRC is linear: when bits of
//! the packet change, it changes by the CRC of just these bits, followed by as many zeros as there
//! are bytes after them. That is a product of polynomials over GF(2), so a change of ports costs
//! two multiplications, whatever the payload.
//!
//! Polynomials are written as the wire has them: the coefficient of the highest power in the lowest
//! bit, so that x^0 is the highest one.

use bytemuck::{Pod, Zeroable};

use crate::tcp;
use crate::wire::Ports;

/// Castagnoli's polynomial without its x^32.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// What every SCTP packet begins with.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct SctpHeader {
    /// Both ports.
    pub ports: Ports,
    /// Verification tag, as it lies in memory.
    pub tag: u32,
    /// CRC32c, least significant byte first; zero = left to the device.
    pub checksum: [u8; 4],
}

/// Where the first chunk begins, from the header's start.
pub const FIRST_CHUNK: usize = size_of::<SctpHeader>();
/// Where the first chunk of an INIT has the initiate tag, from the header's start.
pub const INITIATE_TAG: usize = FIRST_CHUNK + 4;

/// Type of a chunk: asks for an association.
pub const INIT: u8 = 1;
/// As [`INIT`]: the answer.
pub const INIT_ACK: u8 = 2;
/// As [`INIT`]: ends the association at once.
pub const ABORT: u8 = 6;
/// As [`INIT`]: the last packet of an association that was shut down.
pub const SHUTDOWN_COMPLETE: u8 = 14;

/// The TCP flags that say of a connection what a packet's first chunk says of an association. The
/// chunks that matter stand first: INIT, INIT ACK and SHUTDOWN COMPLETE stand alone.
#[inline(always)]
#[must_use]
pub const fn as_tcp_flags(chunk: u8) -> u8 {
    match chunk {
        INIT => tcp::SYN,
        INIT_ACK => tcp::SYN | tcp::ACK,
        ABORT | SHUTDOWN_COMPLETE => tcp::RST,
        _ => tcp::ACK,
    }
}

/// The checksum of a packet of so many bytes after its ports changed. Both checksums and ports as
/// they lie in memory, least significant byte first; an old checksum of zero stays.
#[inline(always)]
#[must_use]
pub fn update(checksum: u32, old_ports: u32, new_ports: u32, length: u16) -> u32 {
    if checksum == 0 {
        return 0;
    }
    let change = multiply(old_ports ^ new_ports, power(length));
    checksum ^ change
}

/// An ABORT without a cause: the refusal of a packet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Abort {
    /// What every packet begins with.
    pub header: SctpHeader,
    /// Type, flags, length.
    pub chunk: [u8; 4],
}

/// The chunk flag T: the tag is the refused packet's own, not one that its sender chose.
const REFLECTED: u8 = 1;

impl Abort {
    /// An ABORT with this tag, `reflected` or chosen by the receiver (RFC 9260, section 8.4).
    #[inline(always)]
    #[must_use]
    pub const fn new(ports: Ports, tag: u32, reflected: bool) -> Self {
        let flags = if reflected { REFLECTED } else { 0 };
        let chunk = [ABORT, flags, 0, 4];
        let template = if reflected {
            REFLECTED_ABORT
        } else {
            OWN_ABORT
        };
        let [a, b] = ports.source.raw().to_le_bytes();
        let [c, d] = ports.destination.raw().to_le_bytes();
        let checksum = template
            ^ multiply(u32::from_le_bytes([a, b, c, d]), FROM_PORTS)
            ^ multiply(tag, FROM_TAG);
        Self {
            header: SctpHeader {
                ports,
                tag,
                checksum: checksum.to_le_bytes(),
            },
            chunk,
        }
    }
}

/// CRC32c of an ABORT whose ports and tag are zero.
const OWN_ABORT: u32 = crc(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ABORT, 0, 0, 4]);
/// As [`OWN_ABORT`], with the flag T.
const REFLECTED_ABORT: u32 = crc(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ABORT, REFLECTED, 0, 4]);
/// What ports are multiplied by in a packet of that length, and the tag after them.
const FROM_PORTS: u32 = power_of_x(8 * 16);
const FROM_TAG: u32 = power_of_x(8 * 12);

/// CRC32c, for constants only.
const fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    let mut i = 0;
    while i < bytes.len() {
        crc ^= bytes[i] as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = times_x(crc);
            bit += 1;
        }
        i += 1;
    }
    !crc
}

/// x^(8n) for n below 256, and x^(8·256n).
static POWERS: [[u32; 256]; 2] = [powers(power_of_x(8)), powers(power_of_x(8 * 256))];

/// x^(8·bytes).
#[inline(always)]
fn power(bytes: u16) -> u32 {
    let [low, high] = bytes.to_le_bytes();
    multiply(POWERS[0][low as usize], POWERS[1][high as usize])
}

/// The powers of a polynomial, from its zeroth on.
const fn powers(base: u32) -> [u32; 256] {
    let mut powers = [ONE; 256];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = multiply(powers[i - 1], base);
        i += 1;
    }
    powers
}

const fn power_of_x(exponent: u32) -> u32 {
    let mut power = ONE;
    let mut i = 0;
    while i < exponent {
        power = times_x(power);
        i += 1;
    }
    power
}

/// The product of two polynomials. Straight on, without loops or branches: the verifier walks this
/// on every path that comes here.
#[inline(always)]
const fn multiply(a: u32, b: u32) -> u32 {
    // The lowest power that the product may have, x^62, is in bit 0: it belongs into bit 1.
    let product = product(a, b) << 1;
    let mut overhang = product as u32;
    let mut bytes = 0;
    while bytes < 4 {
        overhang = TIMES_X8[(overhang & 0xff) as usize] ^ (overhang >> 8);
        bytes += 1;
    }
    (product >> 32) as u32 ^ overhang
}

/// The product without carries, before it is reduced. Integer multiplication does it where of four
/// bits only one may be set: a sum of up to eight ones stays within its four bits, and its lowest bit
/// is what adding without carries gives.
#[inline(always)]
const fn product(a: u32, b: u32) -> u64 {
    const EACH_FOURTH: u64 = 0x1111_1111_1111_1111;
    let a = every_fourth(a);
    let b = every_fourth(b);
    let z0 = (a[0] * b[0]) ^ (a[1] * b[3]) ^ (a[2] * b[2]) ^ (a[3] * b[1]);
    let z1 = (a[0] * b[1]) ^ (a[1] * b[0]) ^ (a[2] * b[3]) ^ (a[3] * b[2]);
    let z2 = (a[0] * b[2]) ^ (a[1] * b[1]) ^ (a[2] * b[0]) ^ (a[3] * b[3]);
    let z3 = (a[0] * b[3]) ^ (a[1] * b[2]) ^ (a[2] * b[1]) ^ (a[3] * b[0]);
    (z0 & EACH_FOURTH)
        | (z1 & (EACH_FOURTH << 1))
        | (z2 & (EACH_FOURTH << 2))
        | (z3 & (EACH_FOURTH << 3))
}

/// The number's bits in four numbers, so that of four neighbours each has one.
#[inline(always)]
const fn every_fourth(a: u32) -> [u64; 4] {
    let a = a as u64;
    [
        a & 0x1111_1111,
        a & 0x2222_2222,
        a & 0x4444_4444,
        a & 0x8888_8888,
    ]
}

/// What the eight highest powers of a polynomial become when it is multiplied by x^8.
const TIMES_X8: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < table.len() {
        let mut product = i as u32;
        let mut bit = 0;
        while bit < 8 {
            product = times_x(product);
            bit += 1;
        }
        table[i] = product;
        i += 1;
    }
    table
};

#[inline(always)]
const fn times_x(a: u32) -> u32 {
    (a >> 1) ^ (POLYNOMIAL & (a & 1).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;
    use crate::wire::Be16;

    #[test]
    fn constants_are_computed_as_the_check_value_of_crc32c_asks() {
        assert_eq!(crc(b"123456789"), 0xe306_9283);
    }

    /// The packet with its checksum, by a crate that knows nothing of ours.
    fn sealed(mut packet: Vec<u8>) -> Vec<u8> {
        packet[8..12].fill(0);
        let sum = crc32c::crc32c(&packet);
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
        packet
    }

    fn word(packet: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(packet[at..at + 4].try_into().expect("four bytes"))
    }

    proptest! {
        #[test]
        fn an_update_equals_a_recomputation(
            content in prop::collection::vec(any::<u8>(), 12..2_000),
            ports in any::<[u8; 4]>(),
        ) {
            let before = sealed(content);
            let mut after = before.clone();
            after[..4].copy_from_slice(&ports);
            let after = sealed(after);
            let length = before.len() as u16;
            let updated = update(word(&before, 8), word(&before, 0), word(&after, 0), length);
            prop_assert_eq!(updated, word(&after, 8));
        }

        #[test]
        fn an_abort_has_the_right_checksum(ports in any::<[u16; 2]>(), tag: u32, reflected: bool) {
            let [source, destination] = ports.map(Be16::new);
            let abort = Abort::new(Ports { source, destination }, tag, reflected);
            let bytes = bytemuck::bytes_of(&abort).to_vec();
            prop_assert_eq!(sealed(bytes.clone()), bytes);
        }
    }

    #[test]
    fn the_longest_packet_is_no_exception() {
        let before = sealed((0..u16::MAX).map(|i| (i % 251) as u8).collect());
        let mut after = before.clone();
        after[..4].copy_from_slice(&[1, 2, 3, 4]);
        let after = sealed(after);
        let updated = update(
            word(&before, 8),
            word(&before, 0),
            word(&after, 0),
            u16::MAX,
        );
        assert_eq!(updated, word(&after, 8));
    }

    #[test]
    fn what_is_left_to_the_device_stays_so() {
        assert_eq!(update(0, 1, 2, 40), 0);
    }

    #[test]
    fn an_association_begins_with_init_and_ends_with_abort_or_shutdown_complete() {
        assert!(tcp::begins(as_tcp_flags(INIT)));
        for chunk in [0, INIT_ACK, 3, 10, 11, ABORT, SHUTDOWN_COMPLETE] {
            assert!(!tcp::begins(as_tcp_flags(chunk)), "{chunk}");
        }
        for chunk in [ABORT, SHUTDOWN_COMPLETE] {
            assert!(tcp::ended(as_tcp_flags(chunk), 0));
        }
        assert!(!tcp::ended(as_tcp_flags(0), as_tcp_flags(7)));
    }
}
