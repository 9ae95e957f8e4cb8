//! Where are rows run, and how do they fail? With every difference, in bytes.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use lb_common::drops::Hook;
use lb_common::layout::{FLOW_REPLY, Flow, FlowKey, LINK_POD, LINK_UPLINK, LINK_XDP, Link};
use lb_common::{Ip4, Ip6};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use super::fixture::family;
use super::kernel::{Code, Kernel, LOOPBACK};
use super::maps::Drops;
use super::row::{At, Fate, FlowPair, Row};
use crate::packet::Packet;
use crate::topology::{Cluster, Family, POD_LINK, Place, UPLINK};

/// Where rows are run: the programs in this node of a topology.
pub struct Bench<'c> {
    cluster: &'c Cluster,
    kernel: Kernel,
    uplink: u32,
    pods: Vec<(u8, u32)>,
}

/// Link-layer addresses that the other node and the router are known by.
const NEIGHBOURS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0xb], [2, 0, 0, 0, 0, 0xc]];
/// The uplink's own.
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
/// Where no route leads.
const NOWHERE: [&str; 2] = ["192.0.2.0/24", "2001:db8:dead::/48"];
/// What fits into an Ethernet frame.
const MTU: u32 = 1_500;

impl<'c> Bench<'c> {
    /// Loads the programs and gives the node pods whose addresses end so.
    ///
    /// # Errors
    /// There is no BPF object, or the kernel refuses.
    pub fn new(cluster: &'c Cluster, pods: &[u8]) -> Result<Self> {
        stay_on_this_cpu()?;
        let node = cluster.here();
        for host in pods {
            node.pod_at(*host, &format!("pod-{host}"))?;
        }
        let [elsewhere, router] = NEIGHBOURS.map(show_mac);
        let mut batch = format!("link set {UPLINK} address {}\n", show_mac(OWN));
        for family in Family::ALL {
            for (place, mac) in [
                (cluster.elsewhere().place(), &elsewhere),
                (cluster.router(), &router),
            ] {
                let address = place.address(family);
                writeln!(
                    batch,
                    "neigh replace {address} lladdr {mac} dev {UPLINK} nud permanent"
                )?;
            }
        }
        for nowhere in NOWHERE {
            writeln!(batch, "route add unreachable {nowhere}")?;
        }
        node.place().netns().ip(&batch)?;
        let kernel = node.place().netns().run(|| {
            let mut kernel = Kernel::load()?;
            kernel.attach_xdp(UPLINK)?;
            Ok(kernel)
        })?;
        let index = |link: &str| index_of(node.place(), link);
        let pods = pods
            .iter()
            .map(|host| Ok((*host, index(&format!("{POD_LINK}{host}"))?)));
        Ok(Self {
            cluster,
            kernel,
            uplink: index(UPLINK)?,
            pods: pods.collect::<Result<_>>()?,
        })
    }

    /// Runs rows, each once for each hook that takes packets from the uplink.
    ///
    /// # Errors
    /// All rows that did not come out as they should, by name.
    pub fn check(&mut self, rows: &[Row]) -> Result<()> {
        let mut failures = Vec::new();
        for row in rows {
            for hook in [Hook::Tc, Hook::Xdp] {
                let from_uplink = row.steps.iter().any(|(at, ..)| *at == At::FromUplink);
                if hook == Hook::Xdp && !from_uplink {
                    continue;
                }
                if let Err(error) = self.check_row(row, hook) {
                    failures.push(format!("{} ({}): {error:#}", row.name, hook.name()));
                }
            }
        }
        ensure!(
            failures.is_empty(),
            "{} of {} rows:\n{}",
            failures.len(),
            rows.len(),
            failures.join("\n")
        );
        Ok(())
    }

    fn check_row(&mut self, row: &Row, hook: Hook) -> Result<()> {
        self.kernel.reset(&row.fixture.tables)?;
        self.set_links()?;
        for (i, (at, packet, fate)) in row.steps.iter().enumerate() {
            self.check_step(*at, packet, fate, hook)
                .with_context(|| format!("packet {}", i + 1))?;
        }
        let mut expected = Drops::new();
        for reason in &row.drops {
            // Reasons that both hooks can have are named without one.
            let name = if reason.contains(' ') {
                (*reason).to_owned()
            } else {
                format!("{} {reason}", hook.name())
            };
            *expected.entry(name).or_default() += 1;
        }
        let drops = self.kernel.drops()?;
        ensure!(
            drops == expected,
            "counted {drops:?} instead of {expected:?}"
        );
        let mut flows = self.flows()?;
        let mut expected: Vec<_> = row.flows.iter().flat_map(FlowPair::entries).collect();
        flows.sort();
        expected.sort();
        ensure!(
            flows == expected,
            "flows {flows:#?} instead of {expected:#?}"
        );
        Ok(())
    }

