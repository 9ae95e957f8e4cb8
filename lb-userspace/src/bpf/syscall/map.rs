//! How are elements of a map read and written, one or many at a time?

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bytemuck::{Pod, Zeroable};

use super::object::{RawMapInfo, info};
use super::{Command, address, address_mut, call};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Element {
    fn new(map: BorrowedFd<'_>, key: u64, value: u64) -> Self {
        Self {
            map: map.as_raw_fd().cast_unsigned(),
            padding: 0,
            key,
            value,
            flags: 0,
        }
    }
}

/// A map's descriptor together with what bounds every access to it.
#[derive(Debug)]
pub(in crate::bpf) struct MapFd {
    fd: OwnedFd,
    /// What the kernel says of the map.
    pub(in crate::bpf) info: RawMapInfo,
    /// Bytes that a value takes in userspace.
    pub(in crate::bpf) value_bytes: usize,
}

impl MapFd {
    /// Takes a descriptor of a map; `cpus` is how many values an element of a per-CPU map has.
    pub(in crate::bpf) fn new(fd: OwnedFd, cpus: usize) -> io::Result<Self> {
        let raw: RawMapInfo = info(fd.as_fd())?;
        let value = raw.value_size as usize;
        let value_bytes = if PER_CPU.contains(&raw.kind) {
            value.next_multiple_of(8) * cpus
        } else {
            value
        };
        Ok(Self {
            fd,
            info: raw,
            value_bytes,
        })
    }

    fn check_key(&self, key: &[u8]) {
        assert_eq!(key.len(), self.info.key_size as usize, "size of a key");
    }

    fn check_value(&self, value: &[u8]) {
        assert_eq!(value.len(), self.value_bytes, "size of a value");
    }

    /// Reads the value of a key.
    pub(in crate::bpf) fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<()> {
        self.check_key(key);
        self.check_value(value);
        let mut element = Element::new(self.borrow(), address(key), address_mut(value));
        // SAFETY: key and value have the sizes that the kernel reads and writes, as checked.
        unsafe { call(Command::MapLookup, &mut element) }.map(drop)
    }

    /// Writes the value of a key, whether there is one or not.
    pub(in crate::bpf) fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check_key(key);
        self.check_value(value);
        let mut element = Element::new(self.borrow(), address(key), address(value));
        // SAFETY: key and value have the sizes that the kernel reads, as checked.
        unsafe { call(Command::MapUpdate, &mut element) }.map(drop)
    }

    /// Writes the value of a key that must not be there yet.
    pub(in crate::bpf) fn insert(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        /// `BPF_NOEXIST`.
        const NEW: u64 = 1;
        self.check_key(key);
        self.check_value(value);
        let mut element = Element::new(self.borrow(), address(key), address(value));
        element.flags = NEW;
        // SAFETY: key and value have the sizes that the kernel reads, as checked.
        unsafe { call(Command::MapUpdate, &mut element) }.map(drop)
    }

    /// Deletes a key.
    pub(in crate::bpf) fn delete(&self, key: &[u8]) -> io::Result<()> {
        self.check_key(key);
        let mut element = Element::new(self.borrow(), address(key), 0);
        // SAFETY: the key has the size that the kernel reads, as checked.
        unsafe { call(Command::MapDelete, &mut element) }.map(drop)
    }

    /// The key after this one, or the first.
    pub(in crate::bpf) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<()> {
        self.check_key(next);
        if let Some(key) = key {
            self.check_key(key);
        }
        let mut element = Element::new(self.borrow(), key.map_or(0, address), address_mut(next));
        // SAFETY: both keys have the size that the kernel reads and writes, as checked.
        unsafe { call(Command::MapNextKey, &mut element) }.map(drop)
    }

    /// Reads many elements at once from the place that `position` names (none = the beginning) and
    /// moves it on. Returns how many there were and whether these were the last.
    pub(in crate::bpf) fn lookup_batch(
        &self,
        position: &mut Option<Vec<u8>>,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> io::Result<(usize, bool)> {
        let key_size = self.info.key_size as usize;
        let count = keys.len() / key_size;
        assert!(values.len() >= count * self.value_bytes, "size of values");
        // Where a batch begins is a key or, for hash tables, the 32-bit number of a bucket.
        let mut next = vec![0_u8; key_size.max(size_of::<u32>())];
        if let Some(position) = position {
            assert_eq!(position.len(), next.len(), "size of a position");
        }
        let mut batch = Batch {
            from: position.as_deref().map_or(0, address),
            to: address_mut(&mut next),
            ..Batch::new(self.borrow(), address_mut(keys), address_mut(values), count)
        };
        // SAFETY: keys and values have room for `count` elements, and both positions for either
        // kind of position, as checked.
        let result = unsafe { call(Command::MapLookupBatch, &mut batch) };
        *position = Some(next);
        match result {
            Ok(_) => Ok((batch.count as usize, false)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                Ok((batch.count as usize, true))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes many elements at once in their order, whether they are there or not.
    ///
    /// # Errors
    /// What the kernel said of one of them; all before it are written, and none after it.
    pub(in crate::bpf) fn update_batch(
        &self,
        keys: &[u8],
        values: &[u8],
    ) -> Result<(), (usize, io::Error)> {
        let count = self.count(keys);
        assert_eq!(values.len(), count * self.value_bytes, "size of values");
        let mut batch = Batch::new(self.borrow(), address(keys), address(values), count);
        // SAFETY: there are `count` keys and values of the sizes that the kernel reads, as checked.
        let result = unsafe { call(Command::MapUpdateBatch, &mut batch) };
        result
            .map(drop)
            .map_err(|error| batch.stopped(count, error))
    }

    /// Deletes many keys at once in their order.
    ///
    /// # Errors
    /// What the kernel said of one of them, as that it is not there; all before it are deleted, and
    /// none after it.
    pub(in crate::bpf) fn delete_batch(&self, keys: &[u8]) -> Result<(), (usize, io::Error)> {
        let count = self.count(keys);
        let mut batch = Batch::new(self.borrow(), address(keys), 0, count);
        // SAFETY: there are `count` keys of the size that the kernel reads, as checked.
        let result = unsafe { call(Command::MapDeleteBatch, &mut batch) };
        result
            .map(drop)
            .map_err(|error| batch.stopped(count, error))
    }

    /// How many keys these are.
    fn count(&self, keys: &[u8]) -> usize {
        let key_size = self.info.key_size as usize;
        assert_eq!(keys.len() % key_size, 0, "size of keys");
        keys.len() / key_size
    }

    /// The descriptor.
    pub(in crate::bpf) fn borrow(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Types of maps whose values are per CPU: `PERCPU_HASH`, `PERCPU_ARRAY`, `LRU_PERCPU_HASH`.
const PER_CPU: [u32; 3] = [5, 6, 10];

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

impl Batch {
    fn new(map: BorrowedFd<'_>, keys: u64, values: u64, count: usize) -> Self {
        Self {
            from: 0,
            to: 0,
            keys,
            values,
            count: count as u32,
            map: map.as_raw_fd().cast_unsigned(),
            element_flags: 0,
            flags: 0,
        }
    }

    /// At which of `all` elements the kernel stopped. Where it looked at none, it left their number as
    /// it was.
    fn stopped(&self, all: usize, error: io::Error) -> (usize, io::Error) {
        let done = self.count as usize;
        (if done < all { done } else { 0 }, error)
    }
}
