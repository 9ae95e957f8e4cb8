//! Which maps does an interpreted program run on? Plain tables, which count who asks.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context as _, Result, bail};
use aya_obj::Map;

use super::memory::Memory;

/// No such element.
const ENOENT: i64 = -2;
/// No room.
const E2BIG: i64 = -7;
/// The element is there already.
const EEXIST: i64 = -17;
/// It was to be new.
const BPF_NOEXIST: u64 = 1;
/// A push finds room by taking the oldest away.
const BPF_EXIST: u64 = 2;

/// How elements are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hash,
    /// What is full forgets; which element, nobody should count on.
    LruHash,
    Array,
    Trie,
    Queue,
}

/// One map. An element's value stays where it is until the machine goes, as in the kernel it does until
/// no program can look at it any more.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    kind: Kind,
    pub(super) key_size: usize,
    pub(super) value_size: usize,
    pub(super) max_entries: usize,
    places: BTreeMap<Vec<u8>, u64>,
    waiting: VecDeque<Vec<u8>>,
}

impl Table {
    /// As the object defines it.
    pub(super) fn new(name: &str, map: &Map) -> Result<Self> {
        let kind = match map.map_type() {
            1 => Kind::Hash,
            2 | 6 => Kind::Array,
            9 => Kind::LruHash,
            11 => Kind::Trie,
            22 => Kind::Queue,
            other => bail!("map {name} is of type {other}, which is new here"),
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
            key_size: map.key_size() as usize,
            value_size: map.value_size() as usize,
            max_entries: map.max_entries() as usize,
            places: BTreeMap::new(),
            waiting: VecDeque::new(),
        })
    }

    /// Bytes that the kernel hashes to find an element.
    pub(super) fn hashed(&self) -> usize {
        match self.kind {
            Kind::Hash | Kind::LruHash => self.key_size,
            Kind::Array | Kind::Trie | Kind::Queue => 0,
        }
    }

    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() + self.waiting.len()
    }

    /// Where the value is; zero if there is none.
    pub(super) fn look_up(&mut self, key: &[u8], memory: &mut Memory) -> Result<u64> {
        Ok(match self.kind {
            Kind::Hash | Kind::LruHash => self.places.get(key).copied().unwrap_or(0),
            Kind::Array => {
                let index = u32::from_le_bytes(key.try_into().context("an index has 4 bytes")?);
                if index as usize >= self.max_entries {
                    return Ok(0);
                }
                let zeros = || memory.add(vec![0; self.value_size]);
                *self.places.entry(key.to_vec()).or_insert_with(zeros)
            }
            Kind::Trie => {
                let matching = self.places.iter().filter(|(prefix, _)| covers(prefix, key));
                let longest = matching.max_by_key(|(prefix, _)| prefix_length(prefix));
                longest.map_or(0, |(_, place)| *place)
            }
            Kind::Queue => bail!("nobody looks into queue {}", self.name),
        })
    }

    /// The helper's answer.
    pub(super) fn update(
        &mut self,
        key: &[u8],
        value: &[u8],
        flags: u64,
        memory: &mut Memory,
    ) -> Result<i64> {
        if self.kind == Kind::Array {
            let place = self.look_up(key, memory)?;
            memory.bytes_mut(place, value.len())?.copy_from_slice(value);
            return Ok(0);
        }
        if self.places.contains_key(key) {
            if flags == BPF_NOEXIST {
                return Ok(EEXIST);
            }
        } else if self.places.len() >= self.max_entries {
            if self.kind != Kind::LruHash {
                return Ok(E2BIG);
            }
            self.places.pop_first();
        }
        // A new place, as in the kernel: whoever holds the old one goes on reading it.
        self.places.insert(key.to_vec(), memory.add(value.to_vec()));
        Ok(0)
    }

    /// The helper's answer.
    pub(super) fn delete(&mut self, key: &[u8]) -> i64 {
        self.places.remove(key).map_or(ENOENT, |_| 0)
    }

    /// The helper's answer.
    pub(super) fn push(&mut self, value: &[u8], flags: u64) -> i64 {
        if self.waiting.len() >= self.max_entries {
            if flags != BPF_EXIST {
                return E2BIG;
            }
            self.waiting.pop_front();
        }
        self.waiting.push_back(value.to_vec());
        0
    }

    /// What waited longest; the error is the helper's answer.
    pub(super) fn pop(&mut self) -> Result<Vec<u8>, i64> {
        self.waiting.pop_front().ok_or(ENOENT)
    }
}

fn prefix_length(key: &[u8]) -> usize {
    key.first_chunk()
        .map_or(0, |bits| u32::from_le_bytes(*bits) as usize)
}

/// Whether a trie's element is for what is looked up: both have their length, in bits, before them.
fn covers(prefix: &[u8], key: &[u8]) -> bool {
    let bits = prefix_length(prefix);
    let bit = |bytes: &[u8], i: usize| bytes.get(4 + i / 8).map(|byte| byte >> (7 - i % 8) & 1);
    bits <= prefix_length(key) && (0..bits).all(|i| bit(prefix, i) == bit(key, i))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(map_type: u32, key: u32, max_entries: u32) -> Table {
        Table::new("t", &Map::new_from_params(map_type, key, 4, max_entries, 0)).expect("known")
    }

    #[test]
    fn a_hash_refuses_what_a_full_one_has_no_room_for() -> Result<()> {
        let (mut hash, mut memory) = (table(1, 1, 1), Memory::default());
        assert_eq!(hash.update(&[1], &[7; 4], 0, &mut memory)?, 0);
        assert_eq!(
            hash.update(&[1], &[8; 4], BPF_NOEXIST, &mut memory)?,
            EEXIST
        );
        assert_eq!(hash.update(&[2], &[8; 4], 0, &mut memory)?, E2BIG);
        let place = hash.look_up(&[1], &mut memory)?;
        assert_eq!(memory.bytes(place, 4)?, [7; 4]);
        assert_eq!([hash.delete(&[1]), hash.delete(&[1])], [0, ENOENT]);
        assert_eq!(hash.look_up(&[1], &mut memory)?, 0);
        Ok(())
    }

    #[test]
    fn a_trie_finds_the_longest_prefix() -> Result<()> {
        let (mut trie, mut memory) = (table(11, 6, 9), Memory::default());
        for (bits, prefix, value) in [(8, [10, 0], 1), (12, [10, 16], 2)] {
            let key = [&[bits, 0, 0, 0], &prefix[..]].concat();
            trie.update(&key, &[value; 4], 0, &mut memory)?;
        }
        for (asked, value) in [([10, 17], Some(2)), ([10, 32], Some(1)), ([11, 16], None)] {
            let place = trie.look_up(&[&[16, 0, 0, 0], &asked[..]].concat(), &mut memory)?;
            let found = memory.bytes(place, 1).ok().map(|bytes| bytes[0]);
            assert_eq!(found, value, "{asked:?}");
        }
        Ok(())
    }

    #[test]
    fn a_queue_gives_back_in_order() {
        let mut queue = table(22, 0, 2);
        let pushed =
            [(1, 0), (2, 0), (3, 0), (4, BPF_EXIST)].map(|(n, flags)| queue.push(&[n], flags));
        assert_eq!(pushed, [0, 0, E2BIG, 0]);
        let popped = [(); 3].map(|()| queue.pop());
        assert_eq!(popped, [Ok(vec![2]), Ok(vec![4]), Err(ENOENT)]);
    }
}
