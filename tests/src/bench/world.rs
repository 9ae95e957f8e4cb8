//! What is in the maps while packets are timed? A cluster of 10,000 Services, planned as the daemon
//! would, and other people's flows.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_common::flow;
use lb_common::layout::{Flow, FlowKey, LINK_POD, LINK_UPLINK, LINK_XDP, Link};
use lb_userspace::model::{
    Change, Endpoint, Node, ObjectName, Protocol, Service, ServiceKind, ServicePort, Slice,
    SlicePort, TargetPort,
};
use lb_userspace::plan::{CompleteList, ConfigBase, Planner};
use lb_userspace::tables::{Capacities, PerFamily, Tables};

use crate::netns::Netns;
use crate::topology::addresses::PODS;
use crate::topology::{Family, addresses};

/// Services that have endpoints; where there are more, the others only fill the maps of frontends.
const SERVED: u16 = 10_000;
/// Endpoints of each.
const ENDPOINTS: u16 = 5;
/// Flows of other clients; each has two entries.
pub(super) const FLOWS: u32 = 32_768;
/// What every Service listens on.
const PORT: u16 = 80;
/// What every endpoint listens on.
const TARGET_PORT: u16 = 8_080;
/// Where the first Service is served on the node's address; the second one at the next port.
const NODE_PORT: u16 = 30_080;
/// Whom the routes lead to, and who we are there.
pub(super) const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
/// The uplink's own link-layer address.
pub(super) const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
/// The link by which packets leave.
const UPLINK: &str = "uplink";
/// A name for this node.
const NODE: &str = "here";

/// What clients of the first Service dial inside the cluster, by TCP or UDP.
pub(super) fn cluster_ip(family: Family) -> SocketAddr {
    SocketAddr::new(service(0, family), PORT)
}

/// What they dial outside.
pub(super) fn node_port(family: Family) -> SocketAddr {
    SocketAddr::new(addresses::node(0).of(family), NODE_PORT)
}

/// What clients outside of the second Service dial, whose endpoints are on another node.
pub(super) fn remote_node_port(family: Family) -> SocketAddr {
    SocketAddr::new(addresses::node(0).of(family), NODE_PORT + 1)
}

/// The endpoints of the first Service, all on this node.
pub(super) fn backends(family: Family) -> Vec<SocketAddr> {
    let addresses = (0..ENDPOINTS).map(|i| endpoint(0, i, family));
    addresses
        .map(|address| SocketAddr::new(address, TARGET_PORT))
        .collect()
}

/// An endpoint of another Service, on another node.
pub(super) fn other_backend(family: Family) -> SocketAddr {
    SocketAddr::new(endpoint(1, 0, family), TARGET_PORT)
}

fn service(i: u16, family: Family) -> IpAddr {
    let [high, low] = (i + 1).to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, 96, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x43, 0, 0, 0, 0, i + 1).into(),
    }
}

fn endpoint(service: u16, i: u16, family: Family) -> IpAddr {
    let [high, low] = (service * ENDPOINTS + i + 1).to_be_bytes();
    // The first Service's are this node's pods.
    match family {
        Family::V4 => Ipv4Addr::new(10, 42, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x10, 0x42, high.into(), 0, 0, 0, low.into()).into(),
    }
}

/// The maps' sizes: the default ones, or larger where so many Services need it.
pub(super) fn room(services: u16) -> Capacities {
    let mut room = Capacities::default();
    let frontends = (u32::from(services) * 2 + 8).next_power_of_two();
    for family in [&mut room.v4, &mut room.v6] {
        family.frontends = family.frontends.max(frontends);
        family.info = family.info.max(frontends + frontends / 2);
    }
    room
}

/// The tables with so many Services, and that each is in them: it has two entries in the map of frontends, its
/// port and the address itself.
pub(super) fn tables(services: u16) -> Result<Tables> {
    let base = ConfigBase {
        hash_key: 0x5eed_5eed_5eed_5eed,
        snat_ports: [1_024, 29_999],
        hz: 1_000,
        node4: address(addresses::node(0).of(Family::V4))?,
        node6: address(addresses::node(0).of(Family::V6))?,
        takeover: false,
        standby: false,
    };
    let mut planner = Planner::adopt(base, room(services), Tables::default(), 0);
    let mut everything = vec![Change::Node(node())];
    for i in 0..services {
        let name = ObjectName::new("bench", format!("service-{i}"));
        everything.push(Change::Service(
            name.clone(),
            Some(service_object(i).into()),
        ));
        for family in Family::ALL.into_iter().filter(|_| i < SERVED) {
            let slice_name = ObjectName::new("bench", format!("service-{i}-{family}"));
            everything.push(Change::Slice(
                slice_name,
                Some(slice(&name, i, family).into()),
            ));
        }
    }
    planner.complete(CompleteList(everything), 0);
    let problems = planner.problems();
    ensure!(problems.is_empty(), "the bench's Services: {problems:?}");
    let tables = planner.tables().clone();
    let count = tables.v4.frontends.len();
    ensure!(
        count > usize::from(services) * 2,
        "only {count} frontends are planned"
    );
    Ok(tables)
}

fn node() -> Node {
    let here = addresses::node(0);
    let own: BTreeSet<IpAddr> = Family::ALL.map(|family| here.of(family)).into();
    let parse = |network: &str| network.parse().expect("networks are written well");
    Node {
        name: NODE.to_owned(),
        node_port_addresses: own.clone(),
        addresses: own,
        pod_cidrs: addresses::PODS.map(parse).to_vec(),
        service_cidrs: addresses::SERVICES.map(parse).to_vec(),
        ..Node::default()
    }
}

