//! How does the decision read the tables? The same function runs on them as in the kernel.

use std::collections::BTreeMap;

use lb_common::decide;
use lb_common::layout::{
    Affinity, AffinityKey, Backend, FrontendInfo, FrontendKey, FrontendRef, Prefix, RangeKey,
};

use super::{PerFamily, Tables, truncate};

/// Bits of the service port in a [`RangeKey`].
const SERVICE_PORT_BITS: u32 = u32::BITS;

/// One family's tables, as the decision reads them.
#[derive(Clone, Debug)]
pub struct View<'t, A: PerFamily> {
    tables: &'t Tables,
    affinities: BTreeMap<AffinityKey<A>, Affinity>,
    now: u32,
}

impl<'t, A: PerFamily> View<'t, A> {
    /// The tables, and no client has an affinity.
    #[must_use]
    pub fn new(tables: &'t Tables) -> Self {
        Self {
            tables,
            affinities: BTreeMap::new(),
            now: 0,
        }
    }

    /// The tables with these affinities; `now` is the kernel's jiffies, low 32 bits.
    #[must_use]
    pub fn with_affinities(
        tables: &'t Tables,
        affinities: BTreeMap<AffinityKey<A>, Affinity>,
        now: u32,
    ) -> Self {
        Self {
            tables,
            affinities,
            now,
        }
    }
}

impl<A: PerFamily> decide::Tables<A> for View<'_, A> {
    fn flags(&self) -> u32 {
        self.tables.config.flags
    }

    fn is_pod(&self, address: &A) -> bool {
        contains(A::pods(&self.tables.config), address)
    }

    fn is_node(&self, address: &A) -> bool {
        A::of(self.tables).nodes.contains(address)
    }

    fn is_service(&self, address: &A) -> bool {
        contains(A::services(&self.tables.config), address)
    }

    fn frontend(&self, key: &FrontendKey<A>) -> Option<FrontendRef> {
        A::of(self.tables).frontends.get(key).copied()
    }

    fn info(&self, index: u32) -> Option<&FrontendInfo<A>> {
        A::of(self.tables).info.get(&index)
    }

    fn slot(&self, index: u32) -> Option<u32> {
        self.tables.slots.get(&index).copied()
    }

    fn backend(&self, id: u32) -> Option<&Backend<A>> {
        A::of(self.tables).backends.get(&id)
    }

    fn admits(&self, service_port: u32, source: &A) -> bool {
        let ranges = &A::of(self.tables).ranges;
        (0..=A::BITS).any(|bits| {
            ranges.contains(&RangeKey {
                prefix_length: SERVICE_PORT_BITS + bits,
                service_port,
                network: truncate(*source, bits),
            })
        })
    }

    fn affinity(&self, key: &AffinityKey<A>, seconds: u32) -> Option<Affinity> {
        let affinity = self.affinities.get(key).copied()?;
        affinity
            .holds(self.now, seconds, self.tables.config.hz)
            .then_some(affinity)
    }
}

fn contains<A: PerFamily>(prefixes: &[Prefix<A>], address: &A) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(address))
}

#[cfg(test)]
mod tests {
    use lb_common::Ip4;
    use lb_common::decide::Tables as _;

    use super::*;

    #[test]
    fn ranges_admit_by_prefix_and_service_port() {
        let mut tables = Tables::default();
        tables.v4.ranges.insert(RangeKey {
            prefix_length: 32 + 8,
            service_port: 3,
            network: Ip4::new(203, 0, 0, 0),
        });
        let view = View::<Ip4>::new(&tables);
        assert!(view.admits(3, &Ip4::new(203, 0, 113, 7)));
        assert!(!view.admits(3, &Ip4::new(204, 0, 113, 7)));
        assert!(!view.admits(4, &Ip4::new(203, 0, 113, 7)));
    }

    #[test]
    fn an_affinity_ends_with_its_seconds() {
        let mut tables = Tables::default();
        tables.config.hz = 250;
        let key = AffinityKey {
            client: Ip4::new(10, 42, 0, 9),
            service_port: 1,
        };
        let affinity = Affinity {
            last_used: 1_000,
            ..Affinity::default()
        };
        let at = |now| View::with_affinities(&tables, [(key, affinity)].into(), now);
        assert!(at(999 + 10 * 250).affinity(&key, 10).is_some());
        assert!(at(1_000 + 10 * 250).affinity(&key, 10).is_none());
    }
}
