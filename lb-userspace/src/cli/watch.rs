//! What has changed since the last look? Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::view::Record;

/// What was seen last.
#[derive(Debug, Default)]
pub struct Seen {
    /// Each record by its key, as it was then.
    records: BTreeMap<String, Vec<String>>,
}

impl Seen {
    /// Indices of the records that are new or different, and the keys of those that are gone.
    pub fn changes<R: Record>(&mut self, records: &[R]) -> (BTreeSet<usize>, Vec<String>) {
        let mut now = BTreeMap::new();
        let mut changed = BTreeSet::new();
        for (i, record) in records.iter().enumerate() {
            let key = key(record);
            let cells: Vec<_> = R::COLUMNS
                .iter()
                .map(|column| (column.cell)(record))
                .collect();
            if self.records.get(&key) != Some(&cells) {
                changed.insert(i);
            }
            now.insert(key, cells);
        }
        let before = std::mem::replace(&mut self.records, now);
        let gone = before.into_keys();
        let gone = gone.filter(|key| !self.records.contains_key(key)).collect();
        (changed, gone)
    }
}

/// Tells a record from all others of its kind.
fn key<R: Record>(record: &R) -> String {
    let object = record.object();
    let name = record.name();
    if object.name == name {
        object.to_string()
    } else {
        format!("{name} of {object}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::{Column, Record};
    use super::*;
    use crate::model::ObjectName;

    #[derive(Debug, serde::Serialize)]
    struct Thing(ObjectName, u32);

    impl Record for Thing {
        const KIND: &'static str = "thing";
        const COLUMNS: &'static [Column<Self>] = &[Column {
            title: "COUNT",
            wide: false,
            cell: |thing| thing.1.to_string(),
        }];

        fn object(&self) -> &ObjectName {
            &self.0
        }

        fn name(&self) -> String {
            self.0.name.to_string()
        }
    }

    fn thing(name: &str, count: u32) -> Thing {
        Thing(ObjectName::new("default", name), count)
    }

    #[test]
    fn what_is_new_different_and_gone() {
        let mut seen = Seen::default();
        let (changed, gone) = seen.changes(&[thing("a", 1), thing("b", 1), thing("c", 1)]);
        assert_eq!((changed.len(), gone.len()), (3, 0));
        let (changed, gone) = seen.changes(&[thing("a", 1), thing("b", 2), thing("d", 1)]);
        assert_eq!(changed, [1, 2].into());
        assert_eq!(gone, ["default/c"]);
        let (changed, gone) = seen.changes(&[thing("a", 1), thing("b", 2), thing("d", 1)]);
        assert_eq!((changed.len(), gone.len()), (0, 0));
    }
}
