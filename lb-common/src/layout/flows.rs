//! What is remembered of connections and clients? Programs write these maps.

use core::mem::offset_of;

use crate::addr::{Family, Ip4, Ip6};

/// Map `flows4|6`: the packet as it arrives, before anything is changed. Queue `evictable4|6`, as
/// its values: a flow that began or ended, by the key of either direction, marked with its beginning
/// ([`mark_of`]).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct FlowKey<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero; in `evictable4|6` the mark.
    pub reserved: [u8; 3],
}

/// Both ports, which lie behind two addresses in a key and in a flow, as one word of a packet, but for
/// the order of its halves, which no checksum minds.
#[inline(always)]
fn ports<T: bytemuck::Pod, A>(of: &T) -> u32 {
    let bytes = bytemuck::bytes_of(of);
    let ports = bytes[2 * size_of::<A>()..].first_chunk();
    u32::from_ne_bytes(ports.copied().unwrap_or_default()).to_be()
}

const _: () = {
    assert!(offset_of!(FlowKey<Ip4>, source_port) == 2 * size_of::<Ip4>());
    assert!(offset_of!(FlowKey<Ip6>, source_port) == 2 * size_of::<Ip6>());
    assert!(offset_of!(Flow<Ip4>, source_port) == 2 * size_of::<Ip4>());
    assert!(offset_of!(Flow<Ip6>, source_port) == 2 * size_of::<Ip6>());
};

/// The spare bytes of a key, in its last word.
const SPARE: u32 = mark_of(u32::MAX);

/// What tells a flow from others that had or will have its key, by when it began (jiffies, low 32 bits):
/// the mark of a key in `evictable4|6`.
#[inline(always)]
#[must_use]
pub const fn mark_of(created: u32) -> u32 {
    if cfg!(target_endian = "little") {
        created << 8
    } else {
        created & 0xff_ffff
    }
}

impl<A: Family> FlowKey<A> {
    /// Sets the addresses, in stores of eight bytes: who compares keys loads as many at once, and waits
    /// long for those that were just written in pieces.
    #[inline(always)]
    pub fn set_addresses(&mut self, source: &A, destination: &A) {
        let word = |i: usize| {
            let word = if i < A::WORDS {
                source.word(i)
            } else {
                destination.word(i - A::WORDS)
            };
            word.to_ne_bytes()
        };
        let bytes = bytemuck::bytes_of_mut(self);
        let mut i = 0;
        while i < A::WORDS {
            let (first, second) = (word(2 * i), word(2 * i + 1));
            let mut pair = [0; 8];
            pair[..4].copy_from_slice(&first);
            pair[4..].copy_from_slice(&second);
            if let Some(place) = bytes[8 * i..].first_chunk_mut() {
                *place = pair;
            }
            i += 1;
        }
    }

    /// Sets what is not an address, in one store: the hash of a key loads whole words, and waits long
    /// for one that was just written in pieces.
    #[inline(always)]
    pub fn set_ports(&mut self, source: u16, destination: u16, protocol: u8) {
        let word = if cfg!(target_endian = "little") {
            u64::from(source) | u64::from(destination) << 16 | u64::from(protocol) << 32
        } else {
            u64::from(source) << 48 | u64::from(destination) << 32 | u64::from(protocol) << 24
        };
        let bytes = bytemuck::bytes_of_mut(self);
        if let Some(last) = bytes.last_chunk_mut() {
            *last = word.to_ne_bytes();
        }
    }

    /// Both ports, for checksums: network order, but for the order of the two.
    #[inline(always)]
    #[must_use]
    pub fn ports(&self) -> u32 {
        ports::<Self, A>(self)
    }

