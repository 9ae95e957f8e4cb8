//! Many new flows at once: none that is worth keeping loses its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_common::limits::{ENTRIES_PER_EVICTABLE, FLOWS};
use lb_common::{Ip4, Ip6};
use lb_tests::datapath::{Code, Endpoint, Fixture, Kernel, Service};
use lb_tests::need;
use lb_tests::packet::{ACK, Packet, RST, SYN};
use lb_tests::topology::Family;
use lb_userspace::model::Protocol;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Loopback: where a packet is does not matter here.
const LINK: u32 = 1;
/// Flows of each family that must not be broken, a third of each kind.
const KEPT: u16 = 1_000;
/// Entries in each of the tables of a test that shall take seconds.
const SMALL: u32 = 1 << 14;
/// A flow seen for longer than two seconds is worth keeping, whatever it is.
const A_WHILE: Duration = Duration::from_millis(2_300);

/// What a flow that must not be broken is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    /// Datagrams that nobody answers.
    OneWay,
}

impl Kind {
    fn of(i: u16) -> Self {
        [Self::Tcp, Self::Udp, Self::OneWay][usize::from(i % 3)]
    }

    fn packet(self, from: SocketAddr, to: SocketAddr, flags: u8) -> Packet {
        match self {
            Self::Tcp => Packet::tcp(from, to, flags),
            Self::Udp | Self::OneWay => Packet::udp(from, to, b"tick"),
        }
    }
}

/// When a flow was there, in jiffies.
struct Seen {
    port: u16,
    created: u32,
    last: u32,
}

/// Clients of one family, the frontend that they dial and its two backends.
pub(super) struct World {
    pub(super) kernel: Kernel,
    family: Family,
}

impl World {
    pub(super) fn new(family: Family, flows: u32) -> Result<Self> {
        let mut world = Self {
            kernel: Kernel::with_flows(flows)?,
            family,
        };
        let backends = [1, 2].map(|host| Endpoint::here(world.backend(host)));
        let service = |protocol| Service::cluster_ip(protocol, world.vip(), &backends);
        let mut fixture = Fixture::new()
            .with(&service(Protocol::Tcp))
            .with(&service(Protocol::Udp));
        world.kernel.reset(&fixture.tables)?;
        fixture.tables.config.hz = world.count_hz()?;
        world.kernel.reset(&fixture.tables)?;
        Ok(world)
    }

    /// Jiffies in a second, which a flow counts.
    fn count_hz(&mut self) -> Result<u32> {
        const USUAL: [u32; 4] = [100, 250, 300, 1_000];
        let packet = Kind::OneWay.packet(self.kept(0), self.vip(), 0);
        self.send(&packet)?;
        let start = Instant::now();
        sleep(Duration::from_millis(400));
        self.send(&packet)?;
        let passed = start.elapsed().as_secs_f64();
        let flow = self.kept_flows()?.pop().context("no flow")?;
        let counted = f64::from(flow.last.wrapping_sub(flow.created)) / passed;
        let distance = |hz: &u32| (f64::from(*hz) - counted).abs();
        let nearest = USUAL
            .into_iter()
            .min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.context("no number")
    }

    /// The clients' directions of the flows that must not be broken, by port.
    fn kept_flows(&mut self) -> Result<Vec<Seen>> {
        match self.family {
            Family::V4 => self.seen::<Ip4>(),
            Family::V6 => self.seen::<Ip6>(),
        }
    }

    fn seen<A: lb_common::Family>(&mut self) -> Result<Vec<Seen>> {
        let client = self.kept(0).ip();
        let flows = self.kernel.flows::<A>()?.into_iter();
        let mut seen: Vec<_> = flows
            .filter(|(key, _)| key.source.to_ip() == client)
            .map(|(key, flow)| Seen {
                port: key.source_port,
                created: flow.created,
                last: flow.last_seen,
            })
            .collect();
        seen.sort_by_key(|flow| flow.port);
        Ok(seen)
    }

