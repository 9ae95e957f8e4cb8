//! How does every run of a timed program get a fresh packet? `BPF_PROG_TEST_RUN` does not restore it
//! between repeats: from the second on, a program that rewrites would see its own output.
//!
//! So a wrapper writes the template over the packet and calls the timed program by tail call. What
//! the wrapper costs is the same for every program, and goes when that of *empty* is subtracted.

use core::arch::asm;

use lb_common::{
    csum,
    wire::{Be16, Be32, Ports, TcpHeader},
};

use crate::maps::{RUNS, TEMPLATE, TEMPLATE_WORDS, Template};

/// Offsets in the template are below this.
const OFFSETS: usize = 64;

/// Writes the template, its sender varied, over a packet of at least 84 bytes; none if the packet is
/// shorter.
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
    vary(start, end, template, unsafe { *runs } as u32)?;
    count(runs);
    Some(())
}

/// Adds bits of the run's number to the source port and address, and keeps the checksums right.
#[inline(always)]
fn vary(start: usize, end: usize, template: &Template, run: u32) -> Option<()> {
    let tcp: *mut TcpHeader = within(start, end, template.transport)?;
    let address: *mut Be32 = within(start, end, template.address)?;
    // SAFETY: bounds were checked; words are read and written at any address here.
    unsafe {
        let old = (*tcp).ports;
        let step = run & template.port_mask;
        let new = Ports {
            source: Be16::new(old.source.get().wrapping_add(step as u16)),
            ..old
        };
        let ports = csum::difference(bytemuck::must_cast(old), bytemuck::must_cast(new));
        let client = *address;
        let step = run >> (template.port_bits & 31) & template.address_mask;
        let shifted = Be32::new(client.get().wrapping_add(step));
        let moved = csum::difference(bytemuck::must_cast(client), bytemuck::must_cast(shifted));
        (*tcp).ports = new;
        *address = shifted;
        (*tcp).checksum = csum::update((*tcp).checksum, ports + moved);
        if template.header_checksum != 0 {
            let header: *mut u16 = within(start, end, template.header_checksum)?;
            *header = csum::update(*header, moved);
        }
    }
    Some(())
}

/// Pointer to `T` at a small offset, if the packet contains it.
#[inline(always)]
fn within<T>(start: usize, end: usize, offset: u32) -> Option<*mut T> {
    let place = start + (offset as usize & (OFFSETS - 1));
    (place + size_of::<T>() <= end).then_some(place as *mut T)
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
