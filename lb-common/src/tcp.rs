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
#[inline(always)]
#[must_use]
pub const fn observe(state: u8, flags: u8) -> u8 {
    state | SEEN | (flags & (FIN | SYN | RST | ACK))
}

/// Whether a packet with these flags begins a connection.
#[inline(always)]
#[must_use]
pub const fn begins(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

/// Whether a connection with these states in both directions is over or nearly so: a reset, or a
/// FIN from both sides.
#[inline(always)]
#[must_use]
pub const fn ended(one: u8, other: u8) -> bool {
    (one | other) & RST != 0 || (one & other) & FIN != 0
}
