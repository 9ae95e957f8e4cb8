//! How is a map's memory shared with the kernel, so that single bits of it can be changed?

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// The memory of an array that was made with `BPF_F_MMAPABLE` (kernel 5.5).
#[derive(Debug)]
pub(in crate::bpf) struct Memory {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: what it points to is shared with the kernel in any case, and changed in whole words only.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// So many words from the first element on; the kernel refuses if the map has less.
    pub(in crate::bpf) fn map(fd: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        // SAFETY: the kernel chooses a place where nothing is.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                words * size_of::<u64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, words })
    }

    /// The words.
    pub(in crate::bpf) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the kernel has mapped at least that much, aligned to a page, until `drop`; any
        // word is valid.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it is mapped, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * size_of::<u64>()) };
    }
}
