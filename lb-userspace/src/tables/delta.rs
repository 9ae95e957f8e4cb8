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
        self.phases().flat_map(|(_, ops)| ops)
    }

    /// All parts, phase by phase, with their writes of that phase. What goes goes in the other
    /// order: the node, which decides who a client is, comes first and goes last.
    pub fn phases(&self) -> impl Iterator<Item = (&Part, &[Op])> {
        let phase = |of: fn(&Part) -> &Vec<Op>| move |part| (part, of(part).as_slice());
        let (there, back) = (self.parts.iter(), self.parts.iter().rev());
        there
            .clone()
            .map(phase(|part| &part.prepare))
            .chain(there.map(phase(|part| &part.publish)))
            .chain(back.clone().map(phase(|part| &part.retract)))
            .chain(back.map(phase(|part| &part.retire)))
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
