//! What do the pinned maps hold, and how are elements of them written? The kernel's side of
//! [`Dataplane`], and what only the kernel has: flows, links, counters.

mod family;
mod sieve;
mod writes;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lb_common::addr::{Ip4, Ip6};
use lb_common::drops::{DropReason, Hook, counter};
use lb_common::layout::{Config, Link, Pool, ServiceName};

use crate::bpf::{Map, PerCpu};
use crate::tables::{Capacities, Full, Op, Row, RowKey, Tables};

use super::{Dataplane, DataplaneError, Halt};
use family::FamilyOp;
use writes::{Write, write};

pub use family::{FamilyMaps, FlowEntry, KernelFamily, ReservationEntry, Usage};

/// The maps under one pin directory. Reading them needs no daemon; several may look at once.
#[derive(Debug)]
pub struct KernelTables {
    config: Map<u32, Config>,
    services: Map<u32, ServiceName>,
    slots: Map<u32, u32>,
    links: Map<u32, Link>,
    drops: PerCpu,
    /// The maps of IPv4.
    pub v4: FamilyMaps<Ip4>,
    /// The maps of IPv6.
    pub v6: FamilyMaps<Ip6>,
}

/// Why the pinned maps could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("map {map}: open {}: {source}{}", path.display(), open_remedy(source))]
pub struct OpenError {
    /// Name of the map.
    pub map: String,
    /// Where it should be pinned.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

fn open_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ": was `lb run` started on this node, with the same --pin-dir?",
        io::ErrorKind::PermissionDenied => ": run as root",
        io::ErrorKind::InvalidData => ": use the version that made it, or `lb uninstall`",
        _ => "",
    }
}

/// Opens one map under a pin directory.
fn open<T>(
    pin_dir: &Path,
    map: &str,
    open: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, OpenError> {
    let path = pin_dir.join(map);
    open(&path).map_err(|source| OpenError {
        map: map.to_owned(),
        path,
        source,
    })
}

impl KernelTables {
    /// Opens the maps that are pinned in the directory.
    ///
    /// # Errors
    /// [`OpenError`] names the map and the remedy.
    pub fn open(pin_dir: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            config: open(pin_dir, "config", Map::open)?,
            services: open(pin_dir, "services", Map::open)?,
            slots: open(pin_dir, "slots", Map::open)?,
            links: open(pin_dir, "links", Map::open)?,
            drops: open(pin_dir, "drops", PerCpu::open)?,
            v4: FamilyMaps::open(pin_dir)?,
            v6: FamilyMaps::open(pin_dir)?,
        })
    }

    /// Map `config`; all zero until a daemon has written it.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn config(&self) -> Result<Config, DataplaneError> {
        let config = self.config.get(&0).map_err(failed("config", "read"))?;
        Ok(config.unwrap_or_default())
    }

    /// What was dropped or refused since the maps were made, for each hook and reason.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn drops(&self) -> Result<Vec<(Hook, DropReason, u64)>, DataplaneError> {
        let mut drops = Vec::new();
        for &hook in Hook::ALL {
            for &reason in DropReason::ALL {
                let sum = self.drops.sum(counter(hook, reason));
                let sum = sum.map_err(failed("drops", "read"))?;
                drops.push((hook, reason, sum.unwrap_or(0)));
            }
        }
        Ok(drops)
    }

    /// Map `services`: names of service ports, by id.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn services(&self) -> Result<BTreeMap<u32, Arc<ServiceName>>, DataplaneError> {
        let services = all(&self.services, "services")?.into_iter();
        Ok(services.map(|(id, name)| (id, name.into())).collect())
    }

    /// Map `links`: what is known of the links that programs are attached to, by interface index.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn links(&self) -> Result<Vec<(u32, Link)>, DataplaneError> {
        let mut links = all(&self.links, "links")?;
        links.sort_by_key(|(ifindex, _)| *ifindex);
        Ok(links)
    }

    /// Writes an element of map `links`, or deletes it.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn set_link(&self, ifindex: u32, link: Option<&Link>) -> Result<(), DataplaneError> {
        match link {
            Some(link) => self.v4.sieve.with_link(link, || {
                (self.v6.sieve).with_link(link, || update(&self.links, "links", &ifindex, link))
            }),
            None => delete(&self.links, "links", &ifindex),
        }
    }

    /// Reads the slots of all pools; a slot outside any pool is unused, whatever it holds.
    fn read_slots(&self, tables: &mut Tables) -> Result<(), DataplaneError> {
        let pools4 = tables.v4.info.values().flat_map(|i| [i.inside, i.outside]);
        let pools6 = tables.v6.info.values().flat_map(|i| [i.inside, i.outside]);
        let used = Used::new(pools4.chain(pools6));
        if used.ranges.is_empty() {
            return Ok(());
        }
        for batch in self.slots.batches() {
            let batch = batch.map_err(failed("slots", "read"))?;
            tables
                .slots
                .extend(batch.into_iter().filter(|(index, _)| used.contains(*index)));
        }
        Ok(())
    }
}

