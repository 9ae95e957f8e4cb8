//! Which free address or port does a Service get?
//!
//! The search starts at a hash of namespace and name and takes the next free one, so that a Service
//! usually gets the same again even where nobody remembers; what was given stays given until the
//! Service goes or another one asks for it by name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::claims::Claims;
use crate::input::allocations::{Allocation, Allocations};
use crate::input::declared::Family;
use crate::model::ObjectName;

/// What there is to give.
#[derive(Clone, Debug)]
pub(super) struct Ranges {
    /// Prefixes of ClusterIPs; the first family is the cluster's first.
    pub(super) prefixes: Vec<IpNet>,
    /// Node ports.
    pub(super) node_ports: RangeInclusive<u16>,
}

/// What a Service needs that it did not ask for by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// A ClusterIP of each of these families.
    pub(super) families: Vec<Family>,
    /// A node port for each of these ports.
    pub(super) ports: BTreeSet<u16>,
    /// A port for its health check.
    pub(super) health_check: bool,
}

/// Everything given.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    given: Allocations,
    addresses: BTreeMap<IpAddr, ObjectName>,
    ports: BTreeMap<u16, ObjectName>,
}

impl Ledger {
    /// Takes over what was given before a restart.
    pub(super) fn new(given: Allocations) -> Self {
        let mut ledger = Self::default();
        for (name, allocation) in given.by_service {
            ledger.enter(&name, allocation);
        }
        ledger
    }

    /// What is given now.
    pub(super) fn given(&self) -> &Allocations {
        &self.given
    }

    /// Who was given an address.
    pub(super) fn holder_of_address(&self, address: IpAddr) -> Option<&ObjectName> {
        self.addresses.get(&address)
    }

    /// Who was given a port.
    pub(super) fn holder_of_port(&self, port: u16) -> Option<&ObjectName> {
        self.ports.get(&port)
    }

    /// Takes back what Services hold that are not there.
    pub(super) fn retain(&mut self, is_there: impl Fn(&ObjectName) -> bool) {
        let names = self.given.by_service.keys();
        let gone: Vec<_> = names.filter(|name| !is_there(name)).cloned().collect();
        for name in gone {
            self.take_back(&name);
        }
    }

    /// Takes back what a Service holds.
    pub(super) fn take_back(&mut self, name: &ObjectName) -> Allocation {
        let allocation = self.given.by_service.remove(name).unwrap_or_default();
        for address in &allocation.cluster_ips {
            self.addresses.remove(address);
        }
        for port in ports(&allocation) {
            self.ports.remove(&port);
        }
        allocation
    }

    /// Gives a Service what it wants: what it holds already as far as nobody asks for that by name,
    /// else what is free. What is missing from the answer could not be had.
    pub(super) fn give(
        &mut self,
        name: &ObjectName,
        wants: &Wants,
        claims: &Claims,
        ranges: &Ranges,
    ) -> Allocation {
        let held = self.take_back(name);
        let mut given = Allocation::default();
        for family in &wants.families {
            let is_free = |address: &IpAddr| {
                claims.owner_of_address(*address).is_none() && !self.addresses.contains_key(address)
            };
            let mut held = held.cluster_ips.iter().copied();
            let address = held
                .find(|address| Family::of(*address) == *family && is_free(address))
                .or_else(|| free_address(name, *family, &ranges.prefixes, is_free));
            given.cluster_ips.extend(address);
        }
        let mut taken = BTreeSet::new();
        let mut port = |held: Option<u16>| {
            let is_free = |port: &u16| {
                !claims.has_port(*port) && !self.ports.contains_key(port) && !taken.contains(port)
            };
            let port = held
                .filter(is_free)
                .or_else(|| free_port(name, &ranges.node_ports, is_free))?;
            taken.insert(port);
            Some(port)
        };
        for service_port in &wants.ports {
            if let Some(port) = port(held.node_ports.get(service_port).copied()) {
                given.node_ports.insert(*service_port, port);
            }
        }
        if wants.health_check {
            given.health_check_node_port = port(held.health_check_node_port);
        }
        self.enter(name, given.clone());
        given
    }

