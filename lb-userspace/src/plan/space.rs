//! Which indices of an array map are free?

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Free indices as intervals: taking the best fit and giving back are O(log n), and neighbours
/// grow together again.
#[derive(Clone, Debug)]
pub(super) struct Space {
    /// Length by first index.
    free: BTreeMap<u32, u32>,
    /// The same intervals, shortest first.
    by_length: BTreeSet<(u32, u32)>,
}

impl Space {
    /// All of these are free.
    #[must_use]
    pub(super) fn new(indices: Range<u32>) -> Self {
        let mut space = Self {
            free: BTreeMap::new(),
            by_length: BTreeSet::new(),
        };
        if !indices.is_empty() {
            space.insert(indices.start, indices.end - indices.start);
        }
        space
    }

    /// The first of so many consecutive indices, which are taken from now on; none if there are
    /// not so many in a row.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let &(length, first) = self.by_length.range((count, 0)..).next()?;
        self.remove(first, length);
        if length > count {
            self.insert(first + count, length - count);
        }
        Some(first)
    }

    /// The index is taken from now on; false if it already was.
    pub(super) fn claim(&mut self, index: u32) -> bool {
        let Some((&first, &length)) = self.free.range(..=index).next_back() else {
            return false;
        };
        let end = first + length;
        if index >= end {
            return false;
        }
        self.remove(first, length);
        if index > first {
            self.insert(first, index - first);
        }
        if index + 1 < end {
            self.insert(index + 1, end - index - 1);
        }
        true
    }

    /// The index, which was taken, is free again.
    pub(super) fn free(&mut self, index: u32) {
        let (mut first, mut length) = (index, 1);
        if let Some((&before, &count)) = self.free.range(..index).next_back()
            && before + count == index
        {
            self.remove(before, count);
            first = before;
            length += count;
        }
        if let Some(&count) = self.free.get(&(index + 1)) {
            self.remove(index + 1, count);
            length += count;
        }
        self.insert(first, length);
    }

    fn insert(&mut self, first: u32, length: u32) {
        self.free.insert(first, length);
        self.by_length.insert((length, first));
    }

    fn remove(&mut self, first: u32, length: u32) {
        self.free.remove(&first);
        self.by_length.remove(&(length, first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_grows_together() {
        let mut space = Space::new(1..9);
        assert_eq!(space.take(3), Some(1));
        assert_eq!(space.take(5), Some(4));
        assert_eq!(space.take(1), None);
        for index in [2, 4, 3, 1] {
            space.free(index);
        }
        assert_eq!(space.take(5), None);
        assert_eq!(space.take(4), Some(1));
    }

    #[test]
    fn the_shortest_gap_that_is_long_enough_is_taken() {
        let mut space = Space::new(1..100);
        for index in [4, 10] {
            assert!(space.claim(index));
        }
        assert_eq!(space.take(4), Some(5));
        assert_eq!(space.take(3), Some(1));
        assert_eq!(space.take(2), Some(11));
        assert!(!space.claim(11));
    }
}
