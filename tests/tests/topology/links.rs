//! Links that are no plain Ethernet: without its header, as WireGuard and ipip are, and with a
//! VLAN's tag. Their other end is the test itself, so it sees every byte.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::packet::{ETHERNET, Packet};
use lb_tests::topology::{Cluster, Family, Pair, Place, on};
use lb_tests::tun::{Begins, Tun};

/// An answer is there far sooner.
const PATIENCE: Duration = Duration::from_secs(2);
/// What comes at all comes within this time.
const AT_ONCE: Duration = Duration::from_millis(300);

/// The network beyond the link, this node's address there, and a client's.
const BITS: [u32; 2] = [24, 64];

fn own() -> Pair {
    Pair::new("192.0.2.1", "2001:db8:2::1")
}

fn client() -> Pair {
    Pair::new("192.0.2.7", "2001:db8:2::7")
}

fn vips(n: u8) -> Pair {
    Pair::new(&format!("10.43.0.{n}"), &format!("fd00:10:43::{n}"))
}

/// A link of the node, up and with an address.
fn link(node: &Place, name: &str, begins: Begins) -> Result<Tun> {
    let tun = Tun::new(node.netns(), name, begins)?;
    let Pair { v4, v6 } = own();
    let [bits4, bits6] = BITS;
    node.netns().ip(&format!(
        "link set {name} up\n\
         addr add {v4}/{bits4} dev {name}\n\
         addr add {v6}/{bits6} dev {name} nodad\n"
    ))?;
    Ok(tun)
}

/// Source and destination of an IP packet with ports behind a header without options.
fn ends(packet: &[u8]) -> Option<[SocketAddr; 2]> {
    let (addresses, ports) = match packet.first()? >> 4 {
        4 => (packet.get(12..20)?, packet.get(20..24)?),
        6 => (packet.get(8..40)?, packet.get(40..44)?),
        _ => return None,
    };
    let address = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(v4) => Some(v4.into()),
        Err(_) => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
    };
    let (source, destination) = addresses.split_at(addresses.len() / 2);
    let port = |i: usize| u16::from_be_bytes([ports[i], ports[i + 1]]);
    Some([
        SocketAddr::new(address(source)?, port(0)),
        SocketAddr::new(address(destination)?, port(2)),
    ])
}

fn is_answer(packet: &[u8], from: SocketAddr, to: SocketAddr) -> bool {
    ends(packet) == Some([from, to])
}

/// In transit the packet changes to a link with Ethernet header, and its answer back.
#[test]
fn a_link_without_ethernet_header_is_served_like_any_other() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let service = |name: &str, n| {
            Service::new(name, name)
                .at(&vips(n).both())
                .port(80, 8080)
                .object()
        };
        manifests.write("services.yaml", &[service("here", 1), service("there", 2)])?;
        let here = App::new(&manifests, "here", 8080);
        let there = App::new(&manifests, "there", 8080);
        here.pod(cluster.here(), "here")?;
        there.pod(cluster.elsewhere(), "there")?;
        let tun = link(cluster.here().place(), "tun0", Begins::Ip)?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        for family in Family::ALL {
            let from = client().port(family, 40_000);
            for (n, name) in [(1, "here"), (2, "there")] {
                let to = vips(n).port(family, 80);
                let question = Packet::udp(from, to, b"/host_name").without_ethernet();
                tun.send(&question.bytes())?;
                let answer = tun.receive(PATIENCE, |packet| is_answer(packet, to, from))?;
                let answer = answer.with_context(|| format!("{family}: {name} does not answer"))?;
                let header = if family == Family::V4 { 28 } else { 48 };
                let text = String::from_utf8_lossy(&answer[header..]).into_owned();
                ensure!(text.starts_with(name), "{text}");
                let again = Packet::udp(to, from, &answer[header..]).without_ethernet();
                ensure!(
                    answer[header - 8..] == again.bytes()[header - 8..],
                    "{family}, {name}: {answer:02x?}"
                );
            }
            let closed = vips(1).port(family, 81);
            let syn = Packet::tcp(from, closed, lb_tests::packet::SYN).without_ethernet();
            tun.send(&syn.bytes())?;
            let reset = tun.receive(PATIENCE, |packet| is_answer(packet, closed, from))?;
            let expected = syn.reset().without_ethernet().bytes();
            ensure!(reset == Some(expected), "{family}: {reset:02x?}");
        }
        lb.uninstall()
    });
}

/// The kernel takes the outer tag from a frame and notes it beside the packet. A tag that names a
/// VLAN makes it another device's; one that names none (a priority alone) does not.
#[test]
fn a_tag_beside_the_packet_is_another_links_unless_it_names_no_vlan() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let service = Service::new("here", "here")
            .at(&vips(1).both())
            .port(80, 8080);
        manifests.write("services.yaml", &[service.object()])?;
        let app = App::new(&manifests, "here", 8080);
        app.pod(cluster.here(), "here")?;
        let node = cluster.here().place();
        let tap = link(node, "tap0", Begins::Ethernet)?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        for family in Family::ALL {
            let (from, closed) = (client().port(family, 40_000), vips(1).port(family, 81));
            let syn = Packet::tcp(from, closed, lb_tests::packet::SYN).bytes();
            for (tag, is_ours) in [(None, true), (Some(100_u16), false), (Some(0xe000), true)] {
                let mut frame = syn.clone();
                if let Some(tag) = tag {
                    let [high, low] = tag.to_be_bytes();
                    frame.splice(12..12, [0x81, 0x00, high, low]);
                }
                tap.send(&frame)?;
                let patience = if is_ours { PATIENCE } else { AT_ONCE };
                let answer = tap.receive(patience, |frame| {
                    let untagged = frame.get(ETHERNET..).unwrap_or_default();
                    let tagged = frame.get(ETHERNET + 4..).unwrap_or_default();
                    is_answer(untagged, closed, from) || is_answer(tagged, closed, from)
                })?;
                ensure!(
                    answer.is_some() == is_ours,
                    "{family}, tag {tag:x?}: {answer:02x?}"
                );
            }
        }
        lb.uninstall()
    });
}