    /// Sets the mark, to [`mark_of`] a flow, or to zero as in all other maps, and returns the old one.
    #[inline(always)]
    pub fn set_mark(&mut self, mark: u32) -> u32 {
        // As a word: its bytes would be loaded and stored one by one.
        let words: &mut [u32] = bytemuck::cast_slice_mut(core::slice::from_mut(self));
        let Some(last) = words.last_mut() else {
            return 0;
        };
        let before = *last;
        *last = before & !SPARE | mark;
        before & SPARE
    }
}

/// Map `flows4|6`: what becomes of the packet. The other direction's entry is the mirror image:
/// [`crate::flow::mirror`] makes it from this one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Flow<A> {
    /// New source address.
    pub source: A,
    /// New destination address.
    pub destination: A,
    /// New source port, host order.
    pub source_port: u16,
    /// New destination port, host order.
    pub destination_port: u16,
    /// `FLOW_*` bits.
    pub flags: u16,
    /// `TCP_*` bits of [`crate::tcp`] seen in this direction; for UDP [`crate::tcp::SEEN`].
    pub state: u8,
    /// [`Hook`](crate::drops::Hook) that made the entry.
    pub hook: u8,
    /// Id of the service port (map `services`).
    pub service_port: u32,
    /// The backend's generation when the flow began: with address and port it names one endpoint,
    /// which an id does not, as ids are given out again.
    pub generation: u32,
    /// Jiffies, low 32 bits, when the flow began.
    pub created: u32,
    /// Jiffies, low 32 bits, when this direction was last seen.
    pub last_seen: u32,
    /// Packets in this direction (approximate where one flow's packets meet on two CPUs).
    pub packets: u64,
    /// Bytes in this direction, from the IP header on.
    pub bytes: u64,
}

impl<A: Family> Flow<A> {
    /// As [`FlowKey::ports`], after the change.
    #[inline(always)]
    #[must_use]
    pub fn ports(&self) -> u32 {
        ports::<Self, A>(self)
    }
}

/// The entry is the reply direction (backend to client).
pub const FLOW_REPLY: u16 = 1;
/// The client's address is replaced by the node's: both directions are ours at ingress and leave
/// by redirect.
pub const FLOW_SNAT: u16 = 2;
/// Client and backend are the same pod: back out of the link it came from.
pub const FLOW_HAIRPIN: u16 = 4;
/// Decided by the `outside` pool (an outside client).
pub const FLOW_OUTSIDE: u16 = 8;
/// The port was changed to keep two flows apart; the client's address was not.
pub const FLOW_RENUMBERED: u16 = 16;
/// Affinity chose the backend.
pub const FLOW_AFFINITY: u16 = 32;
/// Client and backend are ports of one bridge, and the packet stays on it.
pub const FLOW_BRIDGED: u16 = 64;
/// A direct connection to the backend, here only to be kept apart from one through a frontend.
pub const FLOW_DIRECT: u16 = 128;
/// The flow is being handed over, from us or to us: its packets are dropped where they come in until
/// that is done, for a second after `created` at most.
pub const FLOW_HELD: u16 = 256;

/// Map `affinity4|6`: who asks.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct AffinityKey<A> {
    /// The client's address.
    pub client: A,
    /// Id of the service port (map `services`).
    pub service_port: u32,
}

/// Map `affinity4|6`: whom it got.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Affinity {
    /// Id of the backend.
    pub backend: u32,
    /// The backend's generation then: an id given to another backend is no affinity.
    pub generation: u32,
    /// Jiffies, low 32 bits, of the last use.
    pub last_used: u32,
}

impl Affinity {
    /// Whether it still counts at that time (jiffies, low 32 bits) if it lasts so many seconds, of
    /// `hz` jiffies each.
    #[inline(always)]
    #[must_use]
    pub const fn holds(&self, now: u32, seconds: u32, hz: u32) -> bool {
        now.wrapping_sub(self.last_used) < seconds.saturating_mul(hz)
    }
}