    fn address(&self, v4: [u8; 4], v6: [u16; 2]) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::from(v4).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x10, v6[0], 0, 0, 0, 0, v6[1]).into(),
        }
    }

    pub(super) fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.address([10, 43, 165, 39], [0x43, 0xa527]), 80)
    }

    fn backend(&self, host: u8) -> SocketAddr {
        SocketAddr::new(self.address([10, 42, 0, host], [0x42, host.into()]), 8_080)
    }

    /// A client of the flows that must not be broken.
    pub(super) fn kept(&self, i: u16) -> SocketAddr {
        SocketAddr::new(self.address([10, 42, 1, 1], [0x42, 0x101]), 20_000 + i)
    }

    /// A client of the flood.
    fn stranger(&self, i: u32) -> SocketAddr {
        let [_, high, low, port] = i.to_be_bytes();
        let host = u16::from_be_bytes([high, low]);
        let address = self.address([10, 128, high, low], [0x128, host]);
        SocketAddr::new(address, 1_024 + u16::from(port))
    }

    /// Gives the frontend a packet; which backend it went to, if to any.
    pub(super) fn send(&self, packet: &Packet) -> Result<Option<SocketAddr>> {
        let run = self.kernel.run("tc_pod_in", LINK, &packet.bytes())?;
        let to = |backend: &SocketAddr| packet.between(packet.source, *backend).bytes();
        let mut backends = [1, 2].map(|host| self.backend(host)).into_iter();
        Ok(match run.code {
            Code::Next => backends.find(|backend| to(backend) == run.bytes),
            Code::Drop | Code::Send => None,
        })
    }

    /// Has the backend answer; whether the client sees the frontend.
    pub(super) fn answer(&self, packet: &Packet) -> Result<bool> {
        let run = self.kernel.run("tc_pod_out", LINK, &packet.bytes())?;
        let as_vip = packet.between(self.vip(), packet.destination);
        Ok(run.code == Code::Next && run.bytes == as_vip.bytes())
    }

    /// Opens the flows that must not be broken; which backend each has.
    fn open(&self) -> Result<Vec<SocketAddr>> {
        let mut backends = Vec::new();
        for i in 0..KEPT {
            let (kind, client) = (Kind::of(i), self.kept(i));
            let backend = self.send(&kind.packet(client, self.vip(), SYN))?;
            let Some(backend) = backend else {
                anyhow::bail!("flow {i} did not begin");
            };
            if kind != Kind::OneWay {
                let answered = self.answer(&kind.packet(backend, client, SYN | ACK))?;
                ensure!(answered, "flow {i} was not answered");
            }
            backends.push(backend);
        }
        sleep(A_WHILE);
        self.keep_up(&backends)?;
        Ok(backends)
    }

    /// One packet of each flow, both ways where that is its kind.
    fn keep_up(&self, backends: &[SocketAddr]) -> Result<()> {
        for (i, backend) in (0..KEPT).zip(backends) {
            let (kind, client) = (Kind::of(i), self.kept(i));
            let sent = self.send(&kind.packet(client, self.vip(), ACK))?;
            ensure!(sent == Some(*backend), "{kind:?} flow {i}: {sent:?}");
            if kind != Kind::OneWay {
                let answered = self.answer(&kind.packet(*backend, client, ACK))?;
                ensure!(answered, "{kind:?} flow {i} was not answered");
            }
        }
        Ok(())
    }

    /// Opens a flow as the `i`th stranger; false if it was dropped.
    fn flood(&self, i: u32) -> Result<bool> {
        let (client, vip) = (self.stranger(i), self.vip());
        let kind = [Kind::Tcp, Kind::OneWay][(i % 2) as usize];
        let Some(backend) = self.send(&kind.packet(client, vip, SYN))? else {
            return Ok(false);
        };
        // Some get as far as an answer, and some are opened and closed.
        if i.is_multiple_of(4) {
            self.answer(&kind.packet(backend, client, SYN | ACK))?;
        }
        if i.is_multiple_of(8) {
            self.send(&kind.packet(client, vip, ACK))?;
            self.send(&kind.packet(client, vip, RST | ACK))?;
        }
        Ok(true)
    }
}

/// How long, and how hard.
struct Flood {
    family: Family,
    /// Entries in the table.
    flows: u32,
    /// The flood goes on for so long, and until as many flows began as twice the table's entries.
    lasts: Duration,
    /// Within this time, or the test shows nothing.
    at_most: Duration,
    /// A flow that must not be broken has a packet so often.
    every: Duration,
}

impl Flood {
    /// Every CPU opens flows as fast as it can, and none that was there is broken.
    fn check(&self) -> Result<()> {
        need::root();
        let mut world = World::new(self.family, self.flows)?;
        let backends = world.open()?;
        let before = world.kept_flows()?;
        let cpus = cpus()?;
        let (begun, over, start) = (AtomicU32::new(0), AtomicBool::new(false), Instant::now());
        let kept = thread::scope(|scope| {
            let world = &world;
            let flood = |cpu| {
                stay_on(cpu)?;
                while !over.load(Ordering::Relaxed) {
                    let i = begun.fetch_add(1, Ordering::Relaxed);
                    ensure!(world.flood(i)?, "flow {i} of the flood was dropped");
                }
                Ok(())
            };
            let flooding: Vec<_> = (cpus.iter())
                .map(|&cpu| scope.spawn(move || flood(cpu)))
                .collect();
            let is_enough = || {
                let all = begun.load(Ordering::Relaxed) >= 2 * self.flows;
                all && start.elapsed() >= self.lasts
            };
            let kept = loop {
                sleep(self.every);
                let kept = world.keep_up(&backends);
                if kept.is_err() || is_enough() || start.elapsed() > self.at_most {
                    break kept;
                }
            };
            over.store(true, Ordering::Relaxed);
            for cpu in flooding {
                cpu.join().expect("a flood does not panic")?;
            }
            kept.and_then(|()| world.keep_up(&backends))
        });
        let (begun, took) = (begun.into_inner(), start.elapsed());
        println!(
            "{}: {begun} flows began on {} CPUs in {took:?} in a table of {} entries",
            self.family,
            cpus.len(),
            self.flows
        );
        kept?;
        let beginnings = |flows: &[Seen]| {
            let flows = flows.iter().map(|flow| (flow.port, flow.created));
            flows.collect::<Vec<_>>()
        };
        ensure!(before.len() == usize::from(KEPT));
        let after = world.kept_flows()?;
        ensure!(beginnings(&after) == beginnings(&before), "some began anew");
        ensure!(begun >= 2 * self.flows, "only so many in {took:?}");
        println!("{}: {KEPT} others went on", self.family);
        Ok(())
    }
}

