//! The decision, as the kernel programs make it, against the same said as slowly and plainly as
//! possible: random Services, random packets, from fixed seeds. The model shares no code with the
//! decision and knows nothing of tables.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use lb_common::layout::{
    FRONTEND_CLUSTER_IP, FRONTEND_EXTERNAL_IP, FRONTEND_NODE_PORT, Link, POOL_DROP,
};
use lb_tests::datapath::{Code, Endpoint, Fixture, Kernel, SNAT_PORT, Service};
use lb_tests::packet::{ACK, ETHERNET, Packet, SYN};
use lb_tests::random::Random;
use lb_tests::topology::{Cluster, Family, POD_LINK, UPLINK, addresses, on};
use lb_userspace::model::Protocol;

use super::cases::{CLIENT, Case, SERVER, SPARE};

/// How many worlds, and how many packets in each.
const WORLDS: u64 = 120;
const PACKETS: usize = 25;

/// SNAT has so many ports, which is more than flows can begin in a world.
const SNAT_PORTS: u16 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ClusterIp,
    NodePort,
    ExternalIp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Here,
    Elsewhere,
    Host,
}

/// A Service as its user knows it.
#[derive(Clone, Debug)]
struct Plain {
    kind: Kind,
    protocol: Protocol,
    frontend: SocketAddr,
    endpoints: Vec<(SocketAddr, Place)>,
    /// `externalTrafficPolicy: Local`: outside clients get the endpoints here, or nothing.
    local: bool,
    /// Only sources in this network (and this many bits of it).
    only: Option<(IpAddr, u32)>,
}

/// A packet as its sender knows it.
#[derive(Clone, Copy, Debug)]
struct Sent {
    from_pod: bool,
    source: SocketAddr,
    destination: SocketAddr,
    protocol: Protocol,
    begins: bool,
}

/// What should become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Untouched,
    Dropped,
    Refused,
    /// To one of these, with the client's address kept or not.
    Forwarded(Vec<SocketAddr>),
}

const fn case(family: Family, protocol: Protocol) -> Case {
    Case { family, protocol }
}

fn world(random: &mut Random, family: Family) -> Vec<Plain> {
    let count = 1 + random.below(5);
    (0..count).map(|i| plain(random, family, i as u8)).collect()
}

fn plain(random: &mut Random, family: Family, number: u8) -> Plain {
    let protocol = random.one_of(&[Protocol::Tcp, Protocol::Udp]);
    let kind = random.one_of(&[Kind::ClusterIp, Kind::NodePort, Kind::ExternalIp]);
    let at = case(family, protocol);
    let frontend = match kind {
        Kind::ClusterIp => {
            let last = 1 + number;
            at.address(
                &format!("10.43.0.{last}"),
                &format!("fd00:10:43::{last}"),
                80,
            )
        }
        Kind::NodePort => at.node(30_000 + u16::from(number)),
        Kind::ExternalIp => addresses::routed(number).port(family, 443),
    };
    let all = [
        (at.pod(SERVER, 8_080), Place::Here),
        (at.pod(SPARE, 8_081), Place::Here),
        (at.pod(CLIENT, 8_082), Place::Here),
        (at.far_server(), Place::Elsewhere),
        (at.node(9_090), Place::Host),
    ];
    let endpoints = all.into_iter().filter(|_| random.once_in(2)).collect();
    let only = (kind == Kind::ExternalIp && random.once_in(2)).then(|| {
        let bits = if family == Family::V4 { 24 } else { 64 };
        (addresses::outside(0).of(family), bits)
    });
    Plain {
        kind,
        protocol,
        frontend,
        endpoints,
        local: kind != Kind::ClusterIp && random.once_in(3),
        only,
    }
}

impl Plain {
    fn for_outside(&self) -> Vec<(SocketAddr, Place)> {
        let all = self.endpoints.iter().copied();
        all.filter(|(_, place)| !self.local || *place != Place::Elsewhere)
            .collect()
    }