    fn enter(&mut self, name: &ObjectName, allocation: Allocation) {
        for address in &allocation.cluster_ips {
            self.addresses.insert(*address, name.clone());
        }
        for port in ports(&allocation) {
            self.ports.insert(port, name.clone());
        }
        if allocation != Allocation::default() {
            self.given.by_service.insert(name.clone(), allocation);
        }
    }
}

fn ports(allocation: &Allocation) -> impl Iterator<Item = u16> {
    let node_ports = allocation.node_ports.values().copied();
    node_ports.chain(allocation.health_check_node_port)
}

fn free_address(
    name: &ObjectName,
    family: Family,
    prefixes: &[IpNet],
    is_free: impl Fn(&IpAddr) -> bool,
) -> Option<IpAddr> {
    let prefixes = prefixes.iter();
    prefixes
        .filter(|prefix| Family::of_prefix(prefix) == family)
        .find_map(|prefix| {
            let (first, count) = addresses(prefix);
            circle(name, count)
                .map(|offset| match family {
                    Family::V4 => Ipv4Addr::from_bits((first + offset) as u32).into(),
                    Family::V6 => Ipv6Addr::from_bits(first + offset).into(),
                })
                .find(&is_free)
        })
}

fn free_port(
    name: &ObjectName,
    range: &RangeInclusive<u16>,
    is_free: impl Fn(&u16) -> bool,
) -> Option<u16> {
    let count = (u32::from(*range.end()) + 1).saturating_sub(u32::from(*range.start()));
    circle(name, u128::from(count))
        .map(|offset| range.start() + offset as u16)
        .find(is_free)
}

/// First address of a prefix that may be given, as a number, and how many there are: the network's
/// own and IPv4's broadcast address are left out where there are others.
fn addresses(prefix: &IpNet) -> (u128, u128) {
    let (first, bits, last) = match prefix {
        IpNet::V4(prefix) => (u128::from(prefix.network().to_bits()), 32, 1),
        IpNet::V6(prefix) => (prefix.network().to_bits(), 128, 0),
    };
    let host_bits = bits - u32::from(prefix.prefix_len());
    let count = 1_u128.checked_shl(host_bits).unwrap_or(u128::MAX);
    if count <= 2 {
        return (first, count);
    }
    (first + 1, count - 1 - last)
}

/// All numbers below `count`, once around from where the name falls.
fn circle(name: &ObjectName, count: u128) -> impl Iterator<Item = u128> {
    let start = match count {
        0 => 0,
        count => u128::from(hash(name)) % count,
    };
    (start..count).chain(0..start)
}

