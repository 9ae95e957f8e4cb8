//! The maps that each address family has for itself: how are they opened, read and written?

use std::path::Path;

use lb_common::addr::{Ip4, Ip6};
use lb_common::connected;
use lb_common::layout::{
    Affinity, AffinityKey, Backend, Connected, Flow, FlowKey, FrontendInfo, FrontendKey,
    FrontendRef, Link, RangeKey, Reservation, Sieve, SocketFlow, SocketKey,
};

use super::sieve::KernelSieve;
use super::writes::{Write, write};
use super::{OpenError, all, all_of, delete, failed, insert, open, set, update};
use crate::bpf::{Cursor, Map};
use crate::dataplane::{DataplaneError, Halt};
use crate::tables::{FamilyCapacities, FamilyRow, FamilyRowKey, FamilyTables, PerFamily, Tables};

/// A family whose maps can be picked from [`super::KernelTables`].
pub trait KernelFamily: PerFamily {
    /// Name of map `flows4|6`.
    const FLOWS: &str;
    /// Name of map `snat4|6`.
    const SNAT: &str;
    /// Name of map `affinity4|6`.
    const AFFINITY: &str;
    /// Name of map `connected4|6`.
    const CONNECTED: &str;
    /// Name of map `sockets4|6`.
    const SOCKETS: &str;

    /// The family's maps.
    fn maps(tables: &super::KernelTables) -> &FamilyMaps<Self>;
}

impl KernelFamily for Ip4 {
    const FLOWS: &str = "flows4";
    const SNAT: &str = "snat4";
    const AFFINITY: &str = "affinity4";
    const CONNECTED: &str = "connected4";
    const SOCKETS: &str = "sockets4";

    fn maps(tables: &super::KernelTables) -> &FamilyMaps<Self> {
        &tables.v4
    }
}

impl KernelFamily for Ip6 {
    const FLOWS: &str = "flows6";
    const SNAT: &str = "snat6";
    const AFFINITY: &str = "affinity6";
    const CONNECTED: &str = "connected6";
    const SOCKETS: &str = "sockets6";

    fn maps(tables: &super::KernelTables) -> &FamilyMaps<Self> {
        &tables.v6
    }
}

/// One direction of a flow.
pub type FlowEntry<A> = (FlowKey<A>, Flow<A>);

/// A port that is taken, by the key of the replies to it.
pub type ReservationEntry<A> = (FlowKey<A>, Reservation<A>);

/// How full a map is that the programs write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Name of the map.
    pub map: &'static str,
    /// Elements that it has.
    pub elements: u64,
    /// Elements that it has room for.
    pub room: u64,
}

