//! Which numbers do the elements of the tables get? Each keeps its own as long as it lives, over
//! restarts too, and nobody else gets it before the last reader is gone.

use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::layout::Pool;

use super::space::Space;
use crate::tables::{Capacities, FamilyRowKey, Full, PerFamily, RowKey, Tables};

/// Hands out ids, indices and generations. What is handed out can be taken back as long as it is
/// not kept: a plan that does not fit leaves no trace.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    capacities: Capacities,
    service_port: u32,
    generation: u32,
    slots: Space,
    v4: FamilyIds,
    v6: FamilyIds,
    /// Handed out since [`Ids::keep`].
    unkept: Vec<RowKey>,
}

#[derive(Clone, Debug)]
struct FamilyIds {
    info: Space,
    backends: Space,
}

/// 0 is never a valid number: a zeroed element of a map names nothing.
const FIRST: u32 = 1;

impl Ids {
    /// Everything that the tables have is taken. The clock is one that never goes back while the
    /// maps live; see [`Ids::generation`].
    #[must_use]
    pub(super) fn recover(found: &Tables, capacities: Capacities, now_millis: u64) -> Self {
        let seconds = u32::try_from(now_millis / 1_000).unwrap_or(FIRST);
        let space = |capacity| Space::new(FIRST..capacity);
        let family = |info, backends| FamilyIds {
            info: space(info),
            backends: space(backends),
        };
        let mut ids = Self {
            capacities,
            service_port: found.services.keys().next_back().map_or(FIRST, |id| id + 1),
            generation: seconds.max(FIRST),
            slots: space(capacities.slots),
            v4: family(capacities.v4.info, capacities.v4.backends),
            v6: family(capacities.v6.info, capacities.v6.backends),
            unkept: Vec::new(),
        };
        for index in found.slots.keys() {
            ids.slots.claim(*index);
        }
        ids.recover_family::<Ip4>(found);
        ids.recover_family::<Ip6>(found);
        ids
    }

    fn recover_family<A: PerFamily>(&mut self, found: &Tables) {
        let family = A::of(found);
        for (index, info) in &family.info {
            self.family::<A>().info.claim(*index);
            self.service_port = self.service_port.max(info.service_port + 1);
            for Pool { first, count, .. } in [info.inside, info.outside] {
                for slot in first..first.saturating_add(count) {
                    self.slots.claim(slot);
                }
            }
        }
        for (id, backend) in &family.backends {
            self.family::<A>().backends.claim(*id);
            self.service_port = self.service_port.max(backend.service_port + 1);
            self.generation = self.generation.max(backend.generation + 1);
        }
    }

    /// An id for a service port that no other had since the start: flows and affinities name
    /// service ports for longer than the tables do.
    ///
    /// # Errors
    /// All numbers have been used.
    pub(super) fn service_port(&mut self) -> Result<u32, Full> {
        let id = self.service_port;
        let full = || Full::new("services", self.capacities.services);
        self.service_port = id.checked_add(1).ok_or_else(full)?;
        Ok(id)
    }

    /// A number that no backend had before. Backends that are gone at a restart are not counted,
    /// so counting starts at the seconds of the clock, which move on faster than backends come.
    pub(super) const fn generation(&mut self) -> u32 {
        let generation = self.generation;
        self.generation = generation.wrapping_add(1);
        generation
    }

    /// An index for a frontend's information.
    ///
    /// # Errors
    /// All are taken.
    pub(super) fn info<A: PerFamily>(&mut self) -> Result<u32, Full> {
        let index = self.family::<A>().info.take(1);
        let capacity = self.capacities.of::<A>().info;
        let index = index.ok_or_else(|| Full::new(A::MAPS.info, capacity))?;
        self.unkept.push(A::key(FamilyRowKey::Info(index)));
        Ok(index)
    }

    /// An id for a backend.
    ///
    /// # Errors
    /// All are taken.
    pub(super) fn backend<A: PerFamily>(&mut self) -> Result<u32, Full> {
        let id = self.family::<A>().backends.take(1);
        let capacity = self.capacities.of::<A>().backends;
        let id = id.ok_or_else(|| Full::new(A::MAPS.backends, capacity))?;
        self.unkept.push(A::key(FamilyRowKey::Backend(id)));
        Ok(id)
    }

    /// The first of so many consecutive slots.
    ///
    /// # Errors
    /// There are not so many in a row.
    pub(super) fn slots(&mut self, count: u32) -> Result<u32, Full> {
        let first = self.slots.take(count);
        let first = first.ok_or_else(|| Full::new("slots", self.capacities.slots))?;
        self.unkept.extend((first..first + count).map(RowKey::Slot));
        Ok(first)
    }

    /// What was handed out is in use.
    pub(super) fn keep(&mut self) {
        self.unkept.clear();
    }

    /// What was handed out since the last [`Ids::keep`] was not used.
    pub(super) fn take_back(&mut self) {
        for key in std::mem::take(&mut self.unkept) {
            self.free(&key);
        }
    }

    /// The element is gone, and whoever could have read it, too.
    pub(super) fn free(&mut self, key: &RowKey) {
        match key {
            RowKey::Slot(index) => self.slots.free(*index),
            RowKey::V4(key) => self.free_family(key),
            RowKey::V6(key) => self.free_family(key),
            RowKey::Service(_) => {}
        }
    }

    fn free_family<A: PerFamily>(&mut self, key: &FamilyRowKey<A>) {
        match key {
            FamilyRowKey::Info(index) => self.family::<A>().info.free(*index),
            FamilyRowKey::Backend(id) => self.family::<A>().backends.free(*id),
            FamilyRowKey::Frontend(_) | FamilyRowKey::Range(_) | FamilyRowKey::Node(_) => {}
        }
    }

    const fn family<A: Family>(&mut self) -> &mut FamilyIds {
        if A::BITS == Ip4::BITS {
            &mut self.v4
        } else {
            &mut self.v6
        }
    }
}