fn service_object(i: u16) -> Service {
    let node_port = (i < 2).then(|| NODE_PORT + i);
    Service {
        kind: if node_port.is_some() {
            ServiceKind::NodePort
        } else {
            ServiceKind::ClusterIp
        },
        cluster_ips: Family::ALL.map(|family| service(i, family)).to_vec(),
        ports: protocols(i)
            .iter()
            .map(|&protocol| ServicePort {
                name: protocol.to_string(),
                protocol,
                port: PORT,
                node_port: node_port.filter(|_| protocol == Protocol::Tcp),
                target_port: TargetPort::Number(TARGET_PORT),
            })
            .collect(),
        ..Service::default()
    }
}

/// The first Service serves UDP too.
const fn protocols(i: u16) -> &'static [Protocol] {
    if i == 0 {
        &[Protocol::Tcp, Protocol::Udp]
    } else {
        &[Protocol::Tcp]
    }
}

fn slice(service: &ObjectName, i: u16, family: Family) -> Slice {
    let node = if i == 0 { NODE } else { "elsewhere" };
    let endpoint = |k| Endpoint {
        node: Some(node.into()),
        ..Endpoint::at(endpoint(i, k, family))
    };
    Slice {
        service: service.clone(),
        ports: protocols(i)
            .iter()
            .map(|&protocol| SlicePort {
                name: protocol.to_string(),
                protocol,
                port: Some(TARGET_PORT),
            })
            .collect(),
        endpoints: (0..ENDPOINTS).map(endpoint).collect(),
    }
}

/// The address in the maps' form.
pub(super) fn address<A: lb_common::Family>(ip: IpAddr) -> Result<A> {
    A::from_ip(ip).with_context(|| format!("{ip} is of the other family"))
}

/// Gives the namespace an uplink, and routes to other nodes' pods and to clients outside by neighbours
/// that are known. Nobody is there. Returns the link's index.
pub(super) fn make_uplink(netns: &Netns) -> Result<u32> {
    let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    let mut commands = format!(
        "link add {UPLINK} address {} type veth peer name far\nlink set far up\nlink set {UPLINK} up\n",
        mac(OWN)
    );
    let here = addresses::node(0);
    let neighbour = addresses::router();
    let outside = addresses::outside(0);
    for (family, pods, bits) in [(Family::V4, PODS[0], 24), (Family::V6, PODS[1], 64)] {
        let [here, neighbour, outside] = [here, neighbour, outside].map(|pair| pair.of(family));
        writeln!(commands, "address add {here}/{bits} dev {UPLINK}")?;
        writeln!(
            commands,
            "neigh replace {neighbour} lladdr {} dev {UPLINK} nud permanent",
            mac(NEIGHBOUR)
        )?;
        for network in [pods.to_owned(), format!("{outside}/{bits}")] {
            writeln!(commands, "route add {network} via {neighbour} dev {UPLINK}")?;
        }
    }
    netns.ip(&commands)?;
    netns.sysctl("net.ipv4.ip_forward", "1")?;
    netns.sysctl("net.ipv6.conf.all.forwarding", "1")?;
    netns.run(|| nix::net::if_::if_nametoindex(UPLINK).context("the uplink was just made"))
}

/// The uplink, which sends what XDP redirects to it.
pub(super) fn uplink() -> Link {
    Link {
        mtu: 1_500,
        flags: LINK_UPLINK | LINK_XDP,
        ..Link::default()
    }
}

/// The link that packets are at: a pod's, of no bridge.
pub(super) fn link() -> Link {
    Link {
        mtu: 1_500,
        flags: LINK_POD,
        ..Link::default()
    }
}

/// The entries of so many flows between others, both directions.
pub(super) fn strangers<A: PerFamily>(
    count: u32,
    family: Family,
) -> impl Iterator<Item = (FlowKey<A>, Flow<A>)> {
    let to = |ip| address::<A>(ip).expect("asked for with its own family");
    let backend = other_backend(family);
    (0..count).flat_map(move |i| {
        let client = to(stranger(i / 1_000, family));
        let port = 1_024 + (i % 1_000) as u16;
        let frontend = to(service(1 + (i % 1_000) as u16, family));
        let key = tcp_key((client, port), (frontend, PORT));
        let flow = Flow {
            source: client,
            source_port: port,
            destination: to(backend.ip()),
            destination_port: backend.port(),
            ..Flow::default()
        };
        let reply = (flow::mirror_key(&key, &flow), flow::mirror(&key, &flow));
        iter::once((key, flow)).chain(iter::once(reply))
    })
}

fn stranger(i: u32, family: Family) -> IpAddr {
    let [_, _, high, low] = i.to_be_bytes();
    match family {
        Family::V4 => Ipv4Addr::new(10, 128, high, low).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0x128, 0, 0, 0, 0, high.into(), low.into()).into(),
    }
}

/// The key of TCP packets from here to there.
pub(super) fn tcp_key<A: lb_common::Family>(from: (A, u16), to: (A, u16)) -> FlowKey<A> {
    FlowKey {
        source: from.0,
        destination: to.0,
        source_port: from.1,
        destination_port: to.1,
        protocol: Protocol::Tcp.number(),
        ..FlowKey::default()
    }
}