/// A write to one of a family's maps.
#[derive(Clone, Copy, Debug)]
pub(super) enum FamilyOp<'o, A: PerFamily> {
    /// The element is there with this value.
    Update(&'o FamilyRow<A>),
    /// It is not there.
    Delete(&'o FamilyRowKey<A>),
}

/// The maps of one address family.
#[derive(Debug)]
pub struct FamilyMaps<A> {
    pub(super) sieve: KernelSieve<A>,
    frontends: Map<FrontendKey<A>, FrontendRef>,
    info: Map<u32, FrontendInfo<A>>,
    backends: Map<u32, Backend<A>>,
    ranges: Map<RangeKey<A>, u32>,
    nodes: Map<A, u32>,
    flows: Map<FlowKey<A>, Flow<A>>,
    snat: Map<FlowKey<A>, Reservation<A>>,
    affinity: Map<AffinityKey<A>, Affinity>,
    connected: Map<u32, Connected<A>>,
    sockets: Map<SocketKey<A>, SocketFlow<A>>,
}

impl<A: KernelFamily> FamilyMaps<A> {
    pub(super) fn open(pin_dir: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            sieve: KernelSieve::open(pin_dir)?,
            frontends: open(pin_dir, A::MAPS.frontends, Map::open)?,
            info: open(pin_dir, A::MAPS.info, Map::open)?,
            backends: open(pin_dir, A::MAPS.backends, Map::open)?,
            ranges: open(pin_dir, A::MAPS.ranges, Map::open)?,
            nodes: open(pin_dir, A::MAPS.nodes, Map::open)?,
            flows: open(pin_dir, A::FLOWS, Map::open)?,
            snat: open(pin_dir, A::SNAT, Map::open)?,
            affinity: open(pin_dir, A::AFFINITY, Map::open)?,
            connected: open(pin_dir, A::CONNECTED, Map::open)?,
            sockets: open(pin_dir, A::SOCKETS, Map::open)?,
        })
    }

    pub(super) fn capacities(&self) -> FamilyCapacities {
        FamilyCapacities {
            frontends: self.frontends.info().max_entries,
            info: self.info.info().max_entries,
            backends: self.backends.info().max_entries,
            ranges: self.ranges.info().max_entries,
            nodes: self.nodes.info().max_entries,
        }
    }

    pub(super) fn read(&self) -> Result<FamilyTables<A>, DataplaneError> {
        let names = &A::MAPS;
        let ranges = self.ranges.keys().map_err(failed(names.ranges, "read"))?;
        let nodes = all(&self.nodes, names.nodes)?;
        Ok(FamilyTables {
            frontends: all(&self.frontends, names.frontends)?.into_iter().collect(),
            info: set(&self.info, names.info)?.into_iter().collect(),
            backends: set(&self.backends, names.backends)?.into_iter().collect(),
            ranges: ranges.into_iter().collect(),
            nodes: nodes.into_iter().map(|(address, _)| address).collect(),
        })
    }

    /// Writes to one of the maps, in their order.
    pub(super) fn write(&self, ops: &[FamilyOp<'_, A>]) -> Result<(), Halt> {
        use FamilyOp::{Delete, Update};
        let names = &A::MAPS;
        let Some(first) = ops.first() else {
            return Ok(());
        };
        self.sieve.before_rows(ops.iter().filter_map(|op| match op {
            Update(row) => Some(*row),
            Delete(_) => None,
        }));
        match first {
            Update(FamilyRow::Frontend(..)) | Delete(FamilyRowKey::Frontend(_)) => {
                let writes = all_of(ops, |op| match op {
                    Update(FamilyRow::Frontend(key, value)) => Some(Write::Update(*key, *value)),
                    Delete(FamilyRowKey::Frontend(key)) => Some(Write::Delete(*key)),
                    _ => None,
                });
                write(&self.frontends, names.frontends, &writes)
            }
            Update(FamilyRow::Info(..)) | Delete(FamilyRowKey::Info(_)) => {
                let writes = all_of(ops, |op| match op {
                    Update(FamilyRow::Info(index, value)) => Some(Write::Update(*index, *value)),
                    Delete(FamilyRowKey::Info(index)) => Some(Write::clear(*index)),
                    _ => None,
                });
                write(&self.info, names.info, &writes)
            }
            Update(FamilyRow::Backend(..)) | Delete(FamilyRowKey::Backend(_)) => {
                let writes = all_of(ops, |op| match op {
                    Update(FamilyRow::Backend(id, value)) => Some(Write::Update(*id, *value)),
                    Delete(FamilyRowKey::Backend(id)) => Some(Write::clear(*id)),
                    _ => None,
                });
                write(&self.backends, names.backends, &writes)
            }
            Update(FamilyRow::Range(_)) | Delete(FamilyRowKey::Range(_)) => {
                let writes = all_of(ops, |op| match op {
                    Update(FamilyRow::Range(key)) => Some(Write::Update(*key, 1)),
                    Delete(FamilyRowKey::Range(key)) => Some(Write::Delete(*key)),
                    _ => None,
                });
                write(&self.ranges, names.ranges, &writes)
            }
            Update(FamilyRow::Node(_)) | Delete(FamilyRowKey::Node(_)) => {
                let writes = all_of(ops, |op| match op {
                    Update(FamilyRow::Node(address)) => Some(Write::Update(*address, 1)),
                    Delete(FamilyRowKey::Node(address)) => Some(Write::Delete(*address)),
                    _ => None,
                });
                write(&self.nodes, names.nodes, &writes)
            }
        }
    }

    /// At most so many entries of map `flows4|6`, in no order; each flow has two.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn flows(&self, limit: usize) -> Result<Vec<FlowEntry<A>>, DataplaneError> {
        let mut flows = Vec::new();
        for batch in self.flows.batches() {
            flows.extend(batch.map_err(failed(A::FLOWS, "read"))?);
            if flows.len() >= limit {
                flows.truncate(limit);
                break;
            }
        }
        Ok(flows)
    }

    /// About `count` entries of map `flows4|6` from the cursor on, which moves behind them.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn flows_from(
        &self,
        cursor: &mut Cursor,
        count: usize,
    ) -> Result<Vec<FlowEntry<A>>, DataplaneError> {
        self.flows
            .batch(cursor, count)
            .map_err(failed(A::FLOWS, "read"))
    }

    /// The entry of packets that arrive so.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn flow(&self, key: &FlowKey<A>) -> Result<Option<Flow<A>>, DataplaneError> {
        self.flows.get(key).map_err(failed(A::FLOWS, "read"))
    }

    /// Writes the entry of packets that arrive so.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn set_flow(&self, key: &FlowKey<A>, flow: &Flow<A>) -> Result<(), DataplaneError> {
        self.sieve
            .with_flow(key, flow, || update(&self.flows, A::FLOWS, key, flow))
    }

    /// Map `sieve4|6`: which packets may concern us.
    #[must_use]
    pub fn sieve(&self) -> Box<Sieve<A>> {
        self.sieve.read()
    }

    /// Whether packets pass that no mark of the sieve is for.
    #[must_use]
    pub fn is_sieve_in_force(&self) -> bool {
        self.sieve.is_in_force()
    }

    /// A walk over all flows begins, which shall find out what of the sieve is needed: besides by
    /// flows, by these tables and links.
    pub fn begin_walk(&self, tables: &Tables, links: &[(u32, Link)]) {
        let links = links.iter().map(|(_, link)| *link);
        self.sieve.begin(tables, &links.collect::<Vec<_>>());
    }

    /// The walk has come by these flows.
    pub fn walked_by(&self, flows: &[FlowEntry<A>]) {
        self.sieve.saw(flows);
    }

    /// The walk has come by all flows, by the last ones at least a second ago.
    pub fn end_walk(&self) {
        self.sieve.end();
    }

    /// The walk goes no further.
    pub fn give_walk_up(&self) {
        self.sieve.give_up();
    }

    /// Deletes the entry of packets that arrive so.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn delete_flow(&self, key: &FlowKey<A>) -> Result<(), DataplaneError> {
        delete(&self.flows, A::FLOWS, key)
    }

    /// About `count` elements of map `snat4|6` from the cursor on, which moves behind them.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn reservations_from(
        &self,
        cursor: &mut Cursor,
        count: usize,
    ) -> Result<Vec<ReservationEntry<A>>, DataplaneError> {
        self.snat
            .batch(cursor, count)
            .map_err(failed(A::SNAT, "read"))
    }

    /// Takes the port that replies with this key go to; false if somebody else has it.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn reserve(
        &self,
        key: &FlowKey<A>,
        holder: &Reservation<A>,
    ) -> Result<bool, DataplaneError> {
        if insert(&self.snat, A::SNAT, key, holder)? {
            return Ok(true);
        }
        let held = self.snat.get(key).map_err(failed(A::SNAT, "read"))?;
        Ok(held.as_ref() == Some(holder))
    }

    /// Gives back the port that replies with this key go to.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn delete_reservation(&self, key: &FlowKey<A>) -> Result<(), DataplaneError> {
        delete(&self.snat, A::SNAT, key)
    }

    /// Id of the service port that the socket with this cookie dialled which talks to this backend (port in
    /// host order); none if it dialled the backend itself.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn dialled(
        &self,
        cookie: u64,
        backend: A,
        port: u16,
    ) -> Result<Option<u32>, DataplaneError> {
        let connected = self.connected.get(&connected::index(cookie));
        let connected = connected.map_err(failed(A::CONNECTED, "read"))?;
        let dialled = connected.as_ref();
        if let Some(dialled) = dialled.and_then(|sets| sets.get(cookie, &backend, port)) {
            return Ok(Some(dialled.service_port));
        }
        // Before there was that map, connections were noted here, too.
        let named = self.sockets.get(&SocketKey::new(cookie, backend, port));
        let named = named.map_err(failed(A::SOCKETS, "read"))?;
        Ok(named.map(|named| named.service_port))
    }

    /// How full `flows4|6`, `snat4|6` and `affinity4|6` are. The kernel keeps no count of them: all
    /// elements are walked, and `look` sees the flows.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn usage(&self, look: impl FnMut(&FlowEntry<A>)) -> Result<[Usage; 3], DataplaneError> {
        Ok([
            usage(&self.flows, A::FLOWS, look)?,
            usage(&self.snat, A::SNAT, |_| ())?,
            usage(&self.affinity, A::AFFINITY, |_| ())?,
        ])
    }

    /// All of map `affinity4|6`.
    ///
    /// # Errors
    /// See [`DataplaneError`].
    pub fn affinities(&self) -> Result<Vec<(AffinityKey<A>, Affinity)>, DataplaneError> {
        all(&self.affinity, A::AFFINITY)
    }
}

fn usage<K, V>(
    map: &Map<K, V>,
    name: &'static str,
    mut look: impl FnMut(&(K, V)),
) -> Result<Usage, DataplaneError>
where
    K: bytemuck::Pod,
    V: bytemuck::Pod,
{
    let mut elements = 0;
    for batch in map.batches() {
        let batch = batch.map_err(failed(name, "read"))?;
        elements += batch.len() as u64;
        batch.iter().for_each(&mut look);
    }
    Ok(Usage {
        map: name,
        elements,
        room: map.info().max_entries.into(),
    })
}
