//! What do rows share? Each is written once and runs for both families, with TCP and UDP, and where
//! all protocols are alike with SCTP, too.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lb_tests::datapath::{Bench, Fixture, FlowPair, Row};
use lb_tests::packet::{ACK, INIT, Packet, SYN};
use lb_tests::topology::{Cluster, Family, addresses, on};
use lb_userspace::model::Protocol;

/// The client pod, two pods that serve, all of this node.
pub(super) const CLIENT: u8 = 10;
pub(super) const SERVER: u8 = 11;
pub(super) const SPARE: u8 = 12;

/// Types of SCTP chunks.
const DATA: u8 = 0;
const INIT_ACK: u8 = 2;

/// The client's port.
pub(super) const CLIENT_PORT: u16 = 40_000;

/// A family and a protocol to run rows for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) family: Family,
    pub(super) protocol: Protocol,
}

/// An ICMP error, without the packet that it is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Error {
    /// Type and code.
    pub(super) kind: [u8; 2],
    /// The four bytes that depend on them.
    pub(super) rest: [u8; 4],
}

/// Runs the rows that `make` returns for TCP and UDP.
pub(super) fn check(make: fn(Case) -> Vec<Row>) {
    run(&all(), make);
}

/// Runs the rows that `make` returns for every protocol.
pub(super) fn check_each_protocol(make: fn(Case) -> Vec<Row>) {
    run(&every(), make);
}

/// Runs the rows that `make` returns for SCTP.
pub(super) fn check_sctp(make: fn(Case) -> Vec<Row>) {
    run(&sctp(), make);
}

fn run(cases: &[Case], make: fn(Case) -> Vec<Row>) {
    run_with(|_| Ok(()), cases, make);
}

/// As [`check`], while what `prepare` returns is there.
pub(super) fn check_with<T>(prepare: fn(&Cluster) -> Result<T>, make: fn(Case) -> Vec<Row>) {
    run_with(prepare, &all(), make);
}

fn run_with<T>(prepare: fn(&Cluster) -> Result<T>, cases: &[Case], make: fn(Case) -> Vec<Row>) {
    on(Cluster::routed_veth, |cluster| {
        let mut bench = Bench::new(cluster, &[CLIENT, SERVER, SPARE])?;
        let _while = prepare(cluster)?;
        let named = |case: Case| {
            make(case).into_iter().map(move |row| Row {
                name: format!("{} {}: {}", case.family, case.protocol, row.name),
                ..row
            })
        };
        let rows: Vec<_> = cases.iter().copied().flat_map(named).collect();
        bench.check(&rows)
    });
}

/// TCP and UDP in both families.
pub(super) fn all() -> [Case; 4] {
    let [v4, v6] = Family::ALL;
    [
        (v4, Protocol::Tcp),
        (v4, Protocol::Udp),
        (v6, Protocol::Tcp),
        (v6, Protocol::Udp),
    ]
    .map(|(family, protocol)| Case { family, protocol })
}

/// Every protocol in both families.
pub(super) fn every() -> Vec<Case> {
    [&all()[..], &sctp()[..]].concat()
}

/// SCTP in both families.
fn sctp() -> [Case; 2] {
    Family::ALL.map(|family| Case {
        family,
        protocol: Protocol::Sctp,
    })
}

/// A row with this name and these tables, and nothing in it yet.
pub(super) fn row(name: &str, fixture: Fixture) -> Row {
    Row {
        name: name.to_owned(),
        fixture,
        steps: Vec::new(),
        flows: Vec::new(),
        drops: Vec::new(),
    }
}

impl Case {
    pub(super) fn is_sctp(self) -> bool {
        self.protocol == Protocol::Sctp
    }

    pub(super) fn is_tcp(self) -> bool {
        self.protocol == Protocol::Tcp
    }

    /// kubia's ClusterIP and port.
    pub(super) fn vip(self) -> SocketAddr {
        self.address("10.43.165.39", "fd00:10:43::a527", 80)
    }

    pub(super) fn address(self, v4: &str, v6: &str, port: u16) -> SocketAddr {
        let text = match self.family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        SocketAddr::new(text.parse().expect("an address"), port)
    }

    pub(super) fn client(self) -> SocketAddr {
        self.pod(CLIENT, CLIENT_PORT)
    }

    pub(super) fn pod(self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(addresses::pod(0, host).of(self.family), port)
    }

