//! What changes in the tables when something changes in the world? The cost of the answer follows
//! the size of the change.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::limits::LAYOUT_VERSION;

use super::claims::Claims;
use super::ids::Ids;
use super::node::{self, ConfigBase};
use super::quarantine::Quarantine;
use super::rows::rows;
use super::service;
use super::stopped::{Stopped, Stopping};
use crate::model::{Change, Problem, World};
use crate::tables::{
    Capacities, FamilyRowKey, FamilyTables, Full, Op, Owner, Packed, Part, PerFamily, RowKey,
    TableDelta, Tables, diff_owner, split,
};

/// Changes with which everything is known: every input has been read completely. Only that tells
/// what is no longer wanted.
#[derive(Clone, Debug, Default)]
pub struct CompleteList(pub Vec<Change>);

/// Plans the tables and remembers what it planned.
#[derive(Clone, Debug)]
pub struct Planner {
    base: ConfigBase,
    capacities: Capacities,
    world: World,
    claims: Claims,
    ids: Ids,
    quarantine: Quarantine,
    /// Everything that the maps hold, that in quarantine included.
    tables: Tables,
    /// The elements of each owner, without those in quarantine.
    owned: BTreeMap<Owner, Packed>,
    problems: BTreeMap<Owner, Vec<Problem>>,
    /// Owners that were found in the maps, until everything is known.
    adopted: BTreeSet<Owner>,
    /// Owners whose last plan found no room; they are as they were before.
    waiting: BTreeSet<Owner>,
    stopping: Stopping,
}

impl Planner {
    /// Takes over what is `found` in the maps, with its numbers. Until everything is known
    /// ([`Planner::complete`]) it stays as it is; nothing but new Services is planned.
    ///
    /// `now_millis` here and below comes from a clock that never goes back while the maps live.
    #[must_use]
    pub fn adopt(base: ConfigBase, capacities: Capacities, found: Tables, now_millis: u64) -> Self {
        let hash_key = if found.config.layout_version == LAYOUT_VERSION {
            found.config.hash_key
        } else {
            base.hash_key
        };
        let owned = split(&found).into_iter();
        let owned = owned.filter(|(_, rows)| *rows != Tables::default());
        let owned: BTreeMap<_, _> = owned
            .map(|(owner, rows)| (owner, Packed::new(&rows)))
            .collect();
        Self {
            base: ConfigBase { hash_key, ..base },
            capacities,
            world: World::default(),
            claims: Claims::default(),
            ids: Ids::recover(&found, capacities, now_millis),
            quarantine: Quarantine::default(),
            adopted: owned.keys().cloned().collect(),
            owned,
            tables: found,
            problems: BTreeMap::new(),
            waiting: BTreeSet::new(),
            stopping: Stopping::default(),
        }
    }

    /// Takes changes in and says what to write.
    pub fn apply(&mut self, changes: Vec<Change>, now_millis: u64) -> TableDelta {
        let touched = self.take_in(changes);
        self.replan(touched, now_millis)
    }

    /// Takes in the changes with which everything is known, and says what to write: what was
    /// adopted and is not wanted goes.
    pub fn complete(&mut self, everything: CompleteList, now_millis: u64) -> TableDelta {
        let mut touched = self.take_in(everything.0);
        touched.append(&mut self.adopted);
        self.replan(touched, now_millis)
    }

    fn take_in(&mut self, changes: Vec<Change>) -> BTreeSet<Owner> {
        let mut touched = BTreeSet::new();
        for change in changes {
            if matches!(change, Change::Node(_)) {
                touched.insert(Owner::Node);
            }
            touched.extend(self.world.apply(change).into_iter().map(Owner::Service));
        }
        touched
    }

    /// Changes what no object says; the hash key stays.
    pub fn configure(&mut self, base: ConfigBase, now_millis: u64) -> TableDelta {
        self.base = ConfigBase {
            hash_key: self.base.hash_key,
            ..base
        };
        self.replan([Owner::Node].into(), now_millis)
    }

    /// What may be deleted by now, and what found no room before and may find it now. What the
    /// `held` owners left waits on: programs may still see it.
    pub fn due(&mut self, held: &BTreeSet<Owner>, now_millis: u64) -> TableDelta {
        let released = self.quarantine.release(held, now_millis);
        if released.is_empty() {
            return TableDelta::default();
        }
        let mut part = Part::new(Owner::Nobody);
        for key in released {
            self.ids.free(&key);
            let op = Op::Delete(key);
            self.tables.apply(&op);
            part.retire.push(op);
        }
        let waiting = std::mem::take(&mut self.waiting);
        let mut delta = self.replan(waiting, now_millis);
        delta.parts.push(part);
        delta.keeping(&self.tables)
    }

