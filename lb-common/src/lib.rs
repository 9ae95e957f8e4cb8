//! What kernel and userspace agree on: the maps' layout, the decision and the arithmetic.
//!
//! Everything here is plain `no_std` Rust without I/O, so that the very code the kernel runs is
//! also what tests model and what `lb explain` runs over live maps.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod connected;
pub mod csum;
pub mod decide;
pub mod drops;
pub mod flow;
pub mod hash;
pub mod layout;
pub mod limits;
pub mod names;
pub mod sctp;
pub mod sieve;
pub mod tcp;
pub mod wire;

pub use addr::{Family, Ip4, Ip6};
pub use decide::{Decision, Tables, decide};
pub use drops::{DropReason, Hook};
