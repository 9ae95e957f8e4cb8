//! Which tables does a row begin with? The node of the topologies, and Services added one by one.
//!
//! Built by hand, not by the planner: what is wrong there must not look right here.

use std::net::{IpAddr, SocketAddr};

use lb_common::layout::{
    BACKEND_HOST_NETWORK, BACKEND_IN_CLUSTER, BACKEND_LOCAL, Backend, Config, FRONTEND_ADDRESS,
    FRONTEND_CLUSTER_IP, FRONTEND_SOURCE_RANGES, FrontendInfo, FrontendKey, FrontendRef, Pool,
    Prefix, RangeKey, ServiceName, text,
};
use lb_common::limits::LAYOUT_VERSION;
use lb_common::{Ip4, Ip6};
use lb_userspace::model::Protocol;
use lb_userspace::tables::{PerFamily, Tables};

use crate::topology::{Family, addresses};

/// The only port that SNAT may use, so that a row knows which one it gets.
pub const SNAT_PORT: u16 = 50_000;

/// An endpoint behind a Service.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    at: SocketAddr,
    flags: u8,
}

impl Endpoint {
    /// A pod of this node.
    #[must_use]
    pub const fn here(at: SocketAddr) -> Self {
        Self {
            at,
            flags: BACKEND_LOCAL | BACKEND_IN_CLUSTER,
        }
    }

    /// A pod of another node.
    #[must_use]
    pub const fn elsewhere(at: SocketAddr) -> Self {
        Self {
            at,
            flags: BACKEND_IN_CLUSTER,
        }
    }

    /// A process of this node's own network.
    #[must_use]
    pub const fn on_host(at: SocketAddr) -> Self {
        Self {
            at,
            flags: BACKEND_LOCAL | BACKEND_HOST_NETWORK | BACKEND_IN_CLUSTER,
        }
    }
}

/// A Service with one frontend.
#[derive(Clone, Debug)]
pub struct Service {
    frontend: SocketAddr,
    protocol: Protocol,
    flags: u32,
    /// More frontends of the same port.
    others: Vec<(u32, SocketAddr)>,
    affinity_seconds: u32,
    ranges: Vec<(IpAddr, u32)>,
    inside: (Vec<Endpoint>, u32),
    outside: (Vec<Endpoint>, u32),
}

impl Service {
    /// A Service whose frontend is of this kind (`FRONTEND_*` bits) and has these endpoints.
    #[must_use]
    pub fn new(
        flags: u32,
        protocol: Protocol,
        frontend: SocketAddr,
        endpoints: &[Endpoint],
    ) -> Self {
        Self {
            frontend,
            protocol,
            flags,
            others: Vec::new(),
            affinity_seconds: 0,
            ranges: Vec::new(),
            inside: (endpoints.to_vec(), 0),
            outside: (endpoints.to_vec(), 0),
        }
    }

    /// A Service with a ClusterIP alone.
    #[must_use]
    pub fn cluster_ip(protocol: Protocol, frontend: SocketAddr, endpoints: &[Endpoint]) -> Self {
        Self::new(FRONTEND_CLUSTER_IP, protocol, frontend, endpoints)
    }

    /// The same, dialled at another address or port, too (`FRONTEND_*` bits).
    #[must_use]
    pub fn also_at(mut self, flags: u32, frontend: SocketAddr) -> Self {
        self.others.push((flags, frontend));
        self
    }

    /// The same with ClientIP affinity.
    #[must_use]
    pub const fn with_affinity(mut self, seconds: u32) -> Self {
        self.affinity_seconds = seconds;
        self
    }

    /// The same for these sources only (network and bits).
    #[must_use]
    pub fn only_from(mut self, ranges: &[(IpAddr, u32)]) -> Self {
        self.ranges.extend(ranges);
        self.flags |= FRONTEND_SOURCE_RANGES;
        self
    }

    /// The same with other endpoints for outside clients, and what is special about them
    /// (`POOL_*` bits).
    #[must_use]
    pub fn for_outside(mut self, endpoints: &[Endpoint], pool_flags: u32) -> Self {
        self.outside = (endpoints.to_vec(), pool_flags);
        self
    }
}

/// The tables of a row.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// What they hold.
    pub tables: Tables,
    next_id: u32,
    next_slot: u32,
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new()
    }
}

