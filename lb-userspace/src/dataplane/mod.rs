//! Who holds the tables? The interface behind which the kernel's maps, memory and a faulty memory
//! are the same thing.

mod faulty;
pub mod kernel;
mod memory;

use crate::tables::{Capacities, Full, Op, Tables};

pub use faulty::Faulty;
pub use memory::Memory;

/// Holder of the tables that programs read.
pub trait Dataplane {
    /// Carries out one write.
    ///
    /// # Errors
    /// See [`DataplaneError`]; the element is then as it was before.
    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError>;

    /// Carries out writes to one map in their order.
    ///
    /// # Errors
    /// One failed, and none that come after it are done.
    fn apply_all(&mut self, ops: &[&Op]) -> Result<(), Halt> {
        for (done, op) in ops.iter().enumerate() {
            self.apply(op).map_err(|error| Halt { done, error })?;
        }
        Ok(())
    }

    /// Reads everything back.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    fn read(&self) -> Result<Tables, DataplaneError>;

    /// How much of everything it has room for.
    fn capacities(&self) -> Capacities {
        Capacities::default()
    }
}

/// Writes stopped at one that failed.
#[derive(Debug)]
pub struct Halt {
    /// How many were done before it.
    pub done: usize,
    /// Why it failed.
    pub error: DataplaneError,
}

/// Why a map could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The map has no room for another element.
    #[error(transparent)]
    Full(#[from] Full),
    /// The kernel refused for another reason.
    #[error("map {map}: {action}: {source}")]
    Kernel {
        /// Name of the map.
        map: String,
        /// What was tried, as a verb: `update`, `delete`, `read`.
        action: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}
