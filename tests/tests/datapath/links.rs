//! What links add to packets, and packets that come by twice.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_common::{Ip4, Ip6};
use lb_tests::datapath::{At, Code, Endpoint, Fate, Fixture, Kernel, Row, SNAT_PORT, Service};
use lb_tests::packet::{ETHERNET, Packet};
use lb_tests::topology::{Cluster, Family, UPLINK, on};

use super::cases::{CLIENT, Case, SERVER, all, check, row};

fn kubia(case: Case) -> Fixture {
    let endpoint = Endpoint::here(case.server());
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]))
}

/// The frame with tags before its Ethernet type: protocol and content of each.
fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let (macs, rest) = frame.split_at(ETHERNET - 2);
    let mut tagged = macs.to_vec();
    for (protocol, content) in tags {
        tagged.extend(protocol.to_be_bytes());
        tagged.extend(content.to_be_bytes());
    }
    tagged.extend(rest);
    tagged
}

/// A frame with a tag in it is for a VLAN device above the link, or for nobody: it is served there,
/// without the tag. The tags are such that their second byte looks like the beginning of an IP
/// header.
#[test]
fn a_tag_in_the_frame_is_another_links() {
    const C_TAG: u16 = 0x8100;
    const S_TAG: u16 = 0x88a8;
    on(Cluster::routed_veth, |cluster| {
        cluster.here().place().netns().run(|| {
            let mut kernel = Kernel::load()?;
            kernel.attach_xdp(UPLINK)?;
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            for case in all() {
                kernel.reset(&kubia(case).tables)?;
                let frame = case.first(case.outside(), case.vip()).bytes();
                for tags in [
                    vec![(C_TAG, 100)],
                    vec![(C_TAG, 0x4500)],
                    vec![(S_TAG, 0x6000), (C_TAG, 100)],
                    vec![(C_TAG, 0)],
                ] {
                    let frame = tagged(&frame, &tags);
                    for program in ["tc_uplink_in", "tc_uplink_out", "tc_pod_in", "xdp_uplink"] {
                        let run = kernel.run(program, uplink, &frame)?;
                        ensure!(
                            run.code == Code::Next && run.bytes == frame,
                            "{program}, {tags:x?}: {:?}",
                            run.code
                        );
                    }
                }
                ensure!(kernel.flows::<Ip4>()?.is_empty() && kernel.flows::<Ip6>()?.is_empty());
            }
            Ok(())
        })
    });
}

/// A packet comes by twice where XDP had it before traffic control, and where links are stacked
/// (VLANs, bonds, bridges) and more than one of them leads out.
#[test]
fn the_second_time_nothing_happens() {
    check(|case| {
        let (client, vip, server) = (case.outside(), case.vip(), case.server());
        let first = case.first(client, server);
        let reply = case.reply(vip, client);
        vec![Row {
            steps: vec![
                (
                    At::FromUplink,
                    case.first(client, vip),
                    Fate::Becomes(first.clone()),
                ),
                (At::BehindXdp, first.clone(), Fate::Untouched),
                (At::ToPod(SERVER), first, Fate::Untouched),
                (
                    At::ToUplink,
                    case.reply(server, client),
                    Fate::Becomes(reply.clone()),
                ),
                (At::ToUplink, reply, Fate::Untouched),
            ],
            flows: vec![case.flow(client, server, lb_common::layout::FLOW_OUTSIDE)],
            ..row("twice", kubia(case))
        }]
    });
}

#[test]
fn the_second_time_is_not_counted() {
    const TRIES: u32 = 20;
    on(Cluster::routed_veth, |cluster| {
        cluster.here().pod_at(CLIENT, "client")?;
        cluster.here().place().netns().run(|| {
            let mut kernel = Kernel::load()?;
            kernel.attach_xdp(UPLINK)?;
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            for case in all() {
                let (client, vip, server) = (case.outside(), case.vip(), case.server());
                for entry in ["tc_uplink_in", "xdp_uplink"] {
                    let mut seen = Vec::new();
                    // What is told from a rival by when it comes may come too late on a busy machine.
                    let is_right = (0..TRIES).try_fold(false, |is_right, _| {
                        if is_right {
                            return Ok(true);
                        }
                        kernel.reset(&kubia(case).tables)?;
                        for (program, packet) in [
                            (entry, case.first(client, vip)),
                            ("tc_uplink_in", case.first(client, server)),
                            (entry, case.later(client, vip)),
                            ("tc_uplink_in", case.later(client, server)),
                            ("tc_uplink_out", case.reply(server, client)),
                            ("tc_uplink_out", case.reply(vip, client)),
                        ] {
                            kernel.run(program, uplink, &packet.bytes())?;
                        }
                        seen = match case.family {
                            Family::V4 => counts::<Ip4>(&mut kernel)?,
                            Family::V6 => counts::<Ip6>(&mut kernel)?,
                        };
                        anyhow::Ok(seen == [1, 2])
                    })?;
                    ensure!(is_right, "{case:?}, {entry}: {seen:?}");
                }
            }
            Ok(())
        })
    });
}

/// A client that dials the backend itself from the port of a connection through the frontend is its
/// rival. Where links are stacked its packet looks like one that was translated below, but for when
/// it comes: not just behind one of the client's. A SYN amid a connection is nobody's second pass.
#[test]
fn a_rival_by_stacked_links_is_told_from_a_packet_that_comes_by_again() {
    /// Two jiffies are 20 ms at most.
    const LATER: Duration = Duration::from_millis(100);
    on(Cluster::routed_veth, |cluster| {
        cluster.here().place().netns().run(|| {
            let mut kernel = Kernel::load()?;
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            for case in all() {
                let (client, vip, server) = (case.outside(), case.vip(), case.server());
                let renumbered = SocketAddr::new(client.ip(), SNAT_PORT);
                let comes = |kernel: &Kernel, packet: Packet, becomes: Packet| {
                    let run = kernel.run("tc_uplink_in", uplink, &packet.bytes())?;
                    ensure!(
                        run.code == Code::Next && run.bytes == becomes.bytes(),
                        "{case:?}: {packet:?}: {:?}",
                        run.code
                    );
                    Ok(())
                };
                kernel.reset(&kubia(case).tables)?;
                comes(&kernel, case.first(client, vip), case.first(client, server))?;
                sleep(LATER);
                let rival = case.first(client, server);
                comes(&kernel, rival.clone(), case.first(renumbered, server))?;
                if !case.is_tcp() {
                    continue;
                }
                kernel.reset(&kubia(case).tables)?;
                comes(&kernel, case.first(client, vip), case.first(client, server))?;
                comes(&kernel, case.later(client, vip), case.later(client, server))?;
                comes(&kernel, rival, case.first(renumbered, server))?;
            }
            Ok(())
        })
    });
}

fn counts<A: lb_common::Family>(kernel: &mut Kernel) -> Result<Vec<u64>> {
    let flows = kernel.flows::<A>()?;
    let mut counts: Vec<_> = flows.iter().map(|(_, flow)| flow.packets).collect();
    counts.sort_unstable();
    Ok(counts)
}