/// FNV-1a: what Services get follows from it, so it never changes.
fn hash(name: &ObjectName) -> u64 {
    let text = name
        .namespace
        .bytes()
        .chain([b'/'])
        .chain(name.name.bytes());
    text.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::declared::Service;
    use crate::input::standalone::claims::Asked;
    use crate::model;

    fn name(name: &str) -> ObjectName {
        ObjectName::new("default", name)
    }

    fn ranges(prefixes: &[&str], node_ports: RangeInclusive<u16>) -> Ranges {
        Ranges {
            prefixes: prefixes.iter().map(|text| text.parse().unwrap()).collect(),
            node_ports,
        }
    }

    fn address(family: Family) -> Wants {
        Wants {
            families: vec![family],
            ..Wants::default()
        }
    }

    #[test]
    fn a_service_gets_the_same_again_whoever_else_is_there() {
        let ranges = ranges(&["10.96.0.0/16", "fd00:96::/112"], 30_000..=32_767);
        let wants = Wants {
            families: vec![Family::V4, Family::V6],
            ports: [80, 443].into(),
            health_check: true,
        };
        let claims = Claims::default();
        let alone = Ledger::default().give(&name("kubia"), &wants, &claims, &ranges);
        assert_eq!((alone.cluster_ips.len(), alone.node_ports.len()), (2, 2));
        let mut ledger = Ledger::default();
        ledger.give(&name("backend-service"), &wants, &claims, &ranges);
        assert_eq!(ledger.give(&name("kubia"), &wants, &claims, &ranges), alone);
    }

    #[test]
    fn nothing_is_given_twice_and_what_is_there_is_given_to_the_last() {
        // Of 16 addresses the first is the network's and the last the broadcast.
        for (prefix, family, count) in [
            ("10.96.0.0/28", Family::V4, 14),
            ("10.96.0.0/31", Family::V4, 2),
            ("10.96.0.0/32", Family::V4, 1),
            ("fd00:96::/124", Family::V6, 15),
        ] {
            let ranges = ranges(&[prefix], 30_000..=30_000);
            let mut ledger = Ledger::default();
            let given: BTreeSet<_> = (0..count)
                .map(|i| {
                    let name = name(&format!("service-{i}"));
                    let given = ledger.give(&name, &address(family), &Claims::default(), &ranges);
                    given.cluster_ips[0]
                })
                .collect();
            assert_eq!(given.len(), count, "{prefix}");
            let prefix = &ranges.prefixes[0];
            assert!(given.iter().all(|address| prefix.contains(address)));
            let more = ledger.give(
                &name("one-more"),
                &address(family),
                &Claims::default(),
                &ranges,
            );
            assert_eq!(more, Allocation::default());
        }
    }

    #[test]
    fn a_full_prefix_is_followed_by_the_next() {
        let ranges = ranges(
            &["10.96.0.1/32", "fd00::/64", "10.43.0.0/16"],
            30_000..=30_000,
        );
        let mut ledger = Ledger::default();
        let claims = Claims::default();
        let first = ledger.give(&name("a"), &address(Family::V4), &claims, &ranges);
        assert_eq!(first.cluster_ips, ["10.96.0.1".parse::<IpAddr>().unwrap()]);
        let second = ledger.give(&name("b"), &address(Family::V4), &claims, &ranges);
        assert!(ranges.prefixes[2].contains(&second.cluster_ips[0]));
    }

    #[test]
    fn who_asks_by_name_gets_it_and_the_holder_moves() {
        let ranges = ranges(&["10.96.0.0/16"], 30_000..=30_001);
        let wants = Wants {
            families: vec![Family::V4],
            ports: [80].into(),
            health_check: false,
        };
        let mut ledger = Ledger::default();
        let mut claims = Claims::default();
        let before = ledger.give(&name("kubia"), &wants, &claims, &ranges);
        let explicit = Service {
            model: model::Service {
                cluster_ips: before.cluster_ips.clone(),
                health_check_node_port: Some(before.node_ports[&80]),
                ..model::Service::default()
            },
            ..Service::default()
        };
        claims.insert(&name("explicit"), &Asked::by(&explicit));
        let after = ledger.give(&name("kubia"), &wants, &claims, &ranges);
        assert_ne!(after.cluster_ips, before.cluster_ips);
        assert_ne!(after.node_ports, before.node_ports);
        assert!(ranges.node_ports.contains(&after.node_ports[&80]));
    }

    #[test]
    fn what_was_given_stays_even_outside_of_todays_ranges() {
        let mut ledger = Ledger::default();
        let claims = Claims::default();
        let old = ranges(&["10.43.0.0/16"], 30_000..=32_767);
        let before = ledger.give(&name("kubia"), &address(Family::V4), &claims, &old);
        let mut ledger = Ledger::new(ledger.given().clone());
        let new = ranges(&["10.96.0.0/16"], 30_000..=32_767);
        let after = ledger.give(&name("kubia"), &address(Family::V4), &claims, &new);
        assert_eq!(before, after);
        ledger.retain(|_| false);
        assert_eq!(ledger.given(), &Allocations::default());
    }

    #[test]
    fn the_whole_of_ipv6_is_no_overflow() {
        let ranges = ranges(&["::/0"], 0..=65_535);
        let given = Ledger::default().give(
            &name("a"),
            &address(Family::V6),
            &Claims::default(),
            &ranges,
        );
        assert_eq!(given.cluster_ips.len(), 1);
    }
}
