//! Which packets pass unread, and from when until when? None that concerns us: not while what they go
//! to comes or goes, and not while a flow of theirs is left.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lb_common::layout::Link;
use lb_common::{Family as _, Ip4};
use lb_tests::datapath::{Code, Kernel};
use lb_tests::packet::{ACK, Packet, SYN};
use lb_tests::{leftovers, need};
use lb_userspace::dataplane::kernel::KernelTables;
use lb_userspace::model::{
    Change, Endpoint, Node, ObjectName, Protocol, Service, ServicePort, Slice, SlicePort,
    TargetPort,
};
use lb_userspace::plan::{CompleteList, ConfigBase};
use lb_userspace::reconcile::Reconciler;

/// Loopback: where a packet is does not matter here.
const LINK: u32 = 1;
/// More than what is gone may still be read.
const LATER: u64 = 10_000;

/// In no `ServiceCIDR`, so that it is held for its marks alone.
fn vip() -> SocketAddr {
    "10.43.165.39:80".parse().expect("an address")
}

fn backend() -> SocketAddr {
    "10.42.0.9:8080".parse().expect("an address")
}

fn client() -> SocketAddr {
    "10.42.0.7:40000".parse().expect("an address")
}

fn kubia() -> ObjectName {
    ObjectName::new("default", "kubia")
}

fn everything() -> Vec<Change> {
    let port = ServicePort {
        name: String::new(),
        protocol: Protocol::Tcp,
        port: vip().port(),
        node_port: None,
        target_port: TargetPort::Number(backend().port()),
    };
    let service = Service {
        cluster_ips: vec![vip().ip()],
        ports: vec![port],
        ..Service::default()
    };
    let slice = Slice {
        service: kubia(),
        ports: vec![SlicePort {
            port: Some(backend().port()),
            ..SlicePort::default()
        }],
        endpoints: vec![Endpoint::at(backend().ip())],
    };
    vec![
        Change::Node(Node::default()),
        Change::Service(kubia(), Some(service.into())),
        Change::Slice(ObjectName::new("default", "kubia-1"), Some(slice.into())),
    ]
}

/// The programs, and whoever writes their maps.
struct Stage {
    kernel: Kernel,
    reconciler: Reconciler<KernelTables>,
    _pins: leftovers::Guard,
}

impl Stage {
    fn new(name: &str) -> Result<Self> {
        need::root();
        let pins = leftovers::pin_dir(name)?;
        let mut kernel = Kernel::load()?;
        let base = ConfigBase {
            hash_key: 1,
            snat_ports: [1_024, 2_047],
            hz: 250,
            node4: Ip4::new(192, 0, 2, 10),
            ..ConfigBase::default()
        };
        let mut reconciler = Reconciler::adopt(kernel.pin(pins.path())?, base, 0)?;
        reconciler.complete(CompleteList(everything()), 0);
        let problems = reconciler.problems();
        ensure!(problems.is_empty(), "{problems:?}");
        Ok(Self {
            kernel,
            reconciler,
            _pins: pins,
        })
    }

    fn begin(&self) {
        let tables = self.reconciler.dataplane();
        let planned = self.reconciler.planner().tables();
        tables.v4.begin_walk(planned, &[]);
    }

    /// A walk over all flows, as the daemon's sweep does it.
    fn walk(&self) -> Result<()> {
        self.begin();
        let maps = &self.reconciler.dataplane().v4;
        maps.walked_by(&maps.flows(usize::MAX)?);
        maps.end_walk();
        Ok(())
    }

    /// The Service goes, and what is left of it a while later.
    fn remove_service(&mut self) {
        let gone = vec![Change::Service(kubia(), None)];
        self.reconciler.apply(gone, LATER);
        self.reconciler.tick(2 * LATER);
    }

    fn forget_flows(&self) -> Result<()> {
        let maps = &self.reconciler.dataplane().v4;
        for (key, _) in maps.flows(usize::MAX)? {
            maps.delete_flow(&key)?;
        }
        Ok(())
    }

    /// Whether the packet comes out as it went in.
    fn passes(&self, packet: &Packet) -> Result<bool> {
        let before = packet.bytes();
        let run = self.kernel.run("tc_pod_in", LINK, &before)?;
        Ok(run.code == Code::Next && run.bytes == before)
    }

    fn holds(&self, to: SocketAddr) -> bool {
        let sieve = self.reconciler.dataplane().v4.sieve();
        sieve.holds(&address(to), to.port())
    }

    fn is_in_force(&self) -> bool {
        self.reconciler.dataplane().v4.sieve().is_in_force()
    }
}

fn address(of: SocketAddr) -> Ip4 {
    Ip4::from_ip(of.ip()).expect("an address of IPv4")
}

fn syn() -> Packet {
    Packet::tcp(client(), vip(), SYN)
}

fn ack() -> Packet {
    Packet::tcp(client(), vip(), ACK)
}

