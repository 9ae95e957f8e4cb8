//! How is a pinned map read and written as the plain values that it holds?

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use bytemuck::Pod;

use super::batch::by_batch;
use super::syscall::{self, MapFd};

/// What the kernel says of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInfo {
    /// Its name, cut at 15 characters.
    pub name: String,
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// The map's id on this kernel.
    pub id: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Elements that it has room for.
    pub max_entries: u32,
}

impl MapInfo {
    /// Looks at the map that is pinned there.
    ///
    /// # Errors
    /// What the kernel said; `NotFound` if nothing is pinned there.
    pub fn of(path: &Path) -> io::Result<Self> {
        MapFd::new(syscall::get(path)?, 1).map(|map| Self::from(&map))
    }

    /// Looks at a map by its id.
    ///
    /// # Errors
    /// What the kernel said; `NotFound` if there is none.
    pub fn by_id(id: u32) -> io::Result<Self> {
        MapFd::new(syscall::map_by_id(id)?, 1).map(|map| Self::from(&map))
    }
}

impl From<&MapFd> for MapInfo {
    fn from(map: &MapFd) -> Self {
        let info = &map.info;
        Self {
            name: syscall::name(&info.name),
            kind: info.kind,
            id: info.id,
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
        }
    }
}

/// A map that is kept open, so that its pin can be renewed; nothing is read or written by it.
#[derive(Debug)]
pub struct Held {
    fd: OwnedFd,
    /// The map's id on this kernel.
    pub id: u32,
}

impl Held {
    /// Opens the map that is pinned there.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = syscall::get(path)?;
        let map = MapFd::new(fd.try_clone()?, 1)?;
        Ok(Self {
            fd,
            id: map.info.id,
        })
    }

    /// Pins it so that a pin of that name is replaced in one step.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn pin_over(&self, path: &Path) -> io::Result<()> {
        super::program::pin_over(self.fd.as_fd(), path)
    }
}

/// The bytes of the first element of a pinned array, whatever it holds.
///
/// # Errors
/// What the kernel said; `InvalidData` if it is no array.
pub fn first_element(path: &Path) -> io::Result<Vec<u8>> {
    first(syscall::get(path)?)
}

/// [`first_element`] of an array by its id.
///
/// # Errors
/// As there; `NotFound` if there is no such map.
pub fn first_element_by_id(id: u32) -> io::Result<Vec<u8>> {
    first(syscall::map_by_id(id)?)
}

fn first(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let map = MapFd::new(fd, 1)?;
    if map.info.key_size as usize != size_of::<u32>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no array"));
    }
    let mut value = vec![0; map.value_bytes];
    map.lookup(bytemuck::bytes_of(&0_u32), &mut value)?;
    Ok(value)
}

/// A map with keys and values of these types.
#[derive(Debug)]
pub struct Map<K, V> {
    fd: MapFd,
    types: PhantomData<(K, V)>,
}

