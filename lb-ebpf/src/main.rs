//! The kernel programs: entry points only. `path` is the packet path from top to bottom.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![allow(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "verdicts are the same 32 bits signed and unsigned; lengths of packets fit both"
)]
#![allow(
    clippy::needless_borrows_for_generic_args,
    reason = "a key that is passed by value is copied onto a stack of 512 bytes"
)]
#![allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "what is inlined is passed in registers either way"
)]

#[cfg(target_arch = "bpf")]
mod affinity;
#[cfg(target_arch = "bpf")]
mod alone;
#[cfg(target_arch = "bpf")]
mod apart;
#[cfg(target_arch = "bpf")]
mod aside;
#[cfg(target_arch = "bpf")]
mod call;
#[cfg(target_arch = "bpf")]
mod dialled;
#[cfg(target_arch = "bpf")]
mod entry;
#[cfg(target_arch = "bpf")]
mod forget;
#[cfg(target_arch = "bpf")]
mod fragments;
#[cfg(target_arch = "bpf")]
mod globals;
#[cfg(target_arch = "bpf")]
mod icmp;
#[cfg(target_arch = "bpf")]
mod ip;
#[cfg(target_arch = "bpf")]
mod live;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod messages;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod parse;
#[cfg(target_arch = "bpf")]
mod path;
#[cfg(target_arch = "bpf")]
mod refuse;
#[cfg(target_arch = "bpf")]
mod rewrite;
#[cfg(target_arch = "bpf")]
mod room;
#[cfg(target_arch = "bpf")]
mod sctp;
#[cfg(target_arch = "bpf")]
mod snat;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod track;
#[cfg(target_arch = "bpf")]
mod transit;
#[cfg(target_arch = "bpf")]
mod unread;
#[cfg(target_arch = "bpf")]
mod walk;

/// On the host there is nothing to run: `cargo xtask build-ebpf` builds for the BPF target.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
