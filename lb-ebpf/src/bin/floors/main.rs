//! What is the least that a packet can cost? Floors: straight-line programs that `cargo xtask bench`
//! times beside ours, and the wrappers that bring each timed run the packet it needs.
//!
//! Not part of the shipped object. Their maps have the types, sizes and fill of ours.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![allow(
    clippy::cast_possible_wrap,
    reason = "sizes of the kernel's structures, which helpers take as signed numbers"
)]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "a key that is passed by value is copied onto a stack of 512 bytes"
)]

#[cfg(target_arch = "bpf")]
mod connect;
#[cfg(target_arch = "bpf")]
mod entry;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod restore;
#[cfg(target_arch = "bpf")]
mod straight;

/// On the host there is nothing to run.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