/// Map `snat4|6`, by the [`FlowKey`] of the reply: who holds this port toward this backend.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Reservation<A> {
    /// The client's address.
    pub client: A,
    /// The frontend's address.
    pub frontend: A,
    /// The client's port, host order.
    pub client_port: u16,
    /// The frontend's port, host order.
    pub frontend_port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csum;

    fn key_with<A: Family>(source: A) -> FlowKey<A> {
        FlowKey {
            source,
            reserved: [0xff; 3],
            ..FlowKey::default()
        }
    }

    #[test]
    fn ports_and_protocol_are_set_and_nothing_else() {
        let mut four = key_with(Ip4::new(10, 1, 2, 3));
        four.set_ports(0x1234, 0xabcd, 6);
        let expected = FlowKey {
            source: Ip4::new(10, 1, 2, 3),
            source_port: 0x1234,
            destination_port: 0xabcd,
            protocol: 6,
            ..FlowKey::default()
        };
        assert_eq!(four, expected);
        let mut six = key_with(Ip6::default());
        six.set_ports(1, 2, 132);
        assert_eq!((six.source_port, six.destination_port), (1, 2));
        assert_eq!((six.protocol, six.reserved), (132, [0; 3]));
    }

    #[test]
    fn addresses_are_set_and_nothing_else() {
        let mut four = key_with(Ip4::default());
        (four.source_port, four.destination_port, four.protocol) = (1, 2, 6);
        let (source, destination) = (Ip4::new(10, 1, 2, 3), Ip4::new(10, 96, 151, 12));
        four.set_addresses(&source, &destination);
        let expected = FlowKey {
            source,
            destination,
            source_port: 1,
            destination_port: 2,
            protocol: 6,
            reserved: [0xff; 3],
        };
        assert_eq!(four, expected);
        let mut six = FlowKey::default();
        let numbered = |first: u8| Ip6 {
            octets: core::array::from_fn(|i| first + i as u8),
        };
        six.set_addresses(&numbered(1), &numbered(101));
        assert_eq!((six.source, six.destination), (numbered(1), numbered(101)));
        assert_eq!((six.source_port, six.protocol), (0, 0));
    }

    fn change_of_ports<A: Family>() -> u64 {
        let mut key = key_with(A::default());
        key.set_ports(0x1234, 0xabcd, 6);
        let flow = Flow::<A> {
            source_port: 0xfffe,
            destination_port: 80,
            ..Flow::default()
        };
        csum::difference(key.ports(), flow.ports())
    }

    #[test]
    fn a_word_of_ports_changes_a_checksum_as_the_packets_own_does() {
        let in_packet = |source: u16, destination: u16| {
            let [a, b] = source.to_be_bytes();
            let [c, d] = destination.to_be_bytes();
            u32::from_ne_bytes([a, b, c, d])
        };
        let expected = csum::difference(in_packet(0x1234, 0xabcd), in_packet(0xfffe, 80));
        for change in [change_of_ports::<Ip4>(), change_of_ports::<Ip6>()] {
            for checksum in [0, 1, 0x8000, 0xfffe] {
                let expected = csum::update(checksum, expected);
                assert_eq!(csum::update(checksum, change), expected);
            }
        }
    }

    #[test]
    fn a_mark_is_set_and_taken_away_and_nothing_else() {
        let plain = FlowKey {
            source: Ip4::new(10, 1, 2, 3),
            source_port: 0x1234,
            destination_port: 0xabcd,
            protocol: 6,
            ..FlowKey::default()
        };
        let mut key = plain;
        for created in [1, 0x00ff_ffff, u32::MAX] {
            assert_eq!(key.set_mark(mark_of(created)), 0);
            assert_ne!(key.reserved, [0; 3]);
            let unmarked = FlowKey {
                reserved: plain.reserved,
                ..key
            };
            assert_eq!(unmarked, plain);
            assert_eq!(key.set_mark(0), mark_of(created));
            assert_eq!(key, plain);
        }
        assert_ne!(mark_of(1), mark_of(2));
    }
}
