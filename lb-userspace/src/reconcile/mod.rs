//! How do planned changes get into the maps, and what if a write fails?
//!
//! Nothing that was there at the start is changed or deleted before every input has been read
//! completely: only a [`CompleteList`] does that.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::limits::REUSE_AFTER_MILLIS;

use crate::dataplane::{Dataplane, DataplaneError, Halt};
use crate::model::{Change, Object, ObjectName, Problem};
use crate::plan::{CompleteList, ConfigBase, Planner, Stopped};
use crate::tables::{Op, Owner, Part, TableDelta, diff};

/// Failed writes are tried again after so long, then after twice as long, and so on.
const RETRY_AFTER_MILLIS: u64 = 1_000;
/// The longest time between two tries.
const RETRY_AT_LEAST_EVERY_MILLIS: u64 = 60_000;

/// So many elements of a map are written together at most: what fails is looked for among them.
const AT_ONCE: usize = 4_096;

/// Keeps a dataplane as the planner wants it.
#[derive(Debug)]
pub struct Reconciler<D> {
    planner: Planner,
    dataplane: D,
    /// Set as long as the dataplane may hold something else than planned.
    repair: Option<Repair>,
    writes: Writes,
}

/// Writes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Those that were done.
    pub done: u64,
    /// Those that the dataplane refused.
    pub failed: u64,
}

/// What is amiss, and when it is mended.
#[derive(Debug, Default)]
struct Repair {
    at_millis: u64,
    tries: u32,
    /// Whose writes failed; nothing more is written for them until everything is compared.
    failures: BTreeMap<Owner, DataplaneError>,
    /// Whoever was to change together with them: their old elements may still be seen.
    held: BTreeSet<Owner>,
}

impl<D: Dataplane> Reconciler<D> {
    /// Takes over what the dataplane holds, and changes nothing of it yet.
    ///
    /// `now_millis` here and below comes from a clock that never goes back while the maps live.
    ///
    /// # Errors
    /// The dataplane could not be read.
    pub fn adopt(dataplane: D, base: ConfigBase, now_millis: u64) -> Result<Self, DataplaneError> {
        let found = dataplane.read()?;
        let planner = Planner::adopt(base, dataplane.capacities(), found, now_millis);
        Ok(Self {
            planner,
            dataplane,
            repair: None,
            writes: Writes::default(),
        })
    }

    /// Takes in the changes with which everything is known. What was adopted keeps its numbers
    /// where it is wanted; the rest goes.
    pub fn complete(&mut self, everything: CompleteList, now_millis: u64) {
        let delta = self.planner.complete(everything, now_millis);
        self.write(&delta, now_millis);
    }

    /// Takes changes in and writes what follows from them. Failures are among the
    /// [`Reconciler::problems`] and tried again by [`Reconciler::tick`].
    pub fn apply(&mut self, changes: Vec<Change>, now_millis: u64) {
        let delta = self.planner.apply(changes, now_millis);
        self.write(&delta, now_millis);
    }

    /// Changes what no object says.
    pub fn configure(&mut self, base: ConfigBase, now_millis: u64) {
        let delta = self.planner.configure(base, now_millis);
        self.write(&delta, now_millis);
    }

    /// Does what the time has come for: deletes what nobody can be reading any more, and tries
    /// failed writes again.
    pub fn tick(&mut self, now_millis: u64) {
        let none = BTreeSet::new();
        let held = self.repair.as_ref().map_or(&none, |repair| &repair.held);
        let delta = self.planner.due(held, now_millis);
        self.write(&delta, now_millis);
        if let Some(repair) = &self.repair
            && repair.at_millis <= now_millis
        {
            self.audit(now_millis);
        }
    }

    /// When the next [`Reconciler::tick`] has something to do.
    #[must_use]
    pub fn next_tick(&self) -> Option<u64> {
        let repair = self.repair.as_ref().map(|repair| repair.at_millis);
        repair.into_iter().chain(self.planner.next_due()).min()
    }

