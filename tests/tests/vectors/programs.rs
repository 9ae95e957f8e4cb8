//! Do the programs in the kernel do what the decision says? Each case's tables in their maps, so many
//! new flows that every backend must turn up, and judged by the bytes that they leave.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::layout::{LINK_POD, LINK_UPLINK, LINK_XDP, Link};
use lb_tests::datapath::{Code, Kernel, Run};
use lb_tests::need;
use lb_tests::netns::Netns;
use lb_tests::packet::{ETHERNET, INIT, Packet, RST, SYN};
use lb_userspace::tables::{PerFamily, Tables};
use serde_json::{Value, json};

use crate::ask::{Node, set};

/// New flows for each backend: that one of ten is never drawn has a chance of one in a billion.
const DRAWS: usize = 20;
/// The first flow's port; each further one has the next.
const CLIENT_PORT: u16 = 40_000;
/// Type of the SCTP chunk that refuses an association (RFC 9260, section 3.2).
const ABORT: u8 = 6;
/// What fits into an Ethernet frame.
const MTU: u32 = 1_500;
/// Where every packet goes that leaves the node.
const ROUTER: &str = "
link add eth0 type veth peer name router
link add cali1 type veth peer name pod
link set eth0 up
link set router up
link set cali1 up
link set pod up
addr add 198.18.0.1/24 dev eth0
addr add fdff::1/64 dev eth0 nodad
neigh replace 198.18.0.2 lladdr 02:00:00:00:00:0c dev eth0 nud permanent
neigh replace fdff::2 lladdr 02:00:00:00:00:0c dev eth0 nud permanent
route add default via 198.18.0.2
route add default via fdff::2
";

/// The programs on a node that knows its neighbours.
pub(crate) struct Programs {
    netns: Netns,
    kernel: Kernel,
    uplink: u32,
    pod: u32,
}

impl Programs {
    /// Loads them in a namespace of their own.
    pub(crate) fn load() -> Result<Self> {
        need::root();
        let netns = Netns::new("vectors")?;
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            netns.sysctl(name, "1")?;
        }
        netns.ip(ROUTER)?;
        let (kernel, uplink, pod) = netns.run(|| {
            let mut kernel = Kernel::load()?;
            kernel.attach_xdp("eth0")?;
            let index = nix::net::if_::if_nametoindex;
            Ok((kernel, index("eth0")?, index("cali1")?))
        })?;
        Ok(Self {
            netns,
            kernel,
            uplink,
            pod,
        })
    }

    /// What the programs do with new flows like this, once for each program that may see them, in
    /// the form of an answer of `lb explain`. Nothing for the node's own, which never come to a
    /// program for packets.
    pub(crate) fn ask(&mut self, node: &Node, answer: &Value) -> Result<Vec<(&str, Value)>> {
        let (programs, link): (&[&str], _) = match answer["sourceClass"].as_str() {
            Some("pod") => (&["tc_pod_in"], self.pod),
            Some("outside") => (&["tc_uplink_in", "xdp_uplink"], self.uplink),
            _ => (&[], 0),
        };
        let tables = as_if_running(&node.planned.tables);
        programs
            .iter()
            .map(|program| {
                let observed = self.observe(&tables, (program, link), answer)?;
                Ok((*program, observed))
            })
            .collect()
    }

    fn observe(
        &mut self,
        tables: &Tables,
        (program, link): (&str, u32),
        asked: &Value,
    ) -> Result<Value> {
        let draws = DRAWS * set(asked, "backends").len().max(1);
        let mut verdicts = BTreeSet::new();
        let (mut backends, mut snat) = (BTreeSet::new(), BTreeSet::new());
        self.begin(tables)?;
        for i in 0..draws {
            if i > 0 && has_affinity(tables) {
                // Every flow shall be the client's first.
                self.begin(tables)?;
            }
            let port = CLIENT_PORT + u16::try_from(i)?;
            let packet = first(asked, port)?;
            let before = packet.bytes();
            let run = self.netns.run(|| self.kernel.run(program, link, &before))?;
            let (verdict, forwarded) = judge(&run, &before, &packet)?;
            verdicts.insert(verdict);
            if let Some(forwarded) = forwarded {
                if forwarded.source.ip() != packet.source.ip() {
                    snat.insert(forwarded.destination.to_string());
                }
                backends.insert(forwarded.destination.to_string());
            }
        }
        let [verdict] = Vec::from_iter(verdicts)[..] else {
            bail!("{program} does not always do the same: {draws} draws of {asked}");
        };
        Ok(json!({
            "verdict": verdict,
            "backends": backends,
            "snatBackends": snat,
            "sourceClass": asked["sourceClass"],
        }))
    }

    fn begin(&mut self, tables: &Tables) -> Result<()> {
        self.kernel.reset(tables)?;
        let uplink = Link {
            mtu: MTU,
            flags: LINK_UPLINK | LINK_XDP,
            address4: tables.config.node4,
            address6: tables.config.node6,
            ..Link::default()
        };
        self.kernel.set_link(self.uplink, uplink)?;
        let pod = Link {
            mtu: MTU,
            flags: LINK_POD,
            ..Link::default()
        };
        self.kernel.set_link(self.pod, pod)
    }
}

