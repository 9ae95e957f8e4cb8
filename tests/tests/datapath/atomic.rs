//! While a Service changes as fast as it can be written, each packet sees it before or after a
//! change, never between.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::datapath::{Code, Kernel};
use lb_tests::packet::{Packet, SYN};
use lb_tests::{leftovers, need};
use lb_userspace::dataplane::kernel::KernelTables;
use lb_userspace::model::{
    Change, Endpoint, Node, ObjectName, Protocol, Service, ServicePort, Slice, SlicePort,
    TargetPort,
};
use lb_userspace::plan::{CompleteList, ConfigBase};
use lb_userspace::reconcile::Reconciler;

/// How long packets and changes race.
const RACE: Duration = Duration::from_secs(3);
/// Fewer changes than this in that time would prove little.
const CHANGES_AT_LEAST: u32 = 200;

const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 43, 165, 39)), 80);
/// Loopback: where a packet is does not matter here.
const LINK: u32 = 1;
/// Where the destination address and port are in an Ethernet frame without IP options.
const DESTINATION: usize = 14 + 16;
const DESTINATION_PORT: usize = 14 + 20 + 2;

fn kubia() -> ObjectName {
    ObjectName::new("default", "kubia")
}

fn service() -> Change {
    let port = ServicePort {
        name: String::new(),
        protocol: Protocol::Tcp,
        port: VIP.port(),
        node_port: None,
        target_port: TargetPort::Number(8_080),
    };
    let service = Service {
        cluster_ips: vec![VIP.ip()],
        ports: vec![port],
        ..Service::default()
    };
    Change::Service(kubia(), Some(service.into()))
}

/// The Service's endpoints in one of two states that share nothing: other addresses, another port,
/// another number of them.
fn endpoints(state: u8) -> Change {
    let endpoint = |host| Endpoint::at([10, 42, state, host].into());
    let slice = Slice {
        service: kubia(),
        ports: vec![SlicePort {
            port: Some(8_080 + u16::from(state)),
            ..SlicePort::default()
        }],
        endpoints: (1..=3 + state).map(endpoint).collect(),
    };
    Change::Slice(ObjectName::new("default", "kubia-1"), Some(slice.into()))
}

/// Changes the Service to and fro until told to stop; how often it did.
fn keep_changing(mut reconciler: Reconciler<KernelTables>, stop: &AtomicBool) -> Result<u32> {
    let start = Instant::now();
    let mut changes = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let now = u64::try_from(start.elapsed().as_millis())?;
        reconciler.apply(vec![endpoints(changes.is_multiple_of(2).into())], now);
        reconciler.tick(now);
        changes += 1;
        let problems = reconciler.problems();
        ensure!(problems.is_empty(), "after {changes} changes: {problems:?}");
    }
    Ok(changes)
}

/// Sends one SYN after another and checks that each gets a backend of either state, whole.
fn keep_dialling(kernel: &Kernel) -> Result<u32> {
    let start = Instant::now();
    let mut packets = 0_u32;
    while start.elapsed() < RACE {
        packets += 1;
        let [_, _, high, low] = packets.to_be_bytes();
        let source = Ipv4Addr::new(10, 42, 9, high);
        let source = SocketAddr::new(source.into(), 1_024 + u16::from(low));
        let run = kernel.run("tc_pod_in", LINK, &Packet::tcp(source, VIP, SYN).bytes())?;
        let address = run
            .bytes
            .get(DESTINATION..DESTINATION + 4)
            .context("cut off")?;
        let port =
            u16::from_be_bytes([run.bytes[DESTINATION_PORT], run.bytes[DESTINATION_PORT + 1]]);
        let is_whole = [0_u8, 1].iter().any(|state| {
            address[..3] == [10, 42, *state]
                && (1..=3 + state).contains(&address[3])
                && port == 8_080 + u16::from(*state)
        });
        ensure!(
            run.code == Code::Next && is_whole,
            "packet {packets}: {:?}, sent to {address:?} port {port}",
            run.code
        );
    }
    Ok(packets)
}

#[test]
fn every_packet_sees_the_service_before_or_after_a_change() -> Result<()> {
    need::root();
    let pins = leftovers::pin_dir("atomic")?;
    let mut kernel = Kernel::load()?;
    let base = ConfigBase {
        hash_key: 1,
        snat_ports: [1_024, 2_047],
        hz: 250,
        ..ConfigBase::default()
    };
    let mut reconciler = Reconciler::adopt(kernel.pin(pins.path())?, base, 0)?;
    let everything = vec![Change::Node(Node::default()), service(), endpoints(0)];
    reconciler.complete(CompleteList(everything), 0);
    let maps = &reconciler.dataplane().v4;
    maps.begin_walk(reconciler.planner().tables(), &[]);
    maps.end_walk();
    ensure!(
        maps.sieve().is_in_force(),
        "every packet is looked at, wanted or not"
    );
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| keep_changing(reconciler, &stop));
        let packets = keep_dialling(&kernel);
        stop.store(true, Ordering::Relaxed);
        let changes = writer.join().expect("the writer does not panic")?;
        let packets = packets?;
        println!("{packets} packets, {changes} changes");
        ensure!(changes >= CHANGES_AT_LEAST, "only {changes} changes");
        Ok(())
    })
}