    fn service(&self) -> Service {
        let flags = match self.kind {
            Kind::ClusterIp => FRONTEND_CLUSTER_IP,
            Kind::NodePort => FRONTEND_NODE_PORT,
            Kind::ExternalIp => FRONTEND_EXTERNAL_IP,
        };
        let list = |endpoints: &[(SocketAddr, Place)]| -> Vec<Endpoint> {
            let endpoints = endpoints.iter().map(|(at, place)| match place {
                Place::Here => Endpoint::here(*at),
                Place::Elsewhere => Endpoint::elsewhere(*at),
                Place::Host => Endpoint::on_host(*at),
            });
            endpoints.collect()
        };
        // As the planner does: an empty pool drops where others could have served.
        let outside = self.for_outside();
        let is_dropped = outside.is_empty() && !self.endpoints.is_empty();
        let flag = if is_dropped { POOL_DROP } else { 0 };
        let service = Service::new(flags, self.protocol, self.frontend, &list(&self.endpoints))
            .for_outside(&list(&outside), flag);
        match self.only {
            Some(range) => service.only_from(&[range]),
            None => service,
        }
    }
}

fn sent(random: &mut Random, family: Family, services: &[Plain], turn: usize) -> Sent {
    let service = random.one_of(services);
    let mut protocol = service.protocol;
    let mut destination = service.frontend;
    let at = case(family, protocol);
    match random.below(8) {
        0 => destination.set_port(destination.port() + 1),
        1 => protocol = random.one_of(&[Protocol::Tcp, Protocol::Udp]),
        2 => destination = at.address("10.43.9.9", "fd00:10:43::99", 80),
        3 => destination = random.one_of(&[at.node(22), at.server(), at.pod(CLIENT, 80)]),
        _ => {}
    }
    // Each packet has a port of its own: none is of an earlier one's flow.
    let port = 20_000 + turn as u16;
    let from_pod = random.once_in(2);
    let source = if from_pod {
        at.pod(CLIENT, port)
    } else {
        let sources = [
            addresses::outside(7),
            addresses::outside(8),
            addresses::routed(200),
            addresses::pod(1, 10),
            addresses::node(1),
        ];
        random.one_of(&sources).port(family, port)
    };
    Sent {
        from_pod,
        source,
        destination,
        protocol,
        begins: !random.once_in(4),
    }
}

/// The whole decision, from what users are told.
fn expected(services: &[Plain], sent: &Sent) -> Fate {
    let found = services
        .iter()
        .find(|service| service.frontend == sent.destination && service.protocol == sent.protocol);
    let Some(service) = found else {
        return without_service(services, sent.destination.ip());
    };
    if service
        .only
        .is_some_and(|(network, bits)| !is_in(sent.source.ip(), network, bits))
    {
        return Fate::Dropped;
    }
    if sent.protocol == Protocol::Tcp && !sent.begins {
        return Fate::Refused;
    }
    let is_pod = sent.source.ip() == addresses::pod(1, 10).of(Family::of(sent.source.ip()));
    let is_outside = !sent.from_pod && !is_pod;
    let endpoints = if is_outside {
        service.for_outside()
    } else {
        service.endpoints.clone()
    };
    if endpoints.is_empty() {
        return if is_outside && !service.endpoints.is_empty() {
            Fate::Dropped
        } else {
            Fate::Refused
        };
    }
    Fate::Forwarded(endpoints.into_iter().map(|(at, _)| at).collect())
}

fn without_service(services: &[Plain], address: IpAddr) -> Fate {
    let is_cluster_ip = services
        .iter()
        .any(|service| service.kind == Kind::ClusterIp && service.frontend.ip() == address);
    if is_cluster_ip {
        return Fate::Refused;
    }
    let is_of_range = match address {
        IpAddr::V4(address) => address.octets()[..2] == [10, 43],
        IpAddr::V6(address) => address.segments()[..3] == [0xfd00, 0x10, 0x43],
    };
    if is_of_range {
        Fate::Dropped
    } else {
        Fate::Untouched
    }
}

fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()) >> (32 - bits) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()) >> (128 - bits) == 0,
        _ => false,
    }
}

/// Whom the backend sees, and whether the packet passes the node without its stack.
fn on_its_way(sent: &Sent, backend: SocketAddr, place: Place, node: IpAddr) -> (IpAddr, bool) {
    if place == Place::Host {
        (sent.source.ip(), false)
    } else if backend.ip() == sent.source.ip() || (!sent.from_pod && place == Place::Elsewhere) {
        (node, true)
    } else {
        (sent.source.ip(), false)
    }
}