    /// When there is something [`Planner::due`].
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.quarantine.next_due()
    }

    /// What was planned was written only now: nothing is due before its time from now on.
    pub fn written_late(&mut self, now_millis: u64) {
        self.quarantine.restart(now_millis);
    }

    /// What the maps must hold now.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Which backends stopped serving since the last time this was asked.
    pub fn take_stopped(&mut self) -> Stopped {
        self.stopping.take()
    }

    /// A beat. Which backends that was said of before the last one, and none of them serves again.
    pub fn take_stopped_again(&mut self) -> Stopped {
        self.stopping.beat()
    }

    /// What is known.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// What is not served as it was written.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.problems.values().flatten().cloned().collect();
        if !self.adopted.is_empty() {
            problems.push(self.node_problem(
                "not every input has been read completely yet: what the maps had at the start stays as it was",
            ));
        }
        problems
    }

    /// Plans these owners anew, and those Services that lose or win a frontend by it.
    fn replan(&mut self, touched: BTreeSet<Owner>, now_millis: u64) -> TableDelta {
        let mut affected = BTreeSet::new();
        for owner in &touched {
            if let Owner::Service(name) = owner {
                let plan = service::plan(name, &self.world);
                affected.extend(self.claims.set(name, plan.wishes()));
            }
        }
        let all = touched
            .into_iter()
            .chain(affected.into_iter().map(Owner::Service));
        let mut parts = Vec::new();
        for owner in all.collect::<BTreeSet<_>>() {
            if self.adopted.contains(&owner) {
                continue;
            }
            match self.plan_owner(&owner) {
                Ok(part) if part.is_empty() => {}
                Ok(part) => parts.push(part),
                Err(full) => self.report_full(owner, &full),
            }
        }
        self.retract(parts, now_millis)
    }

    /// Plans one owner and takes its new elements in.
    fn plan_owner(&mut self, owner: &Owner) -> Result<Part, Full> {
        let before = self.owned_by(owner);
        let (after, problems) = match owner {
            Owner::Node => node::rows(&self.base, self.world.node()),
            Owner::Service(name) => {
                let mut plan = service::plan(name, &self.world);
                plan.give_up(name, &self.claims);
                let rows = rows(&plan, &before, &mut self.ids);
                match rows {
                    Ok(rows) => (rows, plan.problems),
                    Err(full) => {
                        self.ids.take_back();
                        return Err(full);
                    }
                }
            }
            Owner::Nobody => (Tables::default(), Vec::new()),
        };
        let mut part = diff_owner(owner.clone(), &before, &after);
        // Ranges that nobody asked for any more must not admit anybody when ranges count again.
        let left = self.quarantine.ranges().filter(|key| counts(key, &after));
        part.prepare.extend(left.map(|key| Op::Delete(*key)));
        let writes = part.prepare.iter().chain(&part.publish);
        if let Err(full) = self.capacities.admit(&self.tables, writes.clone()) {
            self.ids.take_back();
            return Err(full);
        }
        self.ids.keep();
        self.stopping.note(&before, &after);
        for op in writes {
            self.tables.apply(op);
            let key = match op {
                Op::Update(row) => row.key(),
                Op::Delete(key) => Some(*key),
            };
            key.inspect(|key| self.quarantine.cancel(key));
        }
        let rows = (after != Tables::default()).then(|| Packed::new(&after));
        set(&mut self.owned, owner, rows);
        let problems = (!problems.is_empty()).then_some(problems);
        set(&mut self.problems, owner, problems);
        self.waiting.remove(owner);
        // At a start the writes of all Services are kept together, among rows that stay.
        part.prepare.shrink_to_fit();
        part.publish.shrink_to_fit();
        Ok(part)
    }

    /// Takes out what the parts retract, unless another owner has it now, and puts what they retire
    /// into quarantine.
    fn retract(&mut self, mut parts: Vec<Part>, now_millis: u64) -> TableDelta {
        for part in &mut parts {
            part.retract
                .retain(|op| !matches!(op, Op::Delete(key) if self.is_served(key)));
            for op in &part.retract {
                self.tables.apply(op);
            }
            let retired = part.take_retired();
            self.quarantine.push(&part.owner, retired, now_millis);
        }
        parts.retain(|part| !part.is_empty());
        TableDelta { parts }
    }

    /// Whether the frontend's owner has it in the tables.
    fn is_served(&self, key: &RowKey) -> bool {
        let owner = self.claims.winner(key).cloned().map(Owner::Service);
        owner.is_some_and(|owner| self.owned_by(&owner).contains(key))
    }

    /// The elements of an owner.
    fn owned_by(&self, owner: &Owner) -> Tables {
        let rows = self.owned.get(owner);
        rows.map(Packed::unpack).unwrap_or_default()
    }

    fn report_full(&mut self, owner: Owner, full: &Full) {
        let why = format!("{full}; until there is room it stays as it was before");
        let problem = match &owner {
            Owner::Service(name) => service::problem(name, "", why),
            Owner::Node | Owner::Nobody => self.node_problem(why),
        };
        self.problems.insert(owner.clone(), vec![problem]);
        self.waiting.insert(owner);
    }

    fn node_problem(&self, why: impl Into<String>) -> Problem {
        node::problem(self.world.node(), "", why)
    }
}

/// Whether the element is a source range that these elements look up but do not have.
fn counts(key: &RowKey, rows: &Tables) -> bool {
    fn looked_up<A: PerFamily>(key: &FamilyRowKey<A>, rows: &FamilyTables<A>) -> bool {
        let FamilyRowKey::Range(range) = key else {
            return false;
        };
        !rows.ranges.contains(range) && rows.restricts(range.service_port)
    }
    match key {
        RowKey::V4(key) => looked_up(key, &rows.v4),
        RowKey::V6(key) => looked_up(key, &rows.v6),
        RowKey::Service(_) | RowKey::Slot(_) => false,
    }
}

/// Sets an entry, or removes it if there is nothing.
fn set<V>(map: &mut BTreeMap<Owner, V>, owner: &Owner, value: Option<V>) {
    match value {
        Some(value) => map.insert(owner.clone(), value),
        None => map.remove(owner),
    };
}