/// What only a running daemon adds to a plan.
fn as_if_running(planned: &Tables) -> Tables {
    let mut tables = planned.clone();
    tables.config.hash_key = 0x5eed_5eed_5eed_5eed;
    tables.config.snat_ports = [1_024, 29_999];
    tables.config.hz = 1_000;
    tables
}

fn has_affinity(tables: &Tables) -> bool {
    fn any<A: PerFamily>(tables: &Tables) -> bool {
        let mut infos = A::of(tables).info.values();
        infos.any(|info| info.affinity_seconds > 0)
    }
    any::<lb_common::Ip4>(tables) || any::<lb_common::Ip6>(tables)
}

/// The first packet of a flow as the question has it, with this port.
fn first(asked: &Value, port: u16) -> Result<Packet> {
    let address = |field: &str| -> Result<IpAddr> {
        let text = asked[field].as_str();
        Ok(text
            .with_context(|| format!("no {field} in {asked}"))?
            .parse()?)
    };
    let source = SocketAddr::new(address("source")?, port);
    let dialled = asked["destinationPort"].as_u64().context("a port")?;
    let destination = SocketAddr::new(address("destination")?, u16::try_from(dialled)?);
    Ok(match asked["protocol"].as_str() {
        Some("TCP") => Packet::tcp(source, destination, SYN),
        Some("UDP") => Packet::udp(source, destination, b"a question"),
        Some("SCTP") => Packet::sctp(source, destination, INIT, &[0; 16]),
        other => bail!("no packet is made of {other:?} here"),
    })
}

/// The ends of a packet, and whether it refuses another one.
struct Left {
    source: SocketAddr,
    destination: SocketAddr,
    is_refusal: bool,
}

/// What a program did, in the words of `lb explain`, and what it sent where it forwarded.
fn judge(run: &Run, before: &[u8], packet: &Packet) -> Result<(&'static str, Option<Left>)> {
    let left = Left::of(&run.bytes);
    Ok(match run.code {
        Code::Drop => ("drop", None),
        Code::Next if run.bytes == before => ("pass", None),
        Code::Next => ("forward", Some(left?)),
        Code::Send => {
            let left = left?;
            if !left.is_refusal {
                return Ok(("forward", Some(left)));
            }
            ensure!(
                left.destination.ip() == packet.source.ip(),
                "a refusal goes to {}",
                left.destination
            );
            ("reject", None)
        }
    })
}

impl Left {
    fn of(bytes: &[u8]) -> Result<Self> {
        let ip = bytes.get(ETHERNET..).context("no packet")?;
        let (protocol, source, destination, rest): (u8, IpAddr, IpAddr, &[u8]) = match ip {
            [0x45, _, _, _, _, _, _, _, _, protocol, _, _, rest @ ..] => {
                let (source, rest) = rest.split_first_chunk::<4>().context("cut off")?;
                let (destination, rest) = rest.split_first_chunk::<4>().context("cut off")?;
                (*protocol, (*source).into(), (*destination).into(), rest)
            }
            [0x60, _, _, _, _, _, protocol, _, rest @ ..] => {
                let (source, rest) = rest.split_first_chunk::<16>().context("cut off")?;
                let (destination, rest) = rest.split_first_chunk::<16>().context("cut off")?;
                (*protocol, (*source).into(), (*destination).into(), rest)
            }
            _ => bail!("no IP packet: {ip:?}"),
        };
        let port = |at: usize| {
            let bytes = rest.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
        };
        let is_reset = protocol == 6 && rest.get(13).is_some_and(|flags| flags & RST != 0);
        let is_abort = protocol == 132 && rest.get(12) == Some(&ABORT);
        let is_icmp = matches!(protocol, 1 | 58);
        Ok(Self {
            source: SocketAddr::new(source, port(0)),
            destination: SocketAddr::new(destination, port(2)),
            is_refusal: is_reset || is_abort || is_icmp,
        })
    }
}
