//! What exactly do the BPF maps hold? As sorted plain values: one noun from YAML to kernel.
//!
//! `plan` returns [`Tables`], the kernel is read into them, `diff` compares them, golden tests and
//! `lb get` print them, datapath tests load them.

mod capacity;
mod delta;
mod diff;
mod digest;
mod family;
mod packed;
mod row;
pub mod sieve;
mod split;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::layout::{
    Backend, Config, FRONTEND_SOURCE_RANGES, FrontendInfo, FrontendKey, FrontendRef, RangeKey,
    ServiceName,
};

pub use capacity::{Capacities, FamilyCapacities, Full};
pub use delta::{Batch, Owner, Part, TableDelta};
pub use diff::{diff, diff_owner};
pub use digest::Digest;
pub use family::{FamilyMaps, PerFamily, is_of, prefix, truncate};
pub use packed::Packed;
pub use split::{service_of, split};
pub use view::View;

/// The content of the maps that userspace writes. Flows, reservations, affinity and links are not
/// part of it: programs and the loader write those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Map `config`.
    pub config: Config,
    /// Map `services`: names by id of the service port. Long ones, which are kept once.
    pub services: BTreeMap<u32, Arc<ServiceName>>,
    /// Map `slots`: backend ids by index; an index that is missing is unused.
    pub slots: BTreeMap<u32, u32>,
    /// The maps of IPv4.
    pub v4: FamilyTables<Ip4>,
    /// The maps of IPv6.
    pub v6: FamilyTables<Ip6>,
}

/// The maps that each address family has for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyTables<A: Family> {
    /// Map `frontends4|6`.
    pub frontends: BTreeMap<FrontendKey<A>, FrontendRef>,
    /// Map `frontend_info4|6`, by index.
    pub info: BTreeMap<u32, FrontendInfo<A>>,
    /// Map `backends4|6`, by id.
    pub backends: BTreeMap<u32, Backend<A>>,
    /// Map `ranges4|6`.
    pub ranges: BTreeSet<RangeKey<A>>,
    /// Map `nodes4|6`: the addresses of this node.
    pub nodes: BTreeSet<A>,
}

impl<A: Family> FamilyTables<A> {
    /// Whether a frontend of the service port looks up source ranges.
    #[must_use]
    pub fn restricts(&self, service_port: u32) -> bool {
        let mut infos = self.info.values();
        infos.any(|info| {
            info.service_port == service_port && info.flags & FRONTEND_SOURCE_RANGES != 0
        })
    }
}

/// One element of one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Map `config`.
    Config(Box<Config>),
    /// Map `services`.
    Service(u32, Arc<ServiceName>),
    /// Map `slots`.
    Slot(u32, u32),
    /// A map of IPv4.
    V4(FamilyRow<Ip4>),
    /// A map of IPv6.
    V6(FamilyRow<Ip6>),
}

/// One element of one of a family's maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FamilyRow<A: Family> {
    /// Map `frontends4|6`.
    Frontend(FrontendKey<A>, FrontendRef),
    /// Map `frontend_info4|6`.
    Info(u32, FrontendInfo<A>),
    /// Map `backends4|6`.
    Backend(u32, Backend<A>),
    /// Map `ranges4|6`.
    Range(RangeKey<A>),
    /// Map `nodes4|6`.
    Node(A),
}

/// Names one element of one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// Map `services`.
    Service(u32),
    /// Map `slots`.
    Slot(u32),
    /// A map of IPv4.
    V4(FamilyRowKey<Ip4>),
    /// A map of IPv6.
    V6(FamilyRowKey<Ip6>),
}

/// Names one element of one of a family's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FamilyRowKey<A: Family> {
    /// Map `frontends4|6`.
    Frontend(FrontendKey<A>),
    /// Map `frontend_info4|6`.
    Info(u32),
    /// Map `backends4|6`.
    Backend(u32),
    /// Map `ranges4|6`.
    Range(RangeKey<A>),
    /// Map `nodes4|6`.
    Node(A),
}

/// One write; both kinds are idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The element is there with this value, whether it was or not.
    Update(Row),
    /// The element is not there; absent is fine. Array elements become zero.
    Delete(RowKey),
}