impl Fixture {
    /// The node under test, with no Service.
    #[must_use]
    pub fn new() -> Self {
        let node = addresses::node(0);
        let mut config = Config {
            layout_version: LAYOUT_VERSION,
            snat_ports: [SNAT_PORT, SNAT_PORT],
            hz: 1_000,
            node4: family(node.v4.into()),
            node6: family(node.v6.into()),
            ..Config::default()
        };
        config.pods4[0] = prefix([10, 42, 0, 0], [255, 255, 0, 0]);
        config.services4[0] = prefix([10, 43, 0, 0], [255, 255, 0, 0]);
        config.services4[1] = prefix([10, 96, 0, 0], [255, 255, 0, 0]);
        config.pods6[0] = prefix6("fd00:10:42::", 6);
        config.services6[0] = prefix6("fd00:10:43::", 14);
        let mut tables = Tables {
            config,
            ..Tables::default()
        };
        tables.v4.nodes.insert(family(node.v4.into()));
        tables.v6.nodes.insert(family(node.v6.into()));
        Self {
            tables,
            next_id: 1,
            next_slot: 1,
        }
    }

    /// The tables with the Service in them.
    #[must_use]
    pub fn with(mut self, service: &Service) -> Self {
        match Family::of(service.frontend.ip()) {
            Family::V4 => self.add::<Ip4>(service),
            Family::V6 => self.add::<Ip6>(service),
        }
        self
    }

    fn add<A: PerFamily>(&mut self, service: &Service) {
        let id = self.take_id();
        let name = ServiceName {
            namespace: text("default"),
            name: text("row"),
            port: service.frontend.port(),
            protocol: service.protocol.number(),
            ..ServiceName::default()
        };
        self.tables.services.insert(id, name.into());
        let inside = self.add_pool::<A>(id, service.protocol, &service.inside);
        let outside = self.add_pool::<A>(id, service.protocol, &service.outside);
        let key = |frontend: SocketAddr| FrontendKey::<A> {
            address: family(frontend.ip()),
            port: frontend.port(),
            protocol: service.protocol.number(),
            reserved: 0,
        };
        let first = (service.flags, service.frontend);
        for (flags, frontend) in [first].iter().chain(&service.others) {
            self.publish(FrontendInfo {
                key: key(*frontend),
                service_port: id,
                flags: *flags,
                affinity_seconds: service.affinity_seconds,
                inside,
                outside,
            });
        }
        if service.flags & FRONTEND_CLUSTER_IP != 0 {
            self.publish(FrontendInfo::<A> {
                key: FrontendKey {
                    port: 0,
                    protocol: 0,
                    ..key(service.frontend)
                },
                service_port: id,
                flags: FRONTEND_ADDRESS,
                ..FrontendInfo::default()
            });
        }
        let family = A::of_mut(&mut self.tables);
        family
            .ranges
            .extend(service.ranges.iter().map(|(network, bits)| RangeKey {
                prefix_length: 32 + bits,
                service_port: id,
                network: self::family(*network),
            }));
    }

    fn add_pool<A: PerFamily>(
        &mut self,
        id: u32,
        protocol: Protocol,
        pool: &(Vec<Endpoint>, u32),
    ) -> Pool {
        let (endpoints, flags) = pool;
        let first = self.next_slot;
        for endpoint in endpoints {
            let backend = self.take_id();
            self.tables.slots.insert(self.next_slot, backend);
            self.next_slot += 1;
            let entry = Backend::<A> {
                address: family(endpoint.at.ip()),
                port: endpoint.at.port(),
                protocol: protocol.number(),
                flags: endpoint.flags,
                service_port: id,
                generation: backend,
            };
            A::of_mut(&mut self.tables).backends.insert(backend, entry);
        }
        Pool {
            first,
            count: self.next_slot - first,
            flags: *flags,
        }
    }

    fn publish<A: PerFamily>(&mut self, info: FrontendInfo<A>) {
        let index = self.take_id();
        let reference = FrontendRef {
            info: index,
            service_port: info.service_port,
        };
        let family = A::of_mut(&mut self.tables);
        family.info.insert(index, info);
        family.frontends.insert(info.key, reference);
    }

    /// Ids, indices: one series serves all, so that a mix-up shows.
    fn take_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id - 1
    }
}

/// The address as the maps hold it.
pub(super) fn family<A: lb_common::Family>(address: IpAddr) -> A {
    A::from_ip(address).expect("a row does not mix address families")
}

fn prefix(network: [u8; 4], mask: [u8; 4]) -> Prefix<Ip4> {
    Prefix {
        network: Ip4 { octets: network },
        mask: Ip4 { octets: mask },
        used: 1,
    }
}

fn prefix6(network: &str, bytes: usize) -> Prefix<Ip6> {
    let network: std::net::Ipv6Addr = network.parse().expect("an IPv6 address");
    let mut mask = [0; 16];
    mask[..bytes].fill(0xff);
    Prefix {
        network: Ip6 {
            octets: network.octets(),
        },
        mask: Ip6 { octets: mask },
        used: 1,
    }
}
