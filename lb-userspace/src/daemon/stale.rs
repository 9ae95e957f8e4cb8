//! Which backends stopped serving, so that flows toward them must not wait for a time-out?

use std::collections::BTreeSet;

use lb_common::addr::{Ip4, Ip6};
use lb_common::layout::{BACKEND_IN_CLUSTER, BACKEND_IN_LOCAL};

use super::sweep::end_stale;
use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::{KernelFamily, KernelTables};
use crate::tables::{FamilyTables, Tables};

/// Remembers who served.
#[derive(Debug, Default)]
pub(super) struct Stale {
    v4: Family<Ip4>,
    v6: Family<Ip6>,
}

impl Stale {
    /// Ends the flows of backends that served before and do not now; the new state must be in the
    /// maps already.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub(super) fn end(
        &mut self,
        tables: &Tables,
        kernel: &KernelTables,
    ) -> Result<(), DataplaneError> {
        self.v4.end(&tables.v4, kernel)?;
        self.v6.end(&tables.v6, kernel)
    }
}

/// Who served, as service port, address and port.
type Serving<A> = BTreeSet<(u32, A, u16)>;

#[derive(Debug)]
struct Family<A> {
    served: Serving<A>,
}

impl<A> Default for Family<A> {
    fn default() -> Self {
        Self {
            served: BTreeSet::new(),
        }
    }
}

impl<A: KernelFamily> Family<A> {
    fn end(
        &mut self,
        tables: &FamilyTables<A>,
        kernel: &KernelTables,
    ) -> Result<(), DataplaneError> {
        let serves = serving(tables);
        let stopped: Serving<A> = self.served.difference(&serves).copied().collect();
        if !stopped.is_empty() {
            end_stale::<A>(kernel, |service_port, address, port| {
                stopped.contains(&(service_port, address, port))
            })?;
        }
        self.served = serves;
        Ok(())
    }
}

fn serving<A: KernelFamily>(tables: &FamilyTables<A>) -> Serving<A> {
    tables
        .backends
        .values()
        .filter(|backend| backend.flags & (BACKEND_IN_CLUSTER | BACKEND_IN_LOCAL) != 0)
        .map(|backend| (backend.service_port, backend.address, backend.port))
        .collect()
}
