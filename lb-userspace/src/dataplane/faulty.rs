//! A dataplane that stops after so many writes, as a process does that is killed between two.

use std::io;

use super::{Dataplane, DataplaneError};
use crate::tables::{Capacities, Op, Tables};

/// Lets so many writes pass and refuses the rest.
#[derive(Clone, Debug)]
pub struct Faulty<D> {
    inner: D,
    writes_left: usize,
}

impl<D> Faulty<D> {
    /// Refuses what comes after `writes` writes.
    #[must_use]
    pub const fn after(writes: usize, inner: D) -> Self {
        Self {
            inner,
            writes_left: writes,
        }
    }

    /// Lets all writes pass from now on.
    pub const fn heal(&mut self) {
        self.writes_left = usize::MAX;
    }

    /// Lets so many more writes pass.
    pub const fn stop_after(&mut self, writes: usize) {
        self.writes_left = writes;
    }

    /// What is behind it.
    pub const fn inner(&self) -> &D {
        &self.inner
    }
}

impl<D: Dataplane> Dataplane for Faulty<D> {
    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        let Some(left) = self.writes_left.checked_sub(1) else {
            return Err(DataplaneError::Kernel {
                map: op.map().to_owned(),
                action: op.action(),
                source: io::Error::other("the test says so"),
            });
        };
        self.inner.apply(op)?;
        self.writes_left = left;
        Ok(())
    }

    fn read(&self) -> Result<Tables, DataplaneError> {
        self.inner.read()
    }

    fn capacities(&self) -> Capacities {
        self.inner.capacities()
    }
}
