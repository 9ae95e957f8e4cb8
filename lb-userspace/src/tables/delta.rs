//! In which order is a change written, so that every packet sees a frontend before or after it?

use crate::model::ObjectName;

use super::{Op, RowKey, Tables};

/// What it takes to bring the tables from one state to the next.
///
/// Phases run one after the other, each over all parts: first `prepare`, then `publish`, then
/// `retract`. `retire` must wait until no program can still be reading what it deletes
/// ([`lb_common::limits::REUSE_AFTER_MILLIS`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDelta {
    /// The change of each owner; a failure in one part does not touch another.
    pub parts: Vec<Part>,
}

/// The writes for the elements of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whose elements they are.
    pub owner: Owner,
    /// What nobody reads yet: names, backends, slots, frontends' information, source ranges.
    pub prepare: Vec<Op>,
    /// What makes it seen: frontends, the node's addresses and configuration.
    pub publish: Vec<Op>,
    /// What is gone for new flows at once.
    pub retract: Vec<Op>,
    /// What a program may still be reading, but nothing names any more.
    pub retire: Vec<Op>,
}

/// Whose an element is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The node's: configuration and addresses.
    Node,
    /// A Service's.
    Service(ObjectName),
    /// Left behind by a process that ended between two writes.
    Nobody,
}

impl TableDelta {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Part::is_empty)
    }

    /// How many writes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops().count()
    }

    /// All writes, in the order in which they are made.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        let batches = self.batches().into_iter();
        batches.flat_map(|batch| batch.into_iter().map(|(_, op)| op))
    }

    /// All writes phase by phase, in each phase those to one map together, with the part that they are
    /// of. What goes goes in the other order: the node, which decides who a client is, comes first and
    /// goes last.
    ///
    /// That a map is written as a whole does no harm: in a phase order only matters between elements of
    /// one map, where it is kept, and between the node's maps and all others, which are not the same.
    #[must_use]
    pub fn batches(&self) -> Vec<Batch<'_>> {
        let (there, back) = (self.parts.iter(), self.parts.iter().rev());
        let mut batches = by_map(there.clone().map(|part| (part, &part.prepare)));
        batches.extend(by_map(there.map(|part| (part, &part.publish))));
        batches.extend(by_map(back.clone().map(|part| (part, &part.retract))));
        batches.extend(by_map(back.map(|part| (part, &part.retire))));
        batches
    }

    /// Without deletions of what these tables have: another owner has taken it over.
    #[must_use]
    pub fn keeping(mut self, tables: &Tables) -> Self {
        let gone = |op: &Op| !matches!(op, Op::Delete(key) if tables.contains(key));
        for part in &mut self.parts {
            part.retract.retain(gone);
            part.retire.retain(gone);
        }
        self
    }
}

/// Writes to one map in their order, each with the part that it is of.
pub type Batch<'d> = Vec<(&'d Part, &'d Op)>;

/// The writes of a phase by map; maps are in the order in which they come first.
fn by_map<'d>(phase: impl Iterator<Item = (&'d Part, &'d Vec<Op>)>) -> Vec<Batch<'d>> {
    let mut batches: Vec<(&str, Batch<'d>)> = Vec::new();
    for (part, op) in phase.flat_map(|(part, ops)| ops.iter().map(move |op| (part, op))) {
        let map = op.map();
        match batches.iter_mut().find(|(of, _)| *of == map) {
            Some((_, batch)) => batch.push((part, op)),
            None => batches.push((map, vec![(part, op)])),
        }
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

impl Part {
    /// Nothing to do for this owner.
    #[must_use]
    pub const fn new(owner: Owner) -> Self {
        Self {
            owner,
            prepare: Vec::new(),
            publish: Vec::new(),
            retract: Vec::new(),
            retire: Vec::new(),
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_seen() && self.prepare.is_empty() && self.retire.is_empty()
    }

    /// Whether programs see anything change.
    #[must_use]
    pub const fn is_seen(&self) -> bool {
        !self.publish.is_empty() || !self.retract.is_empty()
    }

    /// What the part retires, taken out of it.
    pub fn take_retired(&mut self) -> Vec<RowKey> {
        let key = |op| match op {
            Op::Delete(key) => Some(key),
            Op::Update(_) => None,
        };
        std::mem::take(&mut self.retire)
            .into_iter()
            .filter_map(key)
            .collect()
    }
}
