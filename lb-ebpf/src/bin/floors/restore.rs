//! How does every run of a timed program get a fresh packet? `BPF_PROG_TEST_RUN` does not restore it
//! between repeats: from the second on, a program that rewrites would see its own output.
//!
//! So a wrapper writes the template over the packet and calls the timed program by tail call. What
//! the wrapper costs is the same for every program, and goes when that of *empty* is subtracted.

use core::arch::asm;

use lb_common::{
    csum,
    wire::{Be16, Ports, TcpHeader},
};

use crate::maps::{RUNS, TEMPLATE, TEMPLATE_WORDS, Template};

/// Transport offsets are below this.
const OFFSETS: usize = 64;

/// Writes the template, its source port varied, over a packet of at least 84 bytes; none if the
/// packet is shorter.
#[inline(always)]
pub(crate) fn restore(start: usize, end: usize) -> Option<()> {
    let template = TEMPLATE.get(0)?;
    let runs = RUNS.get_ptr_mut(0)?;
    if start + OFFSETS + size_of::<TcpHeader>() > end
        || start + size_of::<[u64; TEMPLATE_WORDS]>() > end
    {
        return None;
    }
    let mut i = 0;
    while i < TEMPLATE_WORDS {
        // SAFETY: within the bounds checked above; words are written at any address here.
        unsafe { *((start + i * 8) as *mut u64) = template.words[i] };
        i += 1;
    }
    // SAFETY: one test runs at a time, on one CPU.
    vary(start, end, template, unsafe { *runs })?;
    count(runs);
    Some(())
}

/// Adds bits of the run's number to the source port, and keeps the checksum right.
#[inline(always)]
fn vary(start: usize, end: usize, template: &Template, run: u64) -> Option<()> {
    let tcp = start + (template.transport as usize & (OFFSETS - 1));
    if tcp + size_of::<TcpHeader>() > end {
        return None;
    }
    let tcp = tcp as *mut TcpHeader;
    // SAFETY: bounds were checked; words are read and written at any address here.
    unsafe {
        let old = (*tcp).ports;
        let step = run as u32 & template.port_mask;
        let new = Ports {
            source: Be16::new(old.source.get().wrapping_add(step as u16)),
            ..old
        };
        let change = csum::difference(bytemuck::must_cast(old), bytemuck::must_cast(new));
        (*tcp).ports = new;
        (*tcp).checksum = csum::update((*tcp).checksum, change);
    }
    Some(())
}

/// Counts the run by an atomic addition, which also waits until what was written to the packet has
/// reached the cache: a packet off the wire is there, and a load that spans two stores under way
/// would stall.
#[inline(always)]
fn count(runs: *mut u64) {
    // SAFETY: the pointer is a map element's.
    unsafe {
        asm!(
            "lock *(u64 *)({runs} + 0) += {one}",
            runs = in(reg) runs,
            one = in(reg) 1_u64,
        );
    }
}
