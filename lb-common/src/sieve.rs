//! Can a packet concern us, by nothing but where it goes? So that one of somebody else's costs two
//! reads instead of three look-ups.
//!
//! A packet that enters the node concerns us only if its destination is
//!
//! - a frontend, or a port of a Service's address (`decide::without_frontend` refuses it), or in a
//!   `ServiceCIDR`;
//! - a port that SNAT gave to a flow, at an address of this node (replies in transit and of pods that
//!   reach themselves; all other replies change where they leave);
//! - a backend: a connection that reaches it directly may have to be kept apart;
//! - that of a flow that is still there while any of these has gone.
//!
//! All of them have their mark, and chance gives it to some others, which are looked at in vain. ICMP
//! and fragments are not asked about: what they are about is not where they go.

use crate::addr::Family;
use crate::decide::{SCTP, TCP, UDP};
use crate::flow::{mirror, mirror_key};
use crate::layout::{
    FLOW_HAIRPIN, FLOW_HELD, FLOW_REPLY, FLOW_SNAT, Flow, FlowKey, Sieve, SieveFrame,
};
use crate::limits::SIEVE_WORDS;

/// Bits of all marks.
const SPOTS: usize = SIEVE_WORDS * 64;

/// Stands for the address itself, whatever the port.
const ANY_PORT: u32 = 0;
/// Stands for all ports that SNAT gives out.
const SNAT_PORT: u32 = 1 << 16;

/// Odd numbers with about as many ones as zeros: one for each word of an address, and for the port.
const ADDRESS: [u64; 4] = [
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
    0xd6e8_feb8_6659_fd93,
];
const PORT: u64 = 0xff51_afd7_ed55_8ccd;

/// Whether a packet of this protocol may be asked about.
#[inline(always)]
#[must_use]
pub const fn is_asked(protocol: u8) -> bool {
    protocol == TCP || protocol == UDP || protocol == SCTP
}

/// Sums of products: who wants to can find addresses that share a bit with ours, and gains nothing but
/// that its packets are looked at, as all were without a sieve.
#[inline(always)]
fn spot<A: Family>(address: &A, port: u32) -> usize {
    let mut sum = u64::from(port).wrapping_mul(PORT);
    let mut i = 0;
    while i < A::WORDS {
        sum = sum.wrapping_add(u64::from(address.word(i)).wrapping_mul(ADDRESS[i]));
        i += 1;
    }
    (sum >> (64 - SPOTS.ilog2())) as usize
}

impl<A: Family> SieveFrame<A> {
    /// The number of the bit that marks an address with a port; port zero stands for the address
    /// itself.
    #[inline(always)]
    #[must_use]
    pub fn spot(&self, address: &A, port: u16) -> usize {
        let [first, last] = self.snat_ports;
        let is_given_out = port.wrapping_sub(first) <= last.wrapping_sub(first);
        let port = if is_given_out && port != 0 {
            SNAT_PORT
        } else {
            u32::from(port)
        };
        spot(address, port)
    }
}

impl<A> Sieve<A> {
    /// Whether packets pass that are not marked.
    #[inline(always)]
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        self.state & 1 != 0
    }

    /// How many bits are set.
    #[must_use]
    pub fn marked(&self) -> u32 {
        self.marks.iter().map(|word| word.count_ones()).sum()
    }
}

impl<A: Family> Sieve<A> {
    /// Whether a packet to this address and port may concern us.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self, address: &A, port: u16) -> bool {
        !self.is_in_force()
            || self.has(spot(address, ANY_PORT))
            || self.has(self.frame.spot(address, port))
            || self.frame.services.contains(address)
    }

    /// Whether the bit is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, spot: usize) -> bool {
        self.marks[spot / 64] >> (spot % 64) & 1 != 0
    }
}

/// The number of the bit that marks all ports which SNAT gives out at an address of this node.
#[inline(always)]
#[must_use]
pub fn spot_of_snat<A: Family>(address: &A) -> usize {
    spot(address, SNAT_PORT)
}

