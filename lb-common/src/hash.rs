//! Which slot does a flow draw? A keyed hash, the same in the kernel, in tests and in `explain`.

use crate::addr::Family;
use crate::layout::FlowKey;

/// Odd constants with about as many ones as zeros; the multipliers of murmur3's finalizer.
const MIX: [u64; 2] = [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53];

#[inline(always)]
const fn mix(state: u64, word: u64) -> u64 {
    let x = (state ^ word).wrapping_mul(MIX[0]);
    x ^ (x >> 32)
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
    let x = state.wrapping_mul(MIX[1]);
    ((x ^ (x >> 33)) >> 8) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Ip4;

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
            let chi_square: f64 = counts
                .iter()
                .map(|&n| (f64::from(n) - 1_000.0).powi(2) / 1_000.0)
                .sum();
            assert!(chi_square < 22.46, "key {key}: {counts:?}");
        }
    }
}
