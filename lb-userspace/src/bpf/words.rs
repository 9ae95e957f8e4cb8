//! How is an array of one element changed a bit at a time, while programs and others use it?

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::syscall::{self, MapFd, Memory};

/// The words of the only element of a pinned array, in memory that the kernel shares.
#[derive(Debug)]
pub struct Words {
    memory: Memory,
}

impl Words {
    /// Opens a pinned array whose only element has so many words of 64 bits.
    ///
    /// # Errors
    /// What the kernel said; `InvalidData` if it is something else.
    pub fn open(path: &Path, words: usize) -> io::Result<Self> {
        Self::of(syscall::get(path)?, words)
    }

    /// The same of a map that is open.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of(map: OwnedFd, words: usize) -> io::Result<Self> {
        let fd = MapFd::new(map, 1)?;
        if fd.info.max_entries != 1 || fd.value_bytes != words * size_of::<u64>() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its element has another size than that of this version",
            ));
        }
        Ok(Self {
            memory: Memory::map(fd.borrow(), words)?,
        })
    }

    /// The words.
    #[must_use]
    pub fn all(&self) -> &[AtomicU64] {
        self.memory.words()
    }
}
