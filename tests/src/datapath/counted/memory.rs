//! What can an interpreted program reach? Pieces of plain memory, each at an address of its own.
//!
//! Reading or writing outside of them is an error, as it would be to the verifier.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

/// Between two pieces, so that running over the end of one does not meet the next.
const GAP: u64 = 64;

/// Addresses fit into 32 bits: contexts of packets tell them so.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pieces: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            pieces: BTreeMap::new(),
            next: 0x1_0000,
        }
    }
}

impl Memory {
    /// A new piece with this content; where it is.
    pub(super) fn add(&mut self, bytes: Vec<u8>) -> u64 {
        let address = self.next;
        self.next = (address + bytes.len() as u64 + GAP).next_multiple_of(GAP);
        self.pieces.insert(address, bytes);
        address
    }

    /// So many bytes from an address on.
    pub(super) fn bytes(&self, address: u64, length: usize) -> Result<&[u8]> {
        let piece = self.pieces.range(..=address).next_back();
        let found = piece.and_then(|(begin, bytes)| {
            let offset = usize::try_from(address - begin).ok()?;
            bytes.get(offset..offset.checked_add(length)?)
        });
        found.with_context(|| format!("{length} bytes at {address:#x} are nobody's"))
    }

    /// The same, to be written.
    pub(super) fn bytes_mut(&mut self, address: u64, length: usize) -> Result<&mut [u8]> {
        let piece = self.pieces.range_mut(..=address).next_back();
        let found = piece.and_then(|(begin, bytes)| {
            let offset = usize::try_from(address - begin).ok()?;
            bytes.get_mut(offset..offset.checked_add(length)?)
        });
        found.with_context(|| format!("{length} bytes at {address:#x} are nobody's"))
    }

    /// A number of 1, 2, 4 or 8 bytes.
    pub(super) fn read(&self, address: u64, size: usize) -> Result<u64> {
        let mut word = [0; 8];
        word.get_mut(..size)
            .context("a number has 8 bytes at most")?
            .copy_from_slice(self.bytes(address, size)?);
        Ok(u64::from_le_bytes(word))
    }

    /// The same, written.
    pub(super) fn write(&mut self, address: u64, size: usize, value: u64) -> Result<()> {
        ensure!(size <= 8, "a number has 8 bytes at most");
        self.bytes_mut(address, size)?
            .copy_from_slice(&value.to_le_bytes()[..size]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn what_is_beside_a_piece_is_nobodys() {
        let mut memory = Memory::default();
        let [one, other] = [8, 4].map(|length| memory.add(vec![0xff; length]));
        memory
            .write(one + 6, 2, 0x1234)
            .expect("it is the end of the piece");
        assert_eq!(memory.read(one, 8).ok(), Some(0x1234_ffff_ffff_ffff));
        assert!(memory.read(one + 1, 8).is_err());
        assert!(memory.write(other + 4, 1, 0).is_err());
        assert!(memory.read(0, 1).is_err());
    }
}
