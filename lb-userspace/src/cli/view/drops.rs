//! How many packets went no further, and why?

use lb_common::drops::{DropReason, Hook};
use serde::Serialize;

use super::{Column, Record, column};
use crate::model::ObjectName;

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropRecord {
    /// Where.
    pub hook: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How often since the maps were made.
    pub packets: u64,
    /// What the reason means.
    pub meaning: &'static str,
    #[serde(skip)]
    object: ObjectName,
}

/// The counters, the largest first; those at zero only if `all` are asked for.
#[must_use]
pub fn drops(counters: &[(Hook, DropReason, u64)], all: bool) -> Vec<DropRecord> {
    let mut records: Vec<_> = counters
        .iter()
        .filter(|(_, _, packets)| all || *packets != 0)
        .map(|(hook, reason, packets)| DropRecord {
            hook: hook.name(),
            reason: reason.name(),
            packets: *packets,
            meaning: reason.meaning(),
            object: ObjectName::default(),
        })
        .collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.packets));
    records
}

impl Record for DropRecord {
    const KIND: &'static str = "drop";
    const NAMESPACED: bool = false;
    const COLUMNS: &'static [Column<Self>] = &[
        column("REASON", |drop| drop.reason.to_owned()),
        column("HOOK", |drop| drop.hook.to_owned()),
        column("PACKETS", |drop| drop.packets.to_string()),
        column("MEANING", |drop| drop.meaning.to_owned()),
    ];

    fn object(&self) -> &ObjectName {
        &self.object
    }

    fn name(&self) -> String {
        format!("{}/{}", self.hook, self.reason)
    }
}
