//! Which ICMP messages are there, in each family, and how is an error made?
//!
//! An error is made around the packet that it is about: room for its headers is inserted before it.

use core::hint::black_box;

use lb_common::{
    addr::{Family, Ip4, Ip6},
    csum,
    wire::{Be32, IcmpHeader},
};

use crate::{forget::forget, ip::Wire, packet::Packet, parse::Headers};

/// Bytes of the transport header that an ICMP error quotes at least (RFC 792).
pub(crate) const QUOTED: usize = 8;

/// Where the checksum is, from the ICMP header's start.
pub(crate) const CHECKSUM: usize = core::mem::offset_of!(IcmpHeader, checksum);

/// A family's messages, as type and code.
pub(crate) trait Messages: Wire {
    /// The port is unreachable.
    const PORT_UNREACHABLE: [u8; 2];
    /// The time to live ended on the way.
    const TIME_EXCEEDED: [u8; 2];
    /// The packet is too big; the rest says how big it may be.
    const TOO_BIG: [u8; 2];
    /// Type of an echo request, and of its answer.
    const ECHO: [u8; 2];
    /// Bytes in an error at most, its IP header included: what every host takes whole.
    const LONGEST: usize;
    /// What every link carries: said where the link's own measure is not known.
    const LEAST_MTU: u32;

    /// Whether messages of this type say that something became of a packet, and quote it.
    fn is_error(kind: u8) -> bool;

    /// Whether the address is one machine's, so that it may be answered.
    fn is_one_machine(&self) -> bool;
}

impl Messages for Ip4 {
    /// RFC 792, as the next ones.
    const PORT_UNREACHABLE: [u8; 2] = [3, 3];
    const TIME_EXCEEDED: [u8; 2] = [11, 0];
    /// RFC 1191.
    const TOO_BIG: [u8; 2] = [3, 4];
    const ECHO: [u8; 2] = [8, 0];
    /// RFC 1812, section 4.3.2.3.
    const LONGEST: usize = 576;
    /// RFC 791, section 3.2: what every host takes; links may carry less, but none does.
    const LEAST_MTU: u32 = 576;

    /// Unreachable, time exceeded, parameter problem. A redirect is about a link, not a flow, and
    /// source quench is no more (RFC 6633).
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    /// Neither this network, nor loopback, multicast, reserved or broadcast (RFC 1122).
    #[inline(always)]
    fn is_one_machine(&self) -> bool {
        let [first, ..] = self.octets;
        !matches!(first, 0 | 127 | 224..)
    }
}

impl Messages for Ip6 {
    /// RFC 4443, as the next ones.
    const PORT_UNREACHABLE: [u8; 2] = [1, 4];
    const TIME_EXCEEDED: [u8; 2] = [3, 0];
    const TOO_BIG: [u8; 2] = [2, 0];
    const ECHO: [u8; 2] = [128, 129];
    /// RFC 4443, section 2.4 (c), as `LEAST_MTU`.
    const LONGEST: usize = 1_280;
    const LEAST_MTU: u32 = 1_280;

    /// Errors have the upper half of the types; these four are all that there are.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    /// Neither multicast, nor unspecified or loopback.
    #[inline(always)]
    fn is_one_machine(&self) -> bool {
        let rest = self.word(0) | self.word(1) | self.word(2);
        let nobody_or_myself = rest == 0 && u32::from_be(self.word(3)) <= 1;
        self.octets[0] != 0xff && !nobody_or_myself
    }
}

/// Turns the packet into an ICMP error about it, from `source` to where it came from; none if the
/// kernel refuses or the packet is shorter than what must be quoted.
#[inline(always)]
#[must_use]
pub(crate) fn error<A: Messages, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    [kind, code]: [u8; 2],
    rest: u32,
    source: &A,
) -> Option<()> {
    let room = size_of::<A::Header>() + size_of::<IcmpHeader>();
    let quoted = headers.length.min(A::LONGEST - room);
    if quoted < headers.transport - headers.ip + QUOTED {
        return None;
    }
    packet.resize(headers.ip + quoted)?;
    let rest = Be32::new(rest);
    let first_word = u32::from_ne_bytes([kind, code, 0, 0]);
    let payload = (size_of::<IcmpHeader>() + quoted) as u16;
    let destination = &headers.flow.source;
    let sum = sum(packet, headers.ip, quoted)?
        + u64::from(first_word)
        + u64::from(bytemuck::cast::<_, u32>(rest))
        + A::icmp_pseudo(source, destination, payload);
    packet.insert(room)?;
    packet.store(
        headers.ip,
        A::header(*source, *destination, A::ICMP, payload),
    )?;
    let icmp = IcmpHeader {
        kind,
        code,
        checksum: !csum::fold(sum),
        rest,
    };
    packet.store(headers.ip + size_of::<A::Header>(), icmp)
}

/// What is summed up in one turn: the verifier follows every turn by itself.
type Chunk = [u32; 16];

/// More than an error is long, and all ones, as a mask.
const LONGEST: usize = 0x7ff;
const _: () = assert!(Ip4::LONGEST < LONGEST && Ip6::LONGEST < LONGEST);

/// Sum of so many bytes from an offset, in 16-bit words; an odd last byte counts as the first of
/// a word.
#[inline(always)]
fn sum<P: Packet>(packet: &P, from: usize, length: usize) -> Option<u64> {
    // Where each part begins is told anew: else the verifier would follow the rest by itself for
    // each number of turns before it.
    let place = |before: usize| from + (forget(before as u32) as usize & LONGEST);
    let mut sum = 0;
    // Kernel 6.12 gets confused about a number of which it knows some bits, and would follow turns
    // without end: it is told none, and that there is an end.
    let chunks = forget((length & !(size_of::<Chunk>() - 1)) as u32) as usize;
    let mut i = 0;
    while i < LONGEST && i < chunks {
        // Hidden from LLVM, which would count the turns by arithmetic on pointers.
        let chunk: Chunk = packet.load(black_box(from + i))?;
        sum += chunk.iter().map(|&word| u64::from(word)).sum::<u64>();
        i += size_of::<Chunk>();
    }
    let rest = place(chunks);
    let words = (length % size_of::<Chunk>()) & !3;
    i = 0;
    while i < words {
        let word: u32 = packet.load(black_box(rest + i))?;
        sum += u64::from(word);
        i += 4;
    }
    let rest = place(length & !3);
    let mut last = [0_u8; 4];
    if length & 2 != 0 {
        let pair: [u8; 2] = packet.load(rest)?;
        [last[0], last[1]] = pair;
        if length & 1 != 0 {
            last[2] = packet.load(rest + 2)?;
        }
    } else if length & 1 != 0 {
        last[0] = packet.load(rest)?;
    }
    Some(sum + u64::from(u32::from_ne_bytes(last)))
}
