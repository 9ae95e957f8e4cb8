//! Who has which address? One plan for all topologies, so that an address in a failure tells
//! where it belongs.
//!
//! | place | IPv4 | IPv6 |
//! |---|---|---|
//! | node *n* (0 = this one) on the nodes' network | 172.18.0.(2+*n*) | fd00:172:18::(2+*n*) |
//! | router there | 172.18.0.1 | fd00:172:18::1 |
//! | pod *h* of node *n* | 10.42.*n*.*h* | fd00:10:42:*n*::*h* |
//! | outside client, with seven more addresses | 203.0.113.7 … .14 | 2001:db8:113::7 … ::14 |
//! | router there | 203.0.113.1 | 2001:db8:113::1 |
//! | addresses that the router sends to this node | 198.51.100.0/24 | 2001:db8:100::/64 |
//!
//! Numbers are written alike in both families: pod 10.42.1.10 is also fd00:10:42:1::10.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Pods of all nodes.
pub const PODS: [&str; 2] = ["10.42.0.0/16", "fd00:10:42::/48"];
/// What the router sends to this node: externalIPs and load balancers' addresses come from here.
pub const ROUTED: [&str; 2] = ["198.51.100.0/24", "2001:db8:100::/64"];
/// What ClusterIPs come from; the router sends them to this node too, so that an outside client can try.
pub const SERVICES: [&str; 3] = ["10.43.0.0/16", "10.96.0.0/16", "fd00:10:43::/112"];
/// Last parts of the outside client's addresses, the first one being where it usually calls from.
pub const OUTSIDE_HOSTS: std::ops::RangeInclusive<u8> = 7..=14;
/// Bits of the nodes' and the outside network's prefixes.
pub const LAN_BITS: [u8; 2] = [24, 64];

/// An address in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The IPv4 one.
    pub v4: Ipv4Addr,
    /// The IPv6 one.
    pub v6: Ipv6Addr,
}

impl Pair {
    /// The addresses written so.
    ///
    /// # Panics
    /// If they are none.
    #[must_use]
    pub fn new(v4: &str, v6: &str) -> Self {
        Self {
            v4: v4.parse().expect("an IPv4 address"),
            v6: v6.parse().expect("an IPv6 address"),
        }
    }

    /// Both, as manifests list them.
    #[must_use]
    pub const fn both(&self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4), IpAddr::V6(self.v6)]
    }

    /// The address and port of this family.
    #[must_use]
    pub const fn port(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.of(family), port)
    }

    /// The one of this family.
    #[must_use]
    pub const fn of(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

/// Node `n` on the nodes' network.
#[must_use]
pub fn node(n: u8) -> Pair {
    lan(2 + n)
}

/// The router on the nodes' network.
#[must_use]
pub fn router() -> Pair {
    lan(1)
}

fn lan(host: u8) -> Pair {
    Pair {
        v4: Ipv4Addr::new(172, 18, 0, host),
        v6: Ipv6Addr::new(0xfd00, 0x172, 0x18, 0, 0, 0, 0, alike(host)),
    }
}

/// Pod `host` of node `n`.
#[must_use]
pub fn pod(n: u8, host: u8) -> Pair {
    Pair {
        v4: Ipv4Addr::new(10, 42, n, host),
        v6: Ipv6Addr::new(0xfd00, 0x10, 0x42, alike(n), 0, 0, 0, alike(host)),
    }
}

/// An address on the outside client's network; 1 is the router.
#[must_use]
pub fn outside(host: u8) -> Pair {
    Pair {
        v4: Ipv4Addr::new(203, 0, 113, host),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, alike(host)),
    }
}

/// An address that the router sends to this node.
#[must_use]
pub fn routed(host: u8) -> Pair {
    Pair {
        v4: Ipv4Addr::new(198, 51, 100, host),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, alike(host)),
    }
}

/// The number that in hexadecimal looks as `n` does in decimal.
fn alike(n: u8) -> u16 {
    let n = u16::from(n);
    n / 100 * 0x100 + n / 10 % 10 * 0x10 + n % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_alike_in_both_families() {
        let pod = pod(1, 10);
        assert_eq!(pod.v4.to_string(), "10.42.1.10");
        assert_eq!(pod.v6.to_string(), "fd00:10:42:1::10");
        assert_eq!(outside(123).v6.to_string(), "2001:db8:113::123");
    }
}