impl Dataplane for KernelTables {
    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        self.apply_all(&[op]).map_err(|halt| halt.error)
    }

    fn apply_all(&mut self, ops: &[&Op]) -> Result<(), Halt> {
        let Some(first) = ops.first() else {
            return Ok(());
        };
        match first {
            Op::Update(Row::Config(_)) => {
                let writes = all_of(ops, |op| match op {
                    Op::Update(Row::Config(config)) => {
                        self.v4.sieve.before_config(config);
                        self.v6.sieve.before_config(config);
                        Some(Write::Update(0, **config))
                    }
                    _ => None,
                });
                write(&self.config, "config", &writes)
            }
            Op::Update(Row::Service(..)) | Op::Delete(RowKey::Service(_)) => {
                let writes = all_of(ops, |op| match op {
                    Op::Update(Row::Service(id, name)) => Some(Write::Update(*id, **name)),
                    Op::Delete(RowKey::Service(id)) => Some(Write::Delete(*id)),
                    _ => None,
                });
                write(&self.services, "services", &writes)
            }
            Op::Update(Row::Slot(..)) | Op::Delete(RowKey::Slot(_)) => {
                let writes = all_of(ops, |op| match op {
                    Op::Update(Row::Slot(index, backend)) => Some(Write::Update(*index, *backend)),
                    Op::Delete(RowKey::Slot(index)) => Some(Write::clear(*index)),
                    _ => None,
                });
                write(&self.slots, "slots", &writes)
            }
            Op::Update(Row::V4(_)) | Op::Delete(RowKey::V4(_)) => {
                let writes = all_of(ops, |op| match op {
                    Op::Update(Row::V4(row)) => Some(FamilyOp::Update(row)),
                    Op::Delete(RowKey::V4(key)) => Some(FamilyOp::Delete(key)),
                    _ => None,
                });
                self.v4.write(&writes)
            }
            Op::Update(Row::V6(_)) | Op::Delete(RowKey::V6(_)) => {
                let writes = all_of(ops, |op| match op {
                    Op::Update(Row::V6(row)) => Some(FamilyOp::Update(row)),
                    Op::Delete(RowKey::V6(key)) => Some(FamilyOp::Delete(key)),
                    _ => None,
                });
                self.v6.write(&writes)
            }
        }
    }

    fn read(&self) -> Result<Tables, DataplaneError> {
        let mut tables = Tables {
            config: self.config()?,
            services: self.services()?,
            slots: [].into(),
            v4: self.v4.read()?,
            v6: self.v6.read()?,
        };
        self.read_slots(&mut tables)?;
        Ok(tables)
    }

    fn capacities(&self) -> Capacities {
        Capacities {
            services: self.services.info().max_entries,
            slots: self.slots.info().max_entries,
            v4: self.v4.capacities(),
            v6: self.v6.capacities(),
        }
    }
}