impl<K: Pod, V: Pod> Map<K, V> {
    /// Opens a pinned map.
    ///
    /// # Errors
    /// What the kernel said; `InvalidData` if keys or values have another size.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = MapFd::new(syscall::get(path)?, 1)?;
        if fd.info.key_size as usize != size_of::<K>() || fd.value_bytes != size_of::<V>() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "its keys or values have another size than those of this version",
            ));
        }
        Ok(Self {
            fd,
            types: PhantomData,
        })
    }

    /// What the kernel says of it.
    #[must_use]
    pub fn info(&self) -> MapInfo {
        MapInfo::from(&self.fd)
    }

    /// The value of a key; none if there is no such element.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn get(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = V::zeroed();
        let result = self
            .fd
            .lookup(bytemuck::bytes_of(key), bytemuck::bytes_of_mut(&mut value));
        absent_is_fine(result.map(|()| value))
    }

    /// Writes the value of a key, whether there is one or not.
    ///
    /// # Errors
    /// What the kernel said; see [`Self::is_full`].
    pub fn update(&self, key: &K, value: &V) -> io::Result<()> {
        self.fd
            .update(bytemuck::bytes_of(key), bytemuck::bytes_of(value))
    }

    /// Writes the value of a key that is not there yet; whether it was not.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn insert(&self, key: &K, value: &V) -> io::Result<bool> {
        match self
            .fd
            .insert(bytemuck::bytes_of(key), bytemuck::bytes_of(value))
        {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a key; absent is fine.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn delete(&self, key: &K) -> io::Result<()> {
        absent_is_fine(self.fd.delete(bytemuck::bytes_of(key))).map(drop)
    }

    /// Writes elements in their order, whether they are there or not: by one call where the kernel can.
    ///
    /// # Errors
    /// What the kernel said of one of them; all before it are written, and none after it.
    ///
    /// # Panics
    /// There is not a value for each key.
    pub fn update_all(&self, keys: &[K], values: &[V]) -> Result<(), (usize, io::Error)> {
        assert_eq!(keys.len(), values.len(), "a value for each key");
        let write = |at: usize| self.update(&keys[at], &values[at]);
        let write_all = |at: usize| {
            let values = bytemuck::cast_slice(&values[at..]);
            (self.fd).update_batch(bytemuck::cast_slice(&keys[at..]), values)
        };
        by_batch(keys.len(), write, write_all)
    }

    /// Deletes keys in their order, by one call where the kernel can; absent is fine.
    ///
    /// # Errors
    /// What the kernel said of one of them; all before it are deleted, and none after it.
    pub fn delete_all(&self, keys: &[K]) -> Result<(), (usize, io::Error)> {
        let delete = |at: usize| self.delete(&keys[at]);
        let delete_all = |at: usize| self.fd.delete_batch(bytemuck::cast_slice(&keys[at..]));
        by_batch(keys.len(), delete, delete_all)
    }

    /// Whether an update failed because the map has no room: hash tables, tries, and arrays whose
    /// end was passed say so in different words.
    #[must_use]
    pub fn is_full(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC))
    }

    /// The elements from `cursor` on, about `count` of them, and moves the cursor behind them.
    ///
    /// Elements that come, go or change meanwhile may be missing or torn; all others are there.
    /// Hash tables and arrays only: the kernel has had batches of tries since 5.14.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn batch(&self, cursor: &mut Cursor, count: usize) -> io::Result<Vec<(K, V)>> {
        let mut count = count.max(1);
        loop {
            let mut keys = vec![K::zeroed(); count];
            let mut values = vec![V::zeroed(); count];
            let mut position = cursor.position.clone();
            match self.fd.lookup_batch(
                &mut position,
                bytemuck::cast_slice_mut(&mut keys),
                bytemuck::cast_slice_mut(&mut values),
            ) {
                Ok((found, ended)) => {
                    *cursor = Cursor { position, ended };
                    keys.truncate(found);
                    return Ok(keys.into_iter().zip(values).collect());
                }
                // A bucket has more elements than there was room for.
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC)
                        && count < self.fd.info.max_entries as usize =>
                {
                    count *= 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// All elements, batch by batch; see [`Self::batch`].
    pub fn batches(&self) -> impl Iterator<Item = io::Result<Vec<(K, V)>>> {
        let mut cursor = Cursor::default();
        std::iter::from_fn(move || {
            if cursor.ended {
                return None;
            }
            let batch = self.batch(&mut cursor, BATCH);
            cursor.ended |= batch.is_err();
            Some(batch)
        })
    }

    /// All keys one by one, for maps that nobody else writes: where the key at hand is deleted, the
    /// kernel begins anew.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn keys(&self) -> io::Result<Vec<K>> {
        let mut keys: Vec<K> = Vec::new();
        loop {
            let mut next = K::zeroed();
            let last = keys.last().map(bytemuck::bytes_of);
            match absent_is_fine(self.fd.next_key(last, bytemuck::bytes_of_mut(&mut next)))? {
                Some(()) => keys.push(next),
                None => return Ok(keys),
            }
        }
    }
}

/// Elements read by one call: some 300 KiB of flows.
const BATCH: usize = 4096;

/// A place in a map.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    position: Option<Vec<u8>>,
    /// Nothing comes after it.
    pub ended: bool,
}

/// A per-CPU array of counters.
#[derive(Debug)]
pub struct PerCpu {
    fd: MapFd,
}

impl PerCpu {
    /// Opens a pinned per-CPU array of 64-bit numbers.
    ///
    /// # Errors
    /// What the kernel said; `InvalidData` if it holds something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let cpus = possible_cpus()?;
        let fd = MapFd::new(syscall::get(path)?, cpus)?;
        if fd.info.key_size as usize != size_of::<u32>()
            || fd.value_bytes != cpus * size_of::<u64>()
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it holds no 64-bit numbers per CPU",
            ));
        }
        Ok(Self { fd })
    }

    /// The sum over all CPUs; none beyond the array's end.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn sum(&self, index: u32) -> io::Result<Option<u64>> {
        let mut values = vec![0_u64; self.fd.value_bytes / size_of::<u64>()];
        let result = self.fd.lookup(
            bytemuck::bytes_of(&index),
            bytemuck::cast_slice_mut(&mut values),
        );
        absent_is_fine(result.map(|()| values.iter().sum()))
    }
}

/// How many CPUs the kernel makes room for: those present and those that may yet be plugged in.
fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    count(text.trim()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
}

/// Numbers in a list like `0,2-5`.
fn count(ranges: &str) -> Option<usize> {
    ranges
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            Some(last + 1 - first)
        })
        .sum()
}

fn absent_is_fine<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_in_ranges() {
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-7"), Some(8));
        assert_eq!(count("0,2-3,8"), Some(4));
        assert_eq!(count(""), None);
    }
}
