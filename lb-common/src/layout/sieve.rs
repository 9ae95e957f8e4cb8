//! Which packets can concern us at all? What the programs ask before they look anything up.

use crate::layout::Prefix;
use crate::limits::SIEVE_WORDS;

/// Map `sieve4|6`, one element: where packets go that can concern us. [`crate::sieve`] says how it is
/// asked. Userspace sets a mark before it writes what that stands for, and takes it back once nothing
/// has needed it for a whole walk over the flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Sieve<A> {
    /// Odd: what is not marked passes. Even: marks may be missing, so every packet is looked at.
    /// Counts up with each change between the two.
    pub state: u64,
    /// What of it is not marks.
    pub frame: SieveFrame<A>,
    /// One bit for each address and port of packets that can concern us; several may share one.
    pub marks: [u64; SIEVE_WORDS],
}

/// What of a sieve is not marks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct SieveFrame<A> {
    /// Contains every `ServiceCIDR`.
    pub services: Prefix<A>,
    /// First and last port that SNAT gives out; they are marked as one.
    pub snat_ports: [u16; 2],
}
