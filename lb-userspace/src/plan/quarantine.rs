//! When may what nobody names any more be deleted and its number be given out again?

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use lb_common::addr::{Ip4, Ip6};
use lb_common::layout::RangeKey;
use lb_common::limits::REUSE_AFTER_MILLIS;

use crate::tables::{FamilyRowKey, Owner, PerFamily, RowKey};

/// Elements that no element names, but that a program may still be reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Quarantine {
    /// In the order of their time.
    queue: VecDeque<Batch>,
    /// When each of them is due; what is missing here was named again.
    due: BTreeMap<RowKey, u64>,
}

/// What one owner left at one time.
#[derive(Clone, Debug)]
struct Batch {
    due: u64,
    owner: Owner,
    keys: Vec<RowKey>,
}

impl Quarantine {
    /// The owner does not name these any more.
    pub(super) fn push(&mut self, owner: &Owner, keys: Vec<RowKey>, now_millis: u64) {
        if keys.is_empty() {
            return;
        }
        let due = now_millis + REUSE_AFTER_MILLIS;
        self.due.extend(keys.iter().map(|key| (*key, due)));
        self.queue.push_back(Batch {
            due,
            owner: owner.clone(),
            keys,
        });
    }

    /// The element is named again.
    pub(super) fn cancel(&mut self, key: &RowKey) {
        self.due.remove(key);
    }

    /// The source ranges that wait here.
    pub(super) fn ranges(&self) -> impl Iterator<Item = &RowKey> {
        let v4 = self.due.range(ranges_of::<Ip4>());
        let v6 = self.due.range(ranges_of::<Ip6>());
        v4.chain(v6).map(|(key, _)| key)
    }

    /// When the next element is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.queue.front().map(|batch| batch.due)
    }

    /// What may be deleted now. The time of what `held` owners left begins anew.
    pub(super) fn release(&mut self, held: &BTreeSet<Owner>, now_millis: u64) -> Vec<RowKey> {
        let mut released = Vec::new();
        while let Some(batch) = self.queue.pop_front_if(|batch| batch.due <= now_millis) {
            let due = &mut self.due;
            let mut keys = batch.keys;
            keys.retain(|key| due.get(key) == Some(&batch.due));
            if held.contains(&batch.owner) {
                self.push(&batch.owner, keys, now_millis);
            } else {
                for key in &keys {
                    due.remove(key);
                }
                released.append(&mut keys);
            }
        }
        released
    }

    /// The time of everything begins anew.
    pub(super) fn restart(&mut self, now_millis: u64) {
        for batch in std::mem::take(&mut self.queue) {
            let mut keys = batch.keys;
            keys.retain(|key| self.due.get(key) == Some(&batch.due));
            self.push(&batch.owner, keys, now_millis);
        }
    }
}

/// Where a family's source ranges are among all keys: after the backends, before the nodes.
fn ranges_of<A: PerFamily>() -> Range<RowKey> {
    let first = FamilyRowKey::Range(RangeKey::default());
    A::key(first)..A::key(FamilyRowKey::Node(A::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Owner = Owner::Nobody;

    fn release(quarantine: &mut Quarantine, now_millis: u64) -> Vec<RowKey> {
        quarantine.release(&BTreeSet::new(), now_millis)
    }

    #[test]
    fn nothing_is_released_before_its_time() {
        let mut quarantine = Quarantine::default();
        quarantine.push(&NOBODY, vec![RowKey::Slot(1)], 500);
        assert_eq!(quarantine.next_due(), Some(500 + REUSE_AFTER_MILLIS));
        assert_eq!(release(&mut quarantine, 499 + REUSE_AFTER_MILLIS), []);
        let released = release(&mut quarantine, 500 + REUSE_AFTER_MILLIS);
        assert_eq!(released, [RowKey::Slot(1)]);
        assert_eq!(quarantine.next_due(), None);
    }

    #[test]
    fn what_is_named_again_stays_until_it_is_left_again() {
        let mut quarantine = Quarantine::default();
        quarantine.push(&NOBODY, vec![RowKey::Slot(1)], 0);
        quarantine.cancel(&RowKey::Slot(1));
        quarantine.push(&NOBODY, vec![RowKey::Slot(1)], 600);
        assert_eq!(release(&mut quarantine, REUSE_AFTER_MILLIS), []);
        let released = release(&mut quarantine, 600 + REUSE_AFTER_MILLIS);
        assert_eq!(released, [RowKey::Slot(1)]);
    }

    #[test]
    fn what_a_held_owner_left_waits_on() {
        let mut quarantine = Quarantine::default();
        let (now, held) = (REUSE_AFTER_MILLIS, [Owner::Node].into());
        quarantine.push(&Owner::Node, vec![RowKey::Slot(1)], 0);
        quarantine.push(&NOBODY, vec![RowKey::Slot(2)], 0);
        assert_eq!(quarantine.release(&held, now), [RowKey::Slot(2)]);
        assert_eq!(release(&mut quarantine, 2 * now), [RowKey::Slot(1)]);
    }
}