    /// Compares all that the dataplane holds with what it must hold, and mends it. Returns how many
    /// elements of which maps somebody else has changed; none while writes of our own have failed.
    ///
    /// What is there and not wanted is deleted once nothing else had to be mended for as long as a
    /// program may be reading it.
    pub fn audit(&mut self, now_millis: u64) -> BTreeMap<&'static str, usize> {
        let found = match self.dataplane.read() {
            Ok(found) => found,
            Err(error) => {
                let failures = [(Owner::Node, error)].into();
                self.note(failures, &TableDelta::default(), now_millis);
                return BTreeMap::new();
            }
        };
        let mut delta = diff(&found, self.planner.tables());
        let drift = match self.repair {
            Some(_) => BTreeMap::new(),
            None => elements(&delta),
        };
        let seen_changes = delta.parts.iter().any(Part::is_seen);
        let leftovers = delta.parts.iter().any(|part| !part.retire.is_empty());
        if seen_changes {
            self.planner.written_late(now_millis);
            delta.parts.iter_mut().for_each(|part| part.retire.clear());
        }
        let tries = self.repair.take().map_or(0, |repair| repair.tries);
        let failures = write(
            &mut self.dataplane,
            &delta,
            &BTreeSet::new(),
            &mut self.writes,
        );
        if !failures.is_empty() {
            self.repair = Some(Repair {
                tries,
                ..Repair::default()
            });
            self.note(failures, &delta, now_millis);
        } else if seen_changes && leftovers {
            self.repair = Some(Repair {
                at_millis: now_millis + REUSE_AFTER_MILLIS,
                ..Repair::default()
            });
        }
        drift
    }

    /// What is not served as it was written.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let failures = self.repair.iter().flat_map(|repair| &repair.failures);
        let mut problems = self.planner.problems();
        problems.extend(failures.map(|(owner, error)| self.problem(owner, error)));
        problems
    }

    /// Whether something that was planned could not be written yet.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let mut repairs = self.repair.iter();
        repairs.any(|repair| !repair.failures.is_empty())
    }

    /// How much was written since the start.
    #[must_use]
    pub const fn writes(&self) -> Writes {
        self.writes
    }

    /// Which backends stopped serving since the last time this was asked.
    pub fn take_stopped(&mut self) -> Stopped {
        self.planner.take_stopped()
    }

    /// A beat. Which backends that was said of before the last one, and none of them serves again;
    /// nobody while writes have failed, as the maps may still lead to them.
    pub fn take_stopped_again(&mut self) -> Stopped {
        if self.is_behind() {
            return Stopped::default();
        }
        self.planner.take_stopped_again()
    }

    /// Whoever plans.
    #[must_use]
    pub const fn planner(&self) -> &Planner {
        &self.planner
    }

    /// Whoever holds the tables.
    #[must_use]
    pub const fn dataplane(&self) -> &D {
        &self.dataplane
    }

    /// Whoever holds the tables, for what is not theirs.
    pub const fn dataplane_mut(&mut self) -> &mut D {
        &mut self.dataplane
    }

    fn write(&mut self, delta: &TableDelta, now_millis: u64) {
        let behind = self.repair.iter().flat_map(|repair| repair.failures.keys());
        let behind = behind.cloned().collect();
        let failures = write(&mut self.dataplane, delta, &behind, &mut self.writes);
        if failures.is_empty() {
            // Whoever has failed before still waits for the audit, and so does what it left.
            let touched = delta.parts.iter().map(|part| &part.owner);
            let skipped = touched.filter(|owner| behind.contains(owner)).cloned();
            if let Some(repair) = &mut self.repair {
                repair.held.extend(skipped);
            }
        } else {
            self.note(failures, delta, now_millis);
        }
    }

    /// Remembers what failed, and whose elements may be seen for longer than planned.
    fn note(
        &mut self,
        failures: BTreeMap<Owner, DataplaneError>,
        delta: &TableDelta,
        now_millis: u64,
    ) {
        if failures.is_empty() {
            return;
        }
        let repair = self.repair.get_or_insert_default();
        let pause = RETRY_AFTER_MILLIS << repair.tries.min(8);
        repair.at_millis = now_millis + pause.min(RETRY_AT_LEAST_EVERY_MILLIS);
        repair.tries += 1;
        repair.failures.extend(failures);
        repair
            .held
            .extend(delta.parts.iter().map(|part| part.owner.clone()));
    }

    fn problem(&self, owner: &Owner, error: &DataplaneError) -> Problem {
        let object = match owner {
            Owner::Service(name) => Object {
                kind: "Service".to_owned(),
                name: name.clone(),
            },
            Owner::Node | Owner::Nobody => Object {
                kind: "Node".to_owned(),
                name: ObjectName::new("", &self.planner.world().node().name),
            },
        };
        Problem {
            object,
            field: String::new(),
            why: format!("{error}; the maps keep what they had of it, and it is tried again"),
            place: None,
        }
    }
}

/// How many elements of which maps a delta writes.
fn elements(delta: &TableDelta) -> BTreeMap<&'static str, usize> {
    let mut elements = BTreeMap::new();
    for op in delta.ops() {
        *elements.entry(op.map()).or_default() += 1;
    }
    elements
}

/// Writes phase by phase and map by map. A failure ends its owner's part and no other; `behind` are
/// skipped.
fn write(
    dataplane: &mut impl Dataplane,
    delta: &TableDelta,
    behind: &BTreeSet<Owner>,
    writes: &mut Writes,
) -> BTreeMap<Owner, DataplaneError> {
    let mut failures = BTreeMap::new();
    for batch in delta.batches() {
        let mut next = 0;
        while next < batch.len() {
            let some = batch.iter().enumerate().skip(next).take(AT_ONCE);
            let (places, ops): (Vec<usize>, Vec<&Op>) = some
                .filter(|(_, (Part { owner, .. }, _))| {
                    !behind.contains(owner) && !failures.contains_key(owner)
                })
                .map(|(place, (_, op))| (place, *op))
                .unzip();
            match dataplane.apply_all(&ops) {
                Ok(()) => {
                    writes.done += ops.len() as u64;
                    next += AT_ONCE;
                }
                Err(Halt { done, error }) => {
                    writes.done += done as u64;
                    writes.failed += 1;
                    let place = places[done];
                    failures.insert(batch[place].0.owner.clone(), error);
                    next = place + 1;
                }
            }
        }
    }
    failures
}
