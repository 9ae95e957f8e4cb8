//! Which frontends and backends belong to which Service? Both families side by side, with the names
//! that people know them by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::layout::{
    Backend, FRONTEND_ADDRESS, FrontendInfo, Pool, RangeKey, ServiceName, text_bytes,
};

use crate::model::{ObjectName, Protocol};
use crate::state::{ServiceDetails, State, Target};
use crate::tables::{FamilyTables, PerFamily, Tables};

/// Tables and state, joined.
#[derive(Debug, Default)]
pub struct Index<'a> {
    /// Names of the service ports, by id.
    pub(super) ports: BTreeMap<u32, PortName>,
    /// All frontends; IPv4 first.
    pub(super) frontends: Vec<Frontend>,
    /// All backends; IPv4 first.
    pub(super) backends: Vec<BackendEntry>,
    /// Source ranges, by service port.
    pub(super) ranges: BTreeMap<u32, Vec<IpNet>>,
    /// What the daemon wrote, if it did.
    pub(super) state: Option<&'a State>,
    targets: BTreeMap<(&'a ObjectName, IpAddr), &'a Target>,
    details: BTreeMap<&'a ObjectName, &'a ServiceDetails>,
}

/// Names of a service port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PortName {
    pub(super) service: ObjectName,
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

/// A frontend of either family.
#[derive(Debug)]
pub(super) struct Frontend {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) service_port: u32,
    /// `FRONTEND_*` bits.
    pub(super) flags: u32,
    pub(super) affinity_seconds: u32,
    pub(super) inside: Choice,
    pub(super) outside: Choice,
}

/// What a pool holds.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) slots: u32,
    /// `POOL_*` bits.
    pub(super) flags: u32,
    /// The backends that its slots name, each once.
    pub(super) backends: BTreeSet<(IpAddr, u16)>,
}

/// A backend of either family.
#[derive(Debug)]
pub(super) struct BackendEntry {
    pub(super) id: u32,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    /// `BACKEND_*` bits.
    pub(super) flags: u8,
    pub(super) service_port: u32,
    pub(super) generation: u32,
    /// Whether a frontend may choose it.
    pub(super) is_chosen: bool,
}

impl<'a> Index<'a> {
    /// Joins the tables with the state.
    #[must_use]
    pub fn new(tables: &Tables, state: Option<&'a State>) -> Self {
        let mut index = Self {
            ports: tables
                .services
                .iter()
                .map(|(id, name)| (*id, port_name(name)))
                .collect(),
            state,
            ..Self::default()
        };
        index.add_family(tables, &tables.v4);
        index.add_family(tables, &tables.v6);
        if let Some(state) = state {
            index.targets = state
                .targets
                .iter()
                .map(|target| ((&target.service, target.address), target))
                .collect();
            index.details = state
                .services
                .iter()
                .map(|details| (&details.service, details))
                .collect();
        }
        index
    }

    fn add_family<A: PerFamily>(&mut self, tables: &Tables, family: &FamilyTables<A>) {
        let infos: Vec<_> = family
            .frontends
            .values()
            .filter_map(|reference| family.info.get(&reference.info))
            .filter(|info| info.flags & FRONTEND_ADDRESS == 0)
            .collect();
        let pools = infos.iter().flat_map(|info| [info.inside, info.outside]);
        let chosen: BTreeSet<u32> = pools.flat_map(|pool| slots(tables, pool)).collect();
        let entries = family.backends.iter();
        self.frontends
            .extend(infos.iter().map(|info| frontend(tables, info)));
        self.backends
            .extend(entries.map(|(id, entry)| backend(*id, entry, chosen.contains(id))));
        for range in &family.ranges {
            self.ranges
                .entry(range.service_port)
                .or_default()
                .extend(network(range));
        }
    }

    /// Names of a service port; numbers where the maps hold no name for it.
    pub(super) fn port(&self, id: u32) -> PortName {
        self.ports.get(&id).cloned().unwrap_or_else(|| PortName {
            service: ObjectName::new("", format!("#{id}")),
            ..PortName::default()
        })
    }

    /// What stands behind an endpoint's address, if the daemon knew it.
    pub(super) fn target(&self, service: &ObjectName, address: IpAddr) -> Option<&'a Target> {
        self.targets.get(&(service, address)).copied()
    }

    /// The Service as it was written, if the daemon knew it.
    pub(super) fn details(&self, service: &ObjectName) -> Option<&'a ServiceDetails> {
        self.details.get(service).copied()
    }
}

fn frontend<A: PerFamily>(tables: &Tables, info: &FrontendInfo<A>) -> Frontend {
    Frontend {
        address: info.key.address.to_ip(),
        port: info.key.port,
        protocol: protocol(info.key.protocol),
        service_port: info.service_port,
        flags: info.flags,
        affinity_seconds: info.affinity_seconds,
        inside: choice::<A>(tables, info.inside),
        outside: choice::<A>(tables, info.outside),
    }
}

/// Ids of the backends in a pool's slots.
fn slots(tables: &Tables, pool: Pool) -> impl Iterator<Item = u32> {
    let slots = pool.first..pool.first.saturating_add(pool.count);
    tables.slots.range(slots).map(|(_, id)| *id)
}

fn choice<A: PerFamily>(tables: &Tables, pool: Pool) -> Choice {
    let backends = slots(tables, pool).filter_map(|id| A::of(tables).backends.get(&id));
    Choice {
        slots: pool.count,
        flags: pool.flags,
        backends: backends
            .map(|backend| (backend.address.to_ip(), backend.port))
            .collect(),
    }
}

fn backend<A: PerFamily>(id: u32, entry: &Backend<A>, is_chosen: bool) -> BackendEntry {
    BackendEntry {
        id,
        address: entry.address.to_ip(),
        port: entry.port,
        protocol: protocol(entry.protocol),
        flags: entry.flags,
        service_port: entry.service_port,
        generation: entry.generation,
        is_chosen,
    }
}

fn network<A: PerFamily>(range: &RangeKey<A>) -> Option<IpNet> {
    let bits = range.prefix_length.checked_sub(u32::BITS)?;
    IpNet::new(range.network.to_ip(), u8::try_from(bits).ok()?).ok()
}

fn port_name(name: &ServiceName) -> PortName {
    PortName {
        service: ObjectName::new(text(&name.namespace), text(&name.name)),
        name: text(&name.port_name),
        port: name.port,
        protocol: protocol(name.protocol),
    }
}

fn text(from: &[i8; lb_common::limits::TEXT]) -> String {
    let bytes: Vec<u8> = text_bytes(from).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The protocol of this number; the maps hold no others than those of Services.
pub(super) fn protocol(number: u8) -> Protocol {
    Protocol::from_number(number).unwrap_or_default()
}
