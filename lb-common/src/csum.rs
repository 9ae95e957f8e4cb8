//! How does an Internet checksum follow a change? RFC 1624, in one's complement arithmetic.

/// Folds carries until 16 bits are left. The sum has 48 bits at most: that of 65,536 words of 32 bits.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    debug_assert!(sum >> 48 == 0);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// What a checksum must add when a 32-bit word of the packet changes (both as they lie in memory).
#[inline(always)]
#[must_use]
pub const fn difference(old: u32, new: u32) -> u64 {
    !old as u64 + new as u64
}

/// The checksum field after `difference` was added to what it covers; all as they lie in memory.
#[inline(always)]
#[must_use]
pub const fn update(checksum: u16, difference: u64) -> u16 {
    !fold(!checksum as u64 + difference)
}

/// Sum of the 16-bit words of `bytes` as they lie in memory; an odd last byte counts as the first
/// of a word.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let mut sum = 0;
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        sum += u64::from(u16::from_ne_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_are_folded_to_the_last() {
        for sum in [0, 0xffff, 0x1_0000, 0x1_ffff, 0xffff_ffff, (1 << 48) - 1] {
            for sum in (sum..sum + 3).filter(|sum| sum >> 48 == 0) {
                let folded = u64::from(fold(sum));
                assert_eq!(folded % 0xffff, sum % 0xffff, "{sum:#x}");
                assert_eq!(folded == 0, sum == 0, "{sum:#x}");
            }
        }
    }

    #[test]
    fn an_update_equals_a_recomputation() {
        let mut bytes =
            *b"\x45\x00\x00\x3c\x1c\x46\x40\x00\x40\x06\x00\x00\xac\x10\x0a\x63\xac\x10\x0a\x0c";
        let before = !fold(sum(&bytes));
        assert_eq!(before.to_ne_bytes(), [0xb1, 0xe6]);
        let old = u32::from_ne_bytes([172, 16, 10, 12]);
        let new = u32::from_ne_bytes([10, 96, 151, 12]);
        bytes[16..20].copy_from_slice(&new.to_ne_bytes());
        assert_eq!(update(before, difference(old, new)), !fold(sum(&bytes)));
    }
}
