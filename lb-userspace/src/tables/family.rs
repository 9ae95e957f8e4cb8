//! Which part of the tables belongs to an address family? So that nothing is written twice.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::layout::{Config, Link, Prefix};
use lb_common::limits::PREFIXES;

use super::{FamilyRow, FamilyRowKey, FamilyTables, Row, RowKey, Tables};

/// A family whose maps can be picked from [`Tables`].
pub trait PerFamily: Family {
    /// Name of map `sieve4|6`, which is no part of the tables but follows from them.
    const SIEVE: &str;

    /// Names of the family's maps.
    const MAPS: FamilyMaps;

    /// The family's maps.
    fn of(tables: &Tables) -> &FamilyTables<Self>;

    /// The family's maps, to be changed.
    fn of_mut(tables: &mut Tables) -> &mut FamilyTables<Self>;

    /// The element as one of any map.
    fn row(row: FamilyRow<Self>) -> Row;

    /// The name as that of an element of any map.
    fn key(key: FamilyRowKey<Self>) -> RowKey;

    /// The prefixes of pods.
    fn pods(config: &Config) -> &[Prefix<Self>; PREFIXES];

    /// The prefixes of ClusterIPs.
    fn services(config: &Config) -> &[Prefix<Self>; PREFIXES];

    /// This node's address for SNAT.
    fn node(config: &Config) -> Self;

    /// A link's address for SNAT; zero if it has none.
    fn of_link(link: &Link) -> Self;
}

/// Names of the maps that each family has for itself.
#[derive(Clone, Copy, Debug)]
pub struct FamilyMaps {
    /// Map `frontends4|6`.
    pub frontends: &'static str,
    /// Map `frontend_info4|6`.
    pub info: &'static str,
    /// Map `backends4|6`.
    pub backends: &'static str,
    /// Map `ranges4|6`.
    pub ranges: &'static str,
    /// Map `nodes4|6`.
    pub nodes: &'static str,
}

/// The network as the maps hold it; none if it is of the other family.
#[must_use]
pub fn prefix<A: Family>(network: IpNet) -> Option<Prefix<A>> {
    Some(Prefix {
        network: A::from_ip(network.network())?,
        mask: A::from_ip(network.netmask())?,
        used: 1,
    })
}

/// The network of so many leading bits that the address is in.
#[must_use]
pub fn truncate<A: Family>(address: A, bits: u32) -> A {
    let network = u8::try_from(bits)
        .ok()
        .and_then(|bits| IpNet::new(address.to_ip(), bits).ok())
        .map(|network| network.network());
    network.and_then(A::from_ip).unwrap_or(address)
}

/// Whether the address is of this family.
#[must_use]
pub fn is_of<A: Family>(address: IpAddr) -> bool {
    A::from_ip(address).is_some()
}

macro_rules! per_family {
    ($address:ident, $tables:ident, $row:ident, $pods:ident, $services:ident, $node:ident, $link:ident, $digit:literal) => {
        impl PerFamily for $address {
            const SIEVE: &str = concat!("sieve", $digit);

            const MAPS: FamilyMaps = FamilyMaps {
                frontends: concat!("frontends", $digit),
                info: concat!("frontend_info", $digit),
                backends: concat!("backends", $digit),
                ranges: concat!("ranges", $digit),
                nodes: concat!("nodes", $digit),
            };

            fn of(tables: &Tables) -> &FamilyTables<Self> {
                &tables.$tables
            }

            fn of_mut(tables: &mut Tables) -> &mut FamilyTables<Self> {
                &mut tables.$tables
            }

            fn row(row: FamilyRow<Self>) -> Row {
                Row::$row(row)
            }

            fn key(key: FamilyRowKey<Self>) -> RowKey {
                RowKey::$row(key)
            }

            fn pods(config: &Config) -> &[Prefix<Self>; PREFIXES] {
                &config.$pods
            }

            fn services(config: &Config) -> &[Prefix<Self>; PREFIXES] {
                &config.$services
            }

            fn node(config: &Config) -> Self {
                config.$node
            }

            fn of_link(link: &Link) -> Self {
                link.$link
            }
        }
    };
}
per_family!(Ip4, v4, V4, pods4, services4, node4, address4, "4");
per_family!(Ip6, v6, V6, pods6, services6, node6, address6, "6");