/// Source and destination of a packet without options.
fn ends(frame: &[u8]) -> [SocketAddr; 2] {
    let ip = &frame[ETHERNET..];
    let (addresses, ports) = if ip[0] >> 4 == 4 {
        (&ip[12..20], &ip[20..24])
    } else {
        (&ip[8..40], &ip[40..44])
    };
    let address = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).expect("an IPv6 address")),
    };
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    [
        SocketAddr::new(address(source), u16::from_be_bytes([ports[0], ports[1]])),
        SocketAddr::new(
            address(destination),
            u16::from_be_bytes([ports[2], ports[3]]),
        ),
    ]
}

fn check(kernel: &Kernel, links: [u32; 2], services: &[Plain], sent: &Sent) -> Result<()> {
    let packet = match sent.protocol {
        Protocol::Tcp if sent.begins => Packet::tcp(sent.source, sent.destination, SYN),
        Protocol::Tcp => Packet::tcp(sent.source, sent.destination, ACK),
        _ => Packet::udp(sent.source, sent.destination, b"question"),
    };
    let before = packet.bytes();
    let (program, link) = if sent.from_pod {
        ("tc_pod_in", links[0])
    } else {
        ("tc_uplink_in", links[1])
    };
    let run = kernel.run(program, link, &before)?;
    let fate = expected(services, sent);
    match &fate {
        Fate::Untouched => ensure!(run.code == Code::Next && run.bytes == before, "{fate:?}"),
        Fate::Dropped => ensure!(run.code == Code::Drop, "{fate:?}: {:?}", run.code),
        Fate::Refused => {
            ensure!(run.code == Code::Send, "{fate:?}: {:?}", run.code);
            let [source, destination] = ends(&run.bytes);
            ensure!(
                [source.ip(), destination.ip()] == [sent.destination.ip(), sent.source.ip()],
                "{fate:?}: from {source} to {destination}"
            );
        }
        Fate::Forwarded(backends) => {
            let [source, backend] = ends(&run.bytes);
            ensure!(backends.contains(&backend), "{fate:?}: to {backend}");
            let mut endpoints = services.iter().flat_map(|service| &service.endpoints);
            let place = endpoints
                .find(|(at, _)| *at == backend)
                .map(|(_, place)| *place);
            let place = place.expect("a backend is somebody's endpoint");
            let node = addresses::node(0).of(Family::of(backend.ip()));
            let (seen, leaves) = on_its_way(sent, backend, place, node);
            ensure!(source.ip() == seen, "{backend} sees {source}");
            let code = if leaves { Code::Send } else { Code::Next };
            ensure!(run.code == code, "{:?} to {backend}", run.code);
        }
    }
    Ok(())
}

#[test]
fn the_kernel_decides_as_a_plain_model_does() {
    on(Cluster::routed_veth, |cluster| {
        cluster.here().pod_at(CLIENT, "client")?;
        cluster.here().place().netns().run(|| {
            let mut kernel = Kernel::load()?;
            let pod = nix::net::if_::if_nametoindex(format!("{POD_LINK}{CLIENT}").as_str())?;
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            let mut fates = [0; 4];
            for seed in 1..=WORLDS {
                let mut random = Random::new(seed);
                let family = random.one_of(&Family::ALL);
                let services = world(&mut random, family);
                let fixture = services.iter().fold(Fixture::new(), |fixture, plain| {
                    fixture.with(&plain.service())
                });
                let mut tables = fixture.tables;
                tables.config.snat_ports = [SNAT_PORT, SNAT_PORT + SNAT_PORTS - 1];
                kernel.reset(&tables)?;
                for link in [pod, uplink] {
                    kernel.set_link(link, Link::default())?;
                }
                for turn in 0..PACKETS {
                    let sent = sent(&mut random, family, &services, turn);
                    let fate = expected(&services, &sent);
                    fates[match fate {
                        Fate::Untouched => 0,
                        Fate::Dropped => 1,
                        Fate::Refused => 2,
                        Fate::Forwarded(_) => 3,
                    }] += 1;
                    if let Err(error) = check(&kernel, [pod, uplink], &services, &sent) {
                        anyhow::bail!("seed {seed}: {sent:?}: {error:#}\n{services:#?}");
                    }
                }
            }
            let least = PACKETS * WORLDS as usize / 30;
            ensure!(fates.iter().all(|count| *count > least), "{fates:?}");
            Ok(())
        })
    });
}