/// Where packets go for which this flow, whichever of its entries this is, has to be found: to the
/// frontend, to the backend (connections to be kept apart), and where replies change as they enter.
#[inline(always)]
pub fn ends_of_flow<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> [Option<(A, u16)>; 3] {
    let (key, flow) = if flow.flags & FLOW_REPLY == 0 {
        (*key, *flow)
    } else {
        (mirror_key(key, flow), mirror(key, flow))
    };
    let is_met = flow.flags & (FLOW_SNAT | FLOW_HAIRPIN | FLOW_HELD) != 0;
    [
        Some((key.destination, key.destination_port)),
        Some((flow.destination, flow.destination_port)),
        is_met.then_some((flow.source, flow.source_port)),
    ]
}

#[cfg(test)]
mod tests {
    use std::boxed::Box;

    use super::*;
    use crate::addr::Ip4;
    use crate::layout::Prefix;

    const VIP: Ip4 = Ip4::new(10, 96, 0, 1);
    const NODE: Ip4 = Ip4::new(192, 0, 2, 10);
    const CLIENT: Ip4 = Ip4::new(203, 0, 113, 7);
    const BACKEND: Ip4 = Ip4::new(10, 42, 0, 9);

    #[expect(clippy::large_stack_arrays, reason = "a test's stack has room for one")]
    fn sieve(spots: &[usize]) -> Box<Sieve<Ip4>> {
        let mut sieve = Box::new(Sieve {
            state: 1,
            frame: frame(),
            marks: [0; SIEVE_WORDS],
        });
        for spot in spots {
            sieve.marks[spot / 64] |= 1 << (spot % 64);
        }
        sieve
    }

    fn frame() -> SieveFrame<Ip4> {
        SieveFrame {
            services: Prefix::default(),
            snat_ports: [1_024, 29_999],
        }
    }

    #[test]
    fn a_port_is_marked_by_itself_an_address_with_all_ports_and_those_of_snat_as_one() {
        let frame = frame();
        let of_port = sieve(&[frame.spot(&NODE, 30_080)]);
        assert!(of_port.holds(&NODE, 30_080));
        assert!(!of_port.holds(&NODE, 30_081) && !of_port.holds(&CLIENT, 30_080));
        let of_address = sieve(&[frame.spot(&VIP, 0)]);
        assert!(of_address.holds(&VIP, 0) && of_address.holds(&VIP, 65_535));
        assert!(of_address.holds(&VIP, 1_024) && !of_address.holds(&NODE, 1_024));
        let of_snat = sieve(&[spot_of_snat(&NODE)]);
        assert!(of_snat.holds(&NODE, 1_024) && of_snat.holds(&NODE, 29_999));
        assert!(!of_snat.holds(&NODE, 1_023) && !of_snat.holds(&NODE, 30_000));
        assert_eq!(of_snat.marked(), 1);
    }

    #[test]
    fn without_force_every_packet_is_looked_at() {
        let mut sieve = sieve(&[]);
        assert!(!sieve.holds(&VIP, 80));
        sieve.state += 1;
        assert!(sieve.holds(&VIP, 80));
    }

    #[test]
    fn both_entries_of_a_flow_have_the_same_ends() {
        let key = FlowKey {
            source: CLIENT,
            destination: VIP,
            source_port: 40_000,
            destination_port: 80,
            protocol: TCP,
            ..FlowKey::default()
        };
        for (flags, source) in [
            (0, CLIENT),
            (FLOW_SNAT, NODE),
            (FLOW_HAIRPIN, NODE),
            (FLOW_HELD, CLIENT),
        ] {
            let flow = Flow {
                source,
                destination: BACKEND,
                source_port: 2_000,
                destination_port: 8_080,
                flags,
                ..Flow::default()
            };
            let met = (flags != 0).then_some((source, 2_000));
            let ends = [Some((VIP, 80)), Some((BACKEND, 8_080)), met];
            assert_eq!(ends_of_flow(&key, &flow), ends);
            let (reply_key, reply) = (mirror_key(&key, &flow), mirror(&key, &flow));
            assert_eq!(ends_of_flow(&reply_key, &reply), ends, "{flags}");
        }
    }
}
