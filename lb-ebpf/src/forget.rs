//! How does the verifier come to forget what it knows of a number?
//!
//! It follows each path by itself as long as paths differ in what it knows. After a loop it would walk
//! through all of the rest again for each number of turns, and behind the parser for each kind of
//! packet: four protocols, whole or in fragments, with extension headers or without. There is a limit
//! to its patience (a million instructions).

use core::mem::MaybeUninit;

/// The same number (of 31 bits), of which the verifier knows nothing: it keeps what it knows of eight
/// bytes that are written on the stack, but not of their upper half when that is read by itself. It
/// costs a store and a load.
#[inline(always)]
pub(crate) fn forget(number: u32) -> u32 {
    /// Keeps the eight bytes from being zero, which the verifier remembers in any part of them.
    const MARK: u32 = 1 << 31;
    let mut slot = MaybeUninit::<u64>::uninit();
    let whole = slot.as_mut_ptr();
    // SAFETY: both pointers are to the slot, which is written before it is read, and the upper half
    // of a number lies behind the lower one.
    let word = unsafe {
        whole.write_volatile(u64::from(number | MARK) << 32);
        whole.cast::<u32>().add(1).read_volatile()
    };
    word & !MARK
}
