//! Many new flows at once: none that is worth keeping loses its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_common::limits::FLOWS;
use lb_tests::datapath::{Code, Endpoint, Fixture, Kernel, Service};
use lb_tests::need;
use lb_tests::packet::{ACK, Packet, RST, SYN};
use lb_tests::topology::Family;
use lb_userspace::model::Protocol;

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

/// Clients of one family, the frontend that they dial and its two backends.
struct World {
    kernel: Kernel,
    family: Family,
}

impl World {
    fn new(family: Family, flows: u32) -> Result<Self> {
        let mut world = Self {
            kernel: Kernel::with_flows(flows)?,
            family,
        };
        let backends = [1, 2].map(|host| Endpoint::here(world.backend(host)));
        let service = |protocol| Service::cluster_ip(protocol, world.vip(), &backends);
        let fixture = Fixture::new()
            .with(&service(Protocol::Tcp))
            .with(&service(Protocol::Udp));
        world.kernel.reset(&fixture.tables)?;
        Ok(world)
    }

    fn address(&self, v4: [u8; 4], v6: [u16; 2]) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::from(v4).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x10, v6[0], 0, 0, 0, 0, v6[1]).into(),
        }
    }

    fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.address([10, 43, 165, 39], [0x43, 0xa527]), 80)
    }

    fn backend(&self, host: u8) -> SocketAddr {
        SocketAddr::new(self.address([10, 42, 0, host], [0x42, host.into()]), 8_080)
    }

    /// A client of the flows that must not be broken.
    fn kept(&self, i: u16) -> SocketAddr {
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
    fn send(&self, packet: &Packet) -> Result<Option<SocketAddr>> {
        let run = self.kernel.run("tc_pod_in", LINK, &packet.bytes())?;
        let to = |backend: &SocketAddr| packet.between(packet.source, *backend).bytes();
        let mut backends = [1, 2].map(|host| self.backend(host)).into_iter();
        Ok(match run.code {
            Code::Next => backends.find(|backend| to(backend) == run.bytes),
            Code::Drop | Code::Send => None,
        })
    }

    /// Has the backend answer; whether the client sees the frontend.
    fn answer(&self, packet: &Packet) -> Result<bool> {
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

/// So many flows begin as twice the table's entries, at most for that long, and no flow that was
/// there is broken; `every` so often it sends a packet.
fn check(family: Family, flows: u32, at_most: Duration, every: Duration) -> Result<()> {
    need::root();
    let world = World::new(family, flows)?;
    let backends = world.open()?;
    let (start, mut last, mut begun) = (Instant::now(), Instant::now(), 0);
    while begun < 2 * flows && start.elapsed() < at_most {
        ensure!(world.flood(begun)?, "flow {begun} of the flood was dropped");
        begun += 1;
        if last.elapsed() >= every {
            world.keep_up(&backends)?;
            last = Instant::now();
        }
    }
    ensure!(
        begun == 2 * flows,
        "only {begun} flows began in {at_most:?}"
    );
    world.keep_up(&backends)?;
    println!(
        "{family}: {begun} flows began in {:?} in a table of {flows} entries; {KEPT} others went on",
        start.elapsed()
    );
    Ok(())
}

#[test]
fn a_flood_of_new_flows_breaks_none_that_is_there() -> Result<()> {
    for family in Family::ALL {
        check(
            family,
            SMALL,
            Duration::from_mins(1),
            Duration::from_secs(1),
        )?;
    }
    Ok(())
}

/// As above with the tables' usual size, a packet every five seconds, for a minute or longer.
#[test]
#[ignore = "takes minutes: run it by hand"]
fn a_flood_of_new_flows_breaks_none_in_a_table_of_full_size() -> Result<()> {
    for family in Family::ALL {
        check(
            family,
            FLOWS,
            Duration::from_mins(10),
            Duration::from_secs(5),
        )?;
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
