//! How is one element of the tables named, set and removed?

use super::{FamilyRow, FamilyRowKey, FamilyTables, Op, PerFamily, Row, RowKey, Tables};

impl Tables {
    /// Carries out one write.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Update(row) => self.insert(row),
            Op::Delete(key) => self.remove(key),
        }
    }

    fn insert(&mut self, row: &Row) {
        match row {
            Row::Config(config) => self.config = **config,
            Row::Service(id, name) => {
                self.services.insert(*id, name.clone());
            }
            Row::Slot(index, backend) => {
                self.slots.insert(*index, *backend);
            }
            Row::V4(row) => self.v4.insert(row),
            Row::V6(row) => self.v6.insert(row),
        }
    }

    fn remove(&mut self, key: &RowKey) {
        match key {
            RowKey::Service(id) => {
                self.services.remove(id);
            }
            RowKey::Slot(index) => {
                self.slots.remove(index);
            }
            RowKey::V4(key) => self.v4.remove(key),
            RowKey::V6(key) => self.v6.remove(key),
        }
    }

    /// Whether the element is there.
    #[must_use]
    pub fn contains(&self, key: &RowKey) -> bool {
        match key {
            RowKey::Service(id) => self.services.contains_key(id),
            RowKey::Slot(index) => self.slots.contains_key(index),
            RowKey::V4(key) => self.v4.contains(key),
            RowKey::V6(key) => self.v6.contains(key),
        }
    }
}

impl<A: PerFamily> FamilyTables<A> {
    fn insert(&mut self, row: &FamilyRow<A>) {
        match row {
            FamilyRow::Frontend(key, reference) => {
                self.frontends.insert(*key, *reference);
            }
            FamilyRow::Info(index, info) => {
                self.info.insert(*index, *info);
            }
            FamilyRow::Backend(id, backend) => {
                self.backends.insert(*id, *backend);
            }
            FamilyRow::Range(range) => {
                self.ranges.insert(*range);
            }
            FamilyRow::Node(address) => {
                self.nodes.insert(*address);
            }
        }
    }

    fn remove(&mut self, key: &FamilyRowKey<A>) {
        match key {
            FamilyRowKey::Frontend(key) => {
                self.frontends.remove(key);
            }
            FamilyRowKey::Info(index) => {
                self.info.remove(index);
            }
            FamilyRowKey::Backend(id) => {
                self.backends.remove(id);
            }
            FamilyRowKey::Range(range) => {
                self.ranges.remove(range);
            }
            FamilyRowKey::Node(address) => {
                self.nodes.remove(address);
            }
        }
    }

    fn contains(&self, key: &FamilyRowKey<A>) -> bool {
        match key {
            FamilyRowKey::Frontend(key) => self.frontends.contains_key(key),
            FamilyRowKey::Info(index) => self.info.contains_key(index),
            FamilyRowKey::Backend(id) => self.backends.contains_key(id),
            FamilyRowKey::Range(range) => self.ranges.contains(range),
            FamilyRowKey::Node(address) => self.nodes.contains(address),
        }
    }
}

impl Row {
    /// The element's name; none for the only one of its map.
    #[must_use]
    pub fn key(&self) -> Option<RowKey> {
        match self {
            Self::Config(_) => None,
            Self::Service(id, _) => Some(RowKey::Service(*id)),
            Self::Slot(index, _) => Some(RowKey::Slot(*index)),
            Self::V4(row) => Some(RowKey::V4(row.key())),
            Self::V6(row) => Some(RowKey::V6(row.key())),
        }
    }
}

impl<A: PerFamily> FamilyRow<A> {
    /// The element's name.
    #[must_use]
    pub fn key(&self) -> FamilyRowKey<A> {
        match self {
            Self::Frontend(key, _) => FamilyRowKey::Frontend(*key),
            Self::Info(index, _) => FamilyRowKey::Info(*index),
            Self::Backend(id, _) => FamilyRowKey::Backend(*id),
            Self::Range(range) => FamilyRowKey::Range(*range),
            Self::Node(address) => FamilyRowKey::Node(*address),
        }
    }
}

impl Op {
    /// Name of the map that is written.
    #[must_use]
    pub fn map(&self) -> &'static str {
        match self {
            Self::Update(row) => row.key().map_or("config", |key| key.map()),
            Self::Delete(key) => key.map(),
        }
    }

    /// What is done, as a verb.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Update(_) => "update",
            Self::Delete(_) => "delete",
        }
    }
}

impl RowKey {
    /// Name of the map that has the element.
    #[must_use]
    pub fn map(&self) -> &'static str {
        match self {
            Self::Service(_) => "services",
            Self::Slot(_) => "slots",
            Self::V4(key) => key.map(),
            Self::V6(key) => key.map(),
        }
    }
}

impl<A: PerFamily> FamilyRowKey<A> {
    fn map(&self) -> &'static str {
        match self {
            Self::Frontend(_) => A::MAPS.frontends,
            Self::Info(_) => A::MAPS.info,
            Self::Backend(_) => A::MAPS.backends,
            Self::Range(_) => A::MAPS.ranges,
            Self::Node(_) => A::MAPS.nodes,
        }
    }
}
