//! Which slot does a flow draw? A keyed hash, the same in the kernel, in tests and in `explain`.

use crate::addr::Family;
use crate::layout::{FRONTEND_MAGLEV, FlowKey, FrontendInfo};

/// Key of what all nodes must agree on. It is no secret: who wants to choose its backend can, by
/// its source port.
pub const COMMON_KEY: u64 = 0x5851_f42d_4c95_7f2d;

/// Odd constants with about as many ones as zeros; the multipliers of murmur3's finalizer.
const MIX: [u64; 2] = [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53];

/// Takes a word into the state of a hash.
#[inline(always)]
#[must_use]
pub const fn mix(state: u64, word: u64) -> u64 {
    let x = (state ^ word).wrapping_mul(MIX[0]);
    x ^ (x >> 32)
}

/// The hash of all words that were mixed.
#[inline(always)]
#[must_use]
pub const fn finish(state: u64) -> u32 {
    let x = state.wrapping_mul(MIX[1]);
    ((x ^ (x >> 33)) >> 8) as u32
}

/// A 32-bit number that every bit of the tuple and of the key influences.
#[inline(always)]
#[must_use]
pub fn draw<A: Family>(flow: &FlowKey<A>, key: u64) -> u32 {
    let ports = u64::from(flow.source_port) << 16 | u64::from(flow.destination_port);
    let mut state = mix(key, ports << 8 | u64::from(flow.protocol));
    let mut i = 0;
    while i < A::WORDS {
        let pair = u64::from(flow.source.word(i)) << 32 | u64::from(flow.destination.word(i));
        state = mix(state, pair);
        i += 1;
    }
    finish(state)
}

/// Which of so many slots a drawn number means: that part of all numbers that it is in. Not what is left of
/// a division, which takes as long as a look-up.
#[inline(always)]
#[must_use]
pub const fn slot(draw: u32, slots: u32) -> u32 {
    ((draw as u64 * slots as u64) >> 32) as u32
}

/// The least number that means this slot of so many.
#[must_use]
pub const fn draw_of(slot: u32, slots: u32) -> u32 {
    ((slot as u64) << 32).div_ceil(slots as u64) as u32
}

/// The number by which a frontend's slot is drawn.
pub trait Draw<A>: Copy {
    /// The number for this frontend.
    fn draw(&self, info: &FrontendInfo<A>) -> u32;
}

/// This very number, whatever the frontend: for questions about each slot.
impl<A> Draw<A> for u32 {
    #[inline(always)]
    fn draw(&self, _: &FrontendInfo<A>) -> u32 {
        *self
    }
}

/// The draw of a packet: by its addresses and ports.
#[derive(Clone, Copy, Debug)]
pub struct ByFlow<'f, A> {
    /// Its addresses, ports and protocol.
    pub flow: &'f FlowKey<A>,
    /// What [`draw`] makes of them with this node's key.
    pub own: u32,
}

impl<A: Family> Draw<A> for ByFlow<'_, A> {
    #[inline(always)]
    fn draw(&self, info: &FrontendInfo<A>) -> u32 {
        if info.flags & FRONTEND_MAGLEV == 0 {
            self.own
        } else {
            agreed(self.flow, info.affinity_seconds != 0)
        }
    }
}

/// What every node draws for this client: by its address and port and by the frontend's port, not
/// by its address, which for a nodePort is each node's own. With affinity the client's address
/// alone counts, so that the client keeps its backend whatever node and port it dials.
#[inline(always)]
#[must_use]
pub fn agreed<A: Family>(flow: &FlowKey<A>, by_client: bool) -> u32 {
    let ports = u64::from(flow.source_port) << 16 | u64::from(flow.destination_port);
    let ports = if by_client { 0 } else { ports };
    let mut state = mix(COMMON_KEY, ports << 8 | u64::from(flow.protocol));
    let mut i = 0;
    while i < A::WORDS {
        state = mix(state, u64::from(flow.source.word(i)));
        i += 1;
    }
    finish(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Ip4;

    fn flow(port: u16, destination: Ip4) -> FlowKey<Ip4> {
        FlowKey {
            source: Ip4::new(203, 0, 113, 7),
            destination,
            source_port: port,
            destination_port: 30_123,
            protocol: 6,
            reserved: [0; 3],
        }
    }

    #[test]
    fn every_slot_is_meant_by_as_many_numbers() {
        for slots in [1, 2, 3, 7, 65_537, u32::MAX] {
            for at in [0, 1, slots / 2, slots - 1].map(|at| at.min(slots - 1)) {
                let least = draw_of(at, slots);
                assert_eq!(slot(least, slots), at, "{slots}");
                assert_eq!(
                    least.checked_sub(1).map(|less| slot(less, slots)),
                    at.checked_sub(1)
                );
            }
            assert_eq!(slot(u32::MAX, slots), slots - 1);
        }
    }

    #[test]
    fn nodes_agree_about_maglev_frontends_only() {
        let maglev = FrontendInfo {
            flags: FRONTEND_MAGLEV,
            ..FrontendInfo::default()
        };
        let by = |info: &FrontendInfo<Ip4>, node, port| {
            let flow = flow(port, Ip4::new(192, 0, 2, node));
            let own = draw(&flow, u64::from(node));
            ByFlow { flow: &flow, own }.draw(info)
        };
        let random = FrontendInfo::default();
        assert_ne!(by(&random, 1, 40_000), by(&random, 2, 40_000));
        assert_eq!(by(&maglev, 1, 40_000), by(&maglev, 2, 40_000));
        assert_ne!(by(&maglev, 1, 40_000), by(&maglev, 1, 40_001));
        let sticky = FrontendInfo {
            affinity_seconds: 10_800,
            ..maglev
        };
        assert_eq!(by(&sticky, 1, 40_000), by(&sticky, 2, 40_001));
    }

    #[test]
    fn what_nodes_agree_on_spreads_evenly_over_seven() {
        let mut counts = [0_u32; 7];
        for port in 0..7_000 {
            let flow = flow(32_768 + port, Ip4::new(192, 0, 2, 10));
            counts[(agreed(&flow, false) % 7) as usize] += 1;
        }
        assert!(chi_square(&counts) < 22.46, "{counts:?}");
        let mut counts = [0_u32; 7];
        for client in 0..7_000_u16 {
            let [high, low] = client.to_be_bytes();
            let flow = FlowKey {
                source: Ip4::new(203, 0, high, low),
                ..flow(40_000, Ip4::new(192, 0, 2, 10))
            };
            counts[(agreed(&flow, true) % 7) as usize] += 1;
        }
        assert!(chi_square(&counts) < 22.46, "{counts:?}");
    }

    fn chi_square(counts: &[u32; 7]) -> f64 {
        counts
            .iter()
            .map(|&n| (f64::from(n) - 1_000.0).powi(2) / 1_000.0)
            .sum()
    }

    /// Chi-square with 6 degrees of freedom is below 22.46 with p = 0.999.
    #[test]
    fn successive_ports_spread_evenly_over_seven() {
        for key in 0..20 {
            let mut counts = [0_u32; 7];
            for port in 0..7_000_u16 {
                let flow = FlowKey {
                    source: Ip4::new(203, 0, 113, 7),
                    destination: Ip4::new(10, 96, 151, 12),
                    source_port: 32_768 + port,
                    destination_port: 5_000,
                    protocol: 6,
                    reserved: [0; 3],
                };
                counts[(draw(&flow, key) % 7) as usize] += 1;
            }
            assert!(chi_square(&counts) < 22.46, "key {key}: {counts:?}");
        }
    }
}