/// The writes as those of one map, which they all are to.
fn all_of<'o, O, W>(ops: &'o [O], of_map: impl Fn(&'o O) -> Option<W>) -> Vec<W> {
    let write = |op| of_map(op).expect("writes to one map alone");
    ops.iter().map(write).collect()
}

/// The slots that pools cover, as sorted ranges without overlap.
struct Used {
    ranges: Vec<(u32, u32)>,
}

impl Used {
    fn new(pools: impl Iterator<Item = Pool>) -> Self {
        let mut ranges: Vec<(u32, u32)> = pools
            .filter(|pool| pool.count != 0)
            .map(|pool| (pool.first, pool.first.saturating_add(pool.count)))
            .collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            let overlaps = next.0 <= before.1;
            if overlaps {
                before.1 = before.1.max(next.1);
            }
            overlaps
        });
        Self { ranges }
    }

    fn contains(&self, index: u32) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= index);
        after != 0 && index < self.ranges[after - 1].1
    }
}

/// Reads all elements of a hash table.
fn all<K, V>(map: &Map<K, V>, name: &str) -> Result<Vec<(K, V)>, DataplaneError>
where
    K: bytemuck::Pod,
    V: bytemuck::Pod,
{
    let mut elements = Vec::new();
    for batch in map.batches() {
        elements.extend(batch.map_err(failed(name, "read"))?);
    }
    Ok(elements)
}

/// Reads the elements of an array that are not zero, as zero means that there is none.
fn set<V>(map: &Map<u32, V>, name: &str) -> Result<Vec<(u32, V)>, DataplaneError>
where
    V: bytemuck::Pod + PartialEq,
{
    let mut elements = all(map, name)?;
    elements.retain(|(_, value)| *value != V::zeroed());
    Ok(elements)
}

fn update<K, V>(map: &Map<K, V>, name: &str, key: &K, value: &V) -> Result<(), DataplaneError>
where
    K: bytemuck::Pod,
    V: bytemuck::Pod,
{
    map.update(key, value).map_err(not_updated(map, name))
}

/// Writes an element that must not be there yet; whether it was not.
fn insert<K, V>(map: &Map<K, V>, name: &str, key: &K, value: &V) -> Result<bool, DataplaneError>
where
    K: bytemuck::Pod,
    V: bytemuck::Pod,
{
    map.insert(key, value).map_err(not_updated(map, name))
}

/// Turns what the kernel said of a write into our error.
fn not_updated<K, V>(map: &Map<K, V>, name: &str) -> impl Fn(io::Error) -> DataplaneError
where
    K: bytemuck::Pod,
    V: bytemuck::Pod,
{
    move |error| {
        if Map::<K, V>::is_full(&error) {
            Full::new(name, map.info().max_entries).into()
        } else {
            failed(name, "update")(error)
        }
    }
}

fn delete<K, V>(map: &Map<K, V>, name: &str, key: &K) -> Result<(), DataplaneError>
where
    K: bytemuck::Pod,
    V: bytemuck::Pod,
{
    map.delete(key).map_err(failed(name, "delete"))
}

/// Turns what the kernel said about a map into our error.
fn failed(map: &str, action: &'static str) -> impl Fn(io::Error) -> DataplaneError {
    move |source| DataplaneError::Kernel {
        map: map.to_owned(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(first: u32, count: u32) -> Pool {
        Pool {
            first,
            count,
            flags: 0,
        }
    }

    #[test]
    fn slots_are_used_where_a_pool_covers_them() {
        let used = Used::new(
            [
                pool(10, 5),
                pool(12, 6),
                pool(1, 2),
                pool(18, 1),
                pool(7, 0),
            ]
            .into_iter(),
        );
        let indices: Vec<u32> = (0..25).filter(|index| used.contains(*index)).collect();
        assert_eq!(indices, [1, 2, 10, 11, 12, 13, 14, 15, 16, 17, 18]);
    }
}
