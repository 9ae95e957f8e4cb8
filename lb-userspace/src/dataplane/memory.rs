//! Tables in memory: what the kernel does with a write, without a kernel.

use super::{Dataplane, DataplaneError};
use crate::tables::{Capacities, Op, Tables};

/// Holds the tables in memory.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    tables: Tables,
    capacities: Capacities,
}

impl Memory {
    /// Holds these tables already.
    #[must_use]
    pub fn holding(tables: Tables) -> Self {
        Self {
            tables,
            ..Self::default()
        }
    }

    /// Empty, with room for so much.
    #[must_use]
    pub fn with_capacities(capacities: Capacities) -> Self {
        Self {
            capacities,
            ..Self::default()
        }
    }

    /// What it holds.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }
}

impl Dataplane for Memory {
    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        self.capacities.admit(&self.tables, [op])?;
        self.tables.apply(op);
        Ok(())
    }

    fn read(&self) -> Result<Tables, DataplaneError> {
        Ok(self.tables.clone())
    }

    fn capacities(&self) -> Capacities {
        self.capacities
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Row;

    #[test]
    fn a_write_beyond_the_end_is_refused_with_the_remedy() {
        let mut memory = Memory::with_capacities(Capacities {
            slots: 2,
            ..Capacities::default()
        });
        memory.apply(&Op::Update(Row::Slot(1, 7))).unwrap();
        let refused = memory.apply(&Op::Update(Row::Slot(2, 7))).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "map slots is full (2 elements): raise its size in the configuration file (`maps.slots`)"
        );
        assert_eq!(memory.tables().slots.len(), 1);
    }
}
