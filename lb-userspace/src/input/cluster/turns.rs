//! Which problem is told when? Pure: whoever calls has the clock and the chance.
//!
//! All nodes see most problems, so each waits for a moment of its own: the first one's Event is there
//! when the others come, and they write none. The API server forgets Events after an hour; what is
//! still wrong then is told again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::input::Announcement;

/// The first time is at most so long after the problem began: as long as a cluster of 5,000 nodes takes
/// with 250 calls a second.
const SPREAD: Duration = Duration::from_secs(20);
/// Told again after half of this to one and a half of it.
const AGAIN: Duration = Duration::from_mins(40);
/// Tried again after a failure, likewise.
const RETRY: Duration = Duration::from_mins(1);
/// So many may be told at once; more have to wait.
const BURST: u32 = 10;
/// One more may be told each time that this has passed.
const REFILL: Duration = Duration::from_secs(6);

/// What is to be told, and when.
#[derive(Debug)]
pub(super) struct Turns {
    due: BTreeMap<Announcement, Instant>,
    /// When as many as may be at once could be told again.
    full_at: Instant,
}

impl Turns {
    /// Nothing is wrong.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            due: BTreeMap::new(),
            full_at: now,
        }
    }

    /// This is everything that is wrong now; `chance` is anything from 0 to 1, anew each time.
    pub(super) fn follow(
        &mut self,
        all: Vec<Announcement>,
        now: Instant,
        mut chance: impl FnMut() -> f64,
    ) {
        let mut before = std::mem::take(&mut self.due);
        for one in all {
            let due = before.remove(&one);
            let due = due.unwrap_or_else(|| now + SPREAD.mul_f64(chance()));
            self.due.insert(one, due);
        }
    }

    /// When there is something to tell; none = never.
    pub(super) fn next(&self) -> Option<Instant> {
        let first = self.due.values().min()?;
        // A moment at which one may be told.
        let free = self.full_at.checked_sub(REFILL * (BURST - 1));
        Some(free.map_or(*first, |free| free.max(*first)))
    }

    /// What is to be told now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Announcement> {
        if self.next()? > now {
            return None;
        }
        let (one, _) = self.due.iter().min_by_key(|(_, due)| **due)?;
        self.full_at = self.full_at.max(now) + REFILL;
        Some(one.clone())
    }

    /// It was told, by us or by another node, or could not be.
    pub(super) fn told(&mut self, one: &Announcement, is_told: bool, now: Instant, chance: f64) {
        if let Some(due) = self.due.get_mut(one) {
            let pause = if is_told { AGAIN } else { RETRY };
            *due = now + pause.mul_f64(0.5 + chance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Object, ObjectName, Problem};

    fn problem(i: usize) -> Announcement {
        Announcement {
            problem: Problem {
                object: Object {
                    kind: "Service".into(),
                    name: ObjectName::new("default", format!("kubia-{i}")),
                },
                field: String::new(),
                why: "it is odd".into(),
                place: None,
            },
            uid: String::new(),
        }
    }

    /// Tells whatever has its turn.
    fn tell(turns: &mut Turns, now: Instant, is_told: bool) -> usize {
        let mut count = 0;
        while let Some(one) = turns.take(now) {
            turns.told(&one, is_told, now, 0.5);
            count += 1;
        }
        count
    }

    #[test]
    fn a_problem_is_told_within_its_spread_and_again_when_it_lasts() {
        let start = Instant::now();
        let mut turns = Turns::new(start);
        assert_eq!(turns.next(), None);
        turns.follow(vec![problem(0)], start, || 0.5);
        assert_eq!(turns.next(), Some(start + SPREAD / 2));
        assert_eq!(turns.take(start), None);
        // It is still wrong: its turn stays.
        turns.follow(vec![problem(0), problem(1)], start, || 1.0);
        let now = start + SPREAD / 2;
        assert_eq!(tell(&mut turns, now, true), 1);
        let now = start + SPREAD;
        assert_eq!(tell(&mut turns, now, true), 1);
        assert_eq!(turns.next(), Some(start + SPREAD / 2 + AGAIN));
        // What is mended is not told, and counts as new when it is back.
        turns.follow(Vec::new(), now, || 0.0);
        assert_eq!(turns.next(), None);
        turns.follow(vec![problem(0)], now, || 0.0);
        assert_eq!(tell(&mut turns, now, false), 1);
        assert_eq!(turns.next(), Some(now + RETRY));
    }

    #[test]
    fn many_at_once_wait_for_their_turn() {
        let start = Instant::now();
        let mut turns = Turns::new(start);
        turns.follow((0..100).map(problem).collect(), start, || 0.0);
        assert_eq!(tell(&mut turns, start, true), BURST as usize);
        assert_eq!(turns.next(), Some(start + REFILL));
        assert_eq!(tell(&mut turns, start + REFILL, true), 1);
        assert_eq!(tell(&mut turns, start + 3 * REFILL, true), 2);
        let later = start + AGAIN / 2;
        let (rest, burst) = (100 - 13, BURST as usize);
        assert_eq!(tell(&mut turns, later, true), burst.min(rest));
    }
}
