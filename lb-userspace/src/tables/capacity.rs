//! How many elements has each map room for, and what is said when there is none left?

use std::collections::BTreeMap;

use lb_common::addr::Family;
use lb_common::limits;

use super::{FamilyRowKey, Op, PerFamily, RowKey, Tables};

/// Sizes of the maps, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Map `services`.
    pub services: u32,
    /// Map `slots`: indices stay below.
    pub slots: u32,
    /// The maps of IPv4.
    pub v4: FamilyCapacities,
    /// The maps of IPv6.
    pub v6: FamilyCapacities,
}

/// Sizes of the maps that each family has for itself, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyCapacities {
    /// Map `frontends4|6`.
    pub frontends: u32,
    /// Map `frontend_info4|6`: indices stay below.
    pub info: u32,
    /// Map `backends4|6`: ids stay below.
    pub backends: u32,
    /// Map `ranges4|6`.
    pub ranges: u32,
    /// Map `nodes4|6`.
    pub nodes: u32,
}

impl Default for Capacities {
    fn default() -> Self {
        let family = FamilyCapacities {
            frontends: limits::FRONTENDS,
            info: limits::POOLS,
            backends: limits::BACKENDS,
            ranges: limits::RANGES,
            nodes: limits::NODE_ADDRESSES,
        };
        Self {
            services: limits::SERVICE_PORTS,
            slots: limits::SLOTS,
            v4: family,
            v6: family,
        }
    }
}

/// A map has no room for another element.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "map {map} is full ({capacity} elements): raise its size in the configuration file (`maps.{map}`)"
)]
pub struct Full {
    /// Name of the map.
    pub map: String,
    /// Its size.
    pub capacity: u32,
}

impl Full {
    /// The map of this name and size is full.
    #[must_use]
    pub fn new(map: &str, capacity: u32) -> Self {
        Self {
            map: map.to_owned(),
            capacity,
        }
    }
}

impl Capacities {
    /// Whether the tables can take all these writes.
    ///
    /// # Errors
    /// The first map that is too small for them.
    pub fn admit<'o>(
        &self,
        tables: &Tables,
        ops: impl IntoIterator<Item = &'o Op>,
    ) -> Result<(), Full> {
        let mut added: BTreeMap<&str, usize> = BTreeMap::new();
        for op in ops {
            let Op::Update(row) = op else { continue };
            let Some(key) = row.key() else { continue };
            let (capacity, room) = self.room(tables, &key);
            let fits = match room {
                Room::Index(index) => index < capacity,
                Room::Count(_) if tables.contains(&key) => true,
                Room::Count(used) => {
                    let added = added.entry(key.map()).or_default();
                    *added += 1;
                    used + *added <= capacity as usize
                }
            };
            if !fits {
                return Err(Full::new(key.map(), capacity));
            }
        }
        Ok(())
    }

    fn room(&self, tables: &Tables, key: &RowKey) -> (u32, Room) {
        match key {
            RowKey::Service(_) => (self.services, Room::Count(tables.services.len())),
            RowKey::Slot(index) => (self.slots, Room::Index(*index)),
            RowKey::V4(key) => family_room(&self.v4, tables, key),
            RowKey::V6(key) => family_room(&self.v6, tables, key),
        }
    }
}

/// What fills a map: a hash the number of its elements, an array the largest index.
enum Room {
    Count(usize),
    Index(u32),
}

fn family_room<A: PerFamily>(
    capacities: &FamilyCapacities,
    tables: &Tables,
    key: &FamilyRowKey<A>,
) -> (u32, Room) {
    let maps = A::of(tables);
    match key {
        FamilyRowKey::Frontend(_) => (capacities.frontends, Room::Count(maps.frontends.len())),
        FamilyRowKey::Info(index) => (capacities.info, Room::Index(*index)),
        FamilyRowKey::Backend(id) => (capacities.backends, Room::Index(*id)),
        FamilyRowKey::Range(_) => (capacities.ranges, Room::Count(maps.ranges.len())),
        FamilyRowKey::Node(_) => (capacities.nodes, Room::Count(maps.nodes.len())),
    }
}

impl Capacities {
    /// The sizes of one family's maps.
    #[must_use]
    pub fn of<A: Family>(&self) -> &FamilyCapacities {
        if A::BITS == lb_common::Ip4::BITS {
            &self.v4
        } else {
            &self.v6
        }
    }
}