/// The CPUs that this process may run on.
fn cpus() -> Result<Vec<usize>> {
    let ours = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| ours.is_set(cpu).unwrap_or_default())
        .collect())
}

/// A program runs on the CPU of the thread that asks for it.
fn stay_on(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &only).context("pinning the thread to a CPU")
}

#[test]
fn a_flood_of_new_flows_on_all_cpus_breaks_none_that_is_there() -> Result<()> {
    for family in Family::ALL {
        Flood {
            family,
            flows: SMALL,
            lasts: Duration::ZERO,
            // Busy machines take half a minute.
            at_most: Duration::from_mins(4),
            every: Duration::from_millis(200),
        }
        .check()?;
    }
    Ok(())
}

/// As above with the tables' usual size, a packet every five seconds, for a minute or longer.
#[test]
#[ignore = "keeps all CPUs busy for two minutes, in which other tests would be late: run it alone"]
fn a_flood_of_new_flows_on_all_cpus_breaks_none_in_a_table_of_full_size() -> Result<()> {
    for family in Family::ALL {
        Flood {
            family,
            flows: FLOWS,
            lasts: Duration::from_mins(1),
            at_most: Duration::from_mins(10),
            every: Duration::from_secs(5),
        }
        .check()?;
    }
    Ok(())
}

/// A table full of flows worth keeping takes no other, says so, and breaks none.
#[test]
fn a_full_table_refuses_new_flows_and_counts_them() -> Result<()> {
    need::root();
    let mut world = World::new(Family::V4, 256)?;
    let mut begun = Vec::new();
    for i in 0..1_000 {
        let (client, vip) = (world.stranger(i), world.vip());
        let Some(backend) = world.send(&Packet::tcp(client, vip, SYN))? else {
            continue;
        };
        world.answer(&Packet::tcp(backend, client, SYN | ACK))?;
        world.send(&Packet::tcp(client, vip, ACK))?;
        begun.push((client, backend));
    }
    // Both directions, less what the kernel holds back per CPU.
    ensure!((64..=128).contains(&begun.len()), "{} flows", begun.len());
    for (client, backend) in &begun {
        let sent = world.send(&Packet::tcp(*client, world.vip(), ACK))?;
        ensure!(sent == Some(*backend), "{client}: {sent:?}");
    }
    let refused = 1_000 - begun.len() as u64;
    let drops = world.kernel.drops()?;
    let expected = [("tc flow-table-full".to_owned(), refused)].into();
    ensure!(drops == expected, "{drops:?} instead of {expected:?}");
    Ok(())
}

/// A client that uses its ports again soon leaves its earlier flows' places in the queue: what goes
/// by them is not the new one.
#[test]
fn a_flow_that_begins_anew_does_not_go_in_place_of_the_one_before() -> Result<()> {
    const PLACES: u32 = 256 / ENTRIES_PER_EVICTABLE;
    need::root();
    for family in Family::ALL {
        let world = World::new(family, 256)?;
        let (client, vip) = (world.kept(0), world.vip());
        let crowd = |strangers: std::ops::Range<u32>| {
            for i in strangers {
                world.send(&Packet::tcp(world.stranger(i), vip, SYN))?;
            }
            anyhow::Ok(())
        };
        world.send(&Packet::tcp(client, vip, SYN))?;
        // Its beginning and its end have a place each.
        world.send(&Packet::tcp(client, vip, RST))?;
        // Longer than a jiffy.
        sleep(Duration::from_millis(30));
        let backend = world.send(&Packet::tcp(client, vip, SYN))?;
        let backend = backend.context("it did not begin anew")?;
        // Those two go, and the next would be its own.
        crowd(0..PLACES - 1)?;
        let answered = world.answer(&Packet::tcp(backend, client, SYN | ACK))?;
        ensure!(answered, "{family}: it went in place of the one before");
        crowd(PLACES..2 * PLACES)?;
        let answered = world.answer(&Packet::tcp(backend, client, SYN | ACK))?;
        ensure!(!answered, "{family}: a flow that only began is still there");
    }
    Ok(())
}
