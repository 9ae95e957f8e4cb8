//! What is known of a connection's state? Bits that each direction collects by itself.
//!
//! An entry holds what its own direction showed; the state of the connection is read from both.

/// Flag bits of byte 13 of the TCP header.
pub const FIN: u8 = 0x01;
/// As [`FIN`].
pub const SYN: u8 = 0x02;
/// As [`FIN`].
pub const RST: u8 = 0x04;
/// As [`FIN`].
pub const ACK: u8 = 0x10;

/// At least one packet came this way.
pub const SEEN: u8 = 0x20;

/// The entry's state after a packet with these TCP flags.
///
/// A direction that goes on after a reset was not reset: whoever it was for found it invalid (RFC
/// 5961, section 3.2). A repeated SYN-ACK is no such sign, as a listener sends it also after it
/// refused a forged ACK by a reset.
#[inline(always)]
#[must_use]
pub const fn observe(state: u8, flags: u8) -> u8 {
    let kept = if flags & SYN == 0 {
        state & !RST
    } else {
        state
    };
    kept | SEEN | (flags & (FIN | SYN | RST | ACK))
}

/// Whether a packet with these flags begins a connection.
#[inline(always)]
#[must_use]
pub const fn begins(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// Whether a packet with these flags may end a connection.
#[inline(always)]
#[must_use]
pub const fn ends(flags: u8) -> bool {
    flags & (FIN | RST) != 0
}

/// Whether a connection with these states in both directions is over or nearly so: a reset, or a
/// FIN from both sides.
#[inline(always)]
#[must_use]
pub const fn ended(one: u8, other: u8) -> bool {
    (one | other) & RST != 0 || (one & other) & FIN != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_that_goes_on_after_a_reset_was_not_reset() {
        let reset = observe(observe(0, SYN), RST);
        assert!(ended(reset, 0));
        assert!(ended(observe(reset, SYN | ACK), 0), "repeated SYN-ACK");
        assert!(ended(observe(reset, RST | ACK), 0), "another reset");
        assert!(!ended(observe(reset, ACK), 0));
    }

    #[test]
    fn a_connection_begins_with_a_syn_alone() {
        assert!(begins(SYN) && begins(SYN | 0xc0));
        for flags in [0, ACK, SYN | ACK, SYN | RST, SYN | FIN] {
            assert!(!begins(flags), "{flags:#x}");
        }
    }

    #[test]
    fn one_fin_leaves_the_other_direction_open() {
        let (open, closed) = (observe(0, ACK), observe(0, FIN | ACK));
        assert!(!ended(open, closed));
        assert!(ended(observe(open, FIN | ACK), closed));
        assert!(
            ended(closed, observe(closed, ACK)),
            "an ACK takes no FIN back"
        );
    }
}