    /// Where a pod of this node serves.
    pub(super) fn server(self) -> SocketAddr {
        self.pod(SERVER, 8080)
    }

    /// Where a pod of the other node serves.
    pub(super) fn far_server(self) -> SocketAddr {
        SocketAddr::new(addresses::pod(1, 10).of(self.family), 8080)
    }

    pub(super) fn outside(self) -> SocketAddr {
        SocketAddr::new(addresses::outside(7).of(self.family), CLIENT_PORT)
    }

    pub(super) fn node(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.node_address(), port)
    }

    pub(super) fn node_address(self) -> IpAddr {
        addresses::node(0).of(self.family)
    }

    /// The packet that begins a flow.
    pub(super) fn first(self, from: SocketAddr, to: SocketAddr) -> Packet {
        match self.protocol {
            Protocol::Tcp => Packet::tcp(from, to, SYN),
            Protocol::Udp => Packet::udp(from, to, b"question"),
            Protocol::Sctp => Packet::sctp(from, to, INIT, b"tag2 and what an INIT says"),
        }
    }

    /// The reply to it.
    pub(super) fn reply(self, from: SocketAddr, to: SocketAddr) -> Packet {
        match self.protocol {
            Protocol::Tcp => Packet::tcp(from, to, SYN | ACK),
            Protocol::Udp => Packet::udp(from, to, b"an answer"),
            Protocol::Sctp => Packet::sctp(from, to, INIT_ACK, b"tag3 and a cookie"),
        }
    }

    /// A later packet of the flow.
    pub(super) fn later(self, from: SocketAddr, to: SocketAddr) -> Packet {
        match self.protocol {
            Protocol::Tcp => Packet::tcp(from, to, ACK).with_payload(b"GET /host_name"),
            Protocol::Udp => Packet::udp(from, to, b"odd"),
            Protocol::Sctp => Packet::sctp(from, to, DATA, b"GET /host_name"),
        }
    }

    /// The error that says so about a packet, quoting so many bytes of it (all if there are fewer).
    pub(super) fn error(
        self,
        from: IpAddr,
        to: IpAddr,
        error: Error,
        about: &Packet,
        quoted: usize,
    ) -> Packet {
        assert_eq!(Family::of(from), self.family, "whose errors are these?");
        let bytes = about.ip_bytes();
        let quote = &bytes[..quoted.min(bytes.len())];
        Packet::icmp(from, to, error.kind, error.rest, quote)
    }

    /// Every error that is about a flow, and the family's own shape of each.
    pub(super) fn errors(self) -> Vec<Error> {
        let plain = |kind| Error { kind, rest: [0; 4] };
        match self.family {
            Family::V4 => vec![
                plain([3, 1]),
                plain([3, 3]),
                self.too_big(1_400),
                plain([11, 0]),
                plain([12, 0]),
            ],
            Family::V6 => vec![
                plain([1, 0]),
                plain([1, 4]),
                self.too_big(1_400),
                self.time_exceeded(),
                plain([4, 1]),
            ],
        }
    }

    /// Fragmentation needed (RFC 1191), packet too big (RFC 4443).
    pub(super) fn too_big(self, mtu: u32) -> Error {
        let kind = match self.family {
            Family::V4 => [3, 4],
            Family::V6 => [2, 0],
        };
        Error {
            kind,
            rest: mtu.to_be_bytes(),
        }
    }

    pub(super) fn time_exceeded(self) -> Error {
        let kind = match self.family {
            Family::V4 => [11, 0],
            Family::V6 => [3, 0],
        };
        Error { kind, rest: [0; 4] }
    }

    /// A router between the nodes and the world.
    pub(super) fn router(self) -> IpAddr {
        addresses::router().of(self.family)
    }

    /// Bytes of the IP header.
    pub(super) fn header(self) -> usize {
        match self.family {
            Family::V4 => 20,
            Family::V6 => 40,
        }
    }

    /// How much of a packet an error of ours quotes at most.
    pub(super) fn longest_quote(self) -> usize {
        match self.family {
            Family::V4 => 576 - 20 - 8,
            Family::V6 => 1_280 - 40 - 8,
        }
    }

    /// The client's flow through kubia's ClusterIP, its address kept.
    pub(super) fn flow(self, client: SocketAddr, backend: SocketAddr, flags: u16) -> FlowPair {
        FlowPair {
            client,
            frontend: self.vip(),
            source: client,
            backend,
            flags,
        }
    }
}