    fn check_step(&self, at: At, packet: &Packet, fate: &Fate, hook: Hook) -> Result<()> {
        let (program, link) = self.program(at, hook)?;
        let hook = if program == "xdp_uplink" {
            Hook::Xdp
        } else {
            Hook::Tc
        };
        let before = packet.bytes();
        let run = self.cluster.here().place().netns().run(|| {
            self.kernel
                .run_in_segments(program, link, &before, packet.segment)
        })?;
        let (code, after) = match fate {
            Fate::Untouched => (Code::Next, before),
            Fate::Dropped => (Code::Drop, before),
            Fate::Becomes(packet) => (Code::Next, packet.bytes()),
            Fate::Sent(packet, toward) if hook == Hook::Xdp => (
                Code::Send,
                packet
                    .clone()
                    .with_macs([NEIGHBOURS[*toward as usize], OWN])
                    .bytes(),
            ),
            // At traffic control the kernel fills in the link-layer addresses afterwards.
            Fate::Answered(packet) | Fate::Sent(packet, _) => (Code::Send, packet.bytes()),
        };
        ensure!(
            run.code == code,
            "{program}: {:?} instead of {code:?}",
            run.code
        );
        ensure!(
            code == Code::Drop || run.bytes == after,
            "{program} left\n  {}\ninstead of\n  {}",
            hexadecimal(&run.bytes),
            hexadecimal(&after)
        );
        Ok(())
    }

    fn program(&self, at: At, hook: Hook) -> Result<(&'static str, u32)> {
        let pod = |host: u8| {
            let found = self.pods.iter().find(|(pod, _)| *pod == host);
            found
                .map(|(_, link)| *link)
                .with_context(|| format!("the bench has no pod {host}"))
        };
        Ok(match at {
            At::FromPod(host) => ("tc_pod_in", pod(host)?),
            At::ToPod(host) => ("tc_pod_out", pod(host)?),
            At::FromUplink if hook == Hook::Xdp => ("xdp_uplink", self.uplink),
            At::FromUplink | At::BehindXdp => ("tc_uplink_in", self.uplink),
            At::ToUplink => ("tc_uplink_out", self.uplink),
        })
    }

    fn set_links(&mut self) -> Result<()> {
        let node = self.cluster.here().place();
        let uplink = Link {
            mtu: MTU,
            flags: LINK_UPLINK | LINK_XDP,
            address4: family(node.address(Family::V4)),
            address6: family(node.address(Family::V6)),
            ..Link::default()
        };
        self.kernel.set_link(self.uplink, uplink)?;
        // Where an old kernel's test-run takes an XDP program's packets to come from.
        self.kernel.set_link(LOOPBACK, uplink)?;
        for (_, link) in &self.pods {
            self.kernel.set_link(
                *link,
                Link {
                    mtu: MTU,
                    flags: LINK_POD,
                    ..Link::default()
                },
            )?;
        }
        Ok(())
    }

    fn flows(&mut self) -> Result<Vec<Entry>> {
        let mut entries: Vec<_> = self.kernel.flows::<Ip4>()?.iter().map(Entry::of).collect();
        entries.extend(self.kernel.flows::<Ip6>()?.iter().map(Entry::of));
        Ok(entries)
    }
}

/// A flow entry, as far as rows foretell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    arrives: [SocketAddr; 2],
    leaves: [SocketAddr; 2],
    flags: u16,
}

impl Entry {
    fn of<A: lb_common::Family>((key, flow): &(FlowKey<A>, Flow<A>)) -> Self {
        let socket = |address: A, port| SocketAddr::new(address.to_ip(), port);
        Self {
            arrives: [
                socket(key.source, key.source_port),
                socket(key.destination, key.destination_port),
            ],
            leaves: [
                socket(flow.source, flow.source_port),
                socket(flow.destination, flow.destination_port),
            ],
            flags: flow.flags,
        }
    }
}

impl FlowPair {
    fn entries(&self) -> [Entry; 2] {
        let Self {
            client,
            frontend,
            source,
            backend,
            flags,
        } = *self;
        [
            Entry {
                arrives: [client, frontend],
                leaves: [source, backend],
                flags,
            },
            Entry {
                arrives: [backend, source],
                leaves: [frontend, client],
                flags: flags | FLOW_REPLY,
            },
        ]
    }
}

/// What a program counts for each CPU is counted for one: threads that this one starts inherit it.
fn stay_on_this_cpu() -> Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &here).context("pinning the thread to a CPU")
}

fn index_of(place: &Place, link: &str) -> Result<u32> {
    place
        .netns()
        .run(|| nix::net::if_::if_nametoindex(link).with_context(|| format!("no link {link}")))
}

fn show_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn hexadecimal(bytes: &[u8]) -> String {
    let words = bytes.chunks(2).map(|word| match word {
        [one, other] => format!("{one:02x}{other:02x}"),
        _ => format!("{:02x}", word[0]),
    });
    words.collect::<Vec<_>>().join(" ")
}