#[test]
fn a_flow_that_outlives_its_frontend_is_found_and_its_marks_go_with_it() -> Result<()> {
    let mut stage = Stage::new("sieve-outlived")?;
    ensure!(!stage.is_in_force(), "before anybody has walked");
    ensure!(!stage.passes(&syn())?, "the Service is not there");
    stage.walk()?;
    ensure!(stage.is_in_force());
    ensure!(stage.holds(vip()) && stage.holds(backend()));
    let elsewhere = "10.43.165.40:80".parse()?;
    ensure!(!stage.holds(elsewhere), "what is nobody's is looked at");

    stage.remove_service();
    ensure!(stage.holds(vip()) && stage.holds(backend()), "gone at once");
    stage.walk()?;
    ensure!(stage.holds(vip()) && stage.holds(backend()), "with a flow");
    ensure!(!stage.passes(&ack())?, "the flow was not found");

    // What the sieve does: nobody saw the flow, so nobody finds it.
    stage.begin();
    stage.reconciler.dataplane().v4.end_walk();
    ensure!(!stage.holds(vip()) && !stage.holds(backend()));
    ensure!(stage.passes(&ack())?, "it was looked at");

    stage.forget_flows()?;
    stage.walk()?;
    ensure!(!stage.holds(vip()) && stage.passes(&syn())?);
    Ok(())
}

#[test]
fn what_comes_while_a_walk_is_under_way_stays_marked() -> Result<()> {
    let mut stage = Stage::new("sieve-meanwhile")?;
    stage.remove_service();
    stage.begin();
    let mut back = everything();
    back.drain(..1);
    stage.reconciler.apply(back, 3 * LATER);
    stage.reconciler.dataplane().v4.end_walk();
    ensure!(stage.is_in_force() && stage.holds(vip()) && stage.holds(backend()));
    ensure!(!stage.passes(&syn())?, "the Service is back");

    // It begins with the Service, which goes while the walk is past its flow.
    stage.begin();
    stage.remove_service();
    stage.reconciler.dataplane().v4.end_walk();
    ensure!(stage.holds(vip()) && !stage.passes(&ack())?, "the flow");
    Ok(())
}

/// A flow or link that somebody else writes may be where the walk has passed already.
#[test]
fn what_others_write_has_every_packet_looked_at_until_a_later_walk() -> Result<()> {
    let mut stage = Stage::new("sieve-others")?;
    ensure!(!stage.passes(&syn())?, "the Service is not there");
    stage.remove_service();
    let maps = &stage.reconciler.dataplane().v4;
    let (key, flow) = maps.flows(usize::MAX)?[0];
    stage.walk()?;
    stage.begin();
    maps.set_flow(&key, &flow)?;
    maps.end_walk();
    ensure!(!stage.is_in_force(), "the walk may have missed it");
    stage.walk()?;
    ensure!(stage.is_in_force() && stage.holds(vip()));

    let (link, address4) = (7, Ip4::new(192, 0, 2, 77));
    let snat = SocketAddr::new(address4.to_ip(), 1_500);
    ensure!(!stage.holds(snat));
    let uplink = Link {
        address4,
        ..Link::default()
    };
    let tables = stage.reconciler.dataplane();
    tables.set_link(link, Some(&uplink))?;
    ensure!(!stage.is_in_force() && tables.v4.sieve().marked() > 0);
    tables
        .v4
        .begin_walk(stage.reconciler.planner().tables(), &tables.links()?);
    tables.v4.end_walk();
    ensure!(stage.is_in_force() && stage.holds(snat), "replies to SNAT");
    let node = SocketAddr::new(Ip4::new(192, 0, 2, 10).to_ip(), 1_500);
    ensure!(stage.holds(node), "replies to SNAT by the node's address");
    Ok(())
}

/// Another range of ports, or another `ServiceCIDR`: marks mean something else.
#[test]
fn another_configuration_has_every_packet_looked_at_until_a_walk() -> Result<()> {
    let mut stage = Stage::new("sieve-configured")?;
    stage.walk()?;
    let unallocated = "10.200.0.1:80".parse()?;
    ensure!(!stage.holds(unallocated));
    let node = Node {
        service_cidrs: vec!["10.200.0.0/16".parse()?],
        ..Node::default()
    };
    stage.reconciler.apply(vec![Change::Node(node)], LATER);
    ensure!(!stage.is_in_force() && stage.holds(unallocated));
    ensure!(stage.passes(&Packet::tcp(client(), vip(), SYN))? == false);
    stage.walk()?;
    ensure!(stage.is_in_force() && stage.holds(unallocated));
    let dropped = Packet::tcp(client(), unallocated, SYN).bytes();
    let run = stage.kernel.run("tc_pod_in", LINK, &dropped)?;
    ensure!(run.code == Code::Drop, "{:?}", run.code);
    Ok(())
}
