//! What may stand between the IP header and the ports is read over and stays; what cannot be read is
//! dropped only where nobody else can be meant.

use std::net::SocketAddr;

use lb_tests::datapath::{At, Endpoint, Fate, Fixture, Row, Service};
use lb_tests::packet::{Body, Extension, Packet};
use lb_tests::topology::Family;

use super::cases::{CLIENT, Case, SERVER, check, row};

fn kubia(case: Case) -> Fixture {
    let endpoint = Endpoint::here(case.server());
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]))
}

/// There and back from a pod, and there from outside, with these headers in every packet.
fn there_and_back(name: &str, case: Case, dress: impl Fn(Packet) -> Packet) -> Vec<Row> {
    let (client, outside) = (case.client(), case.outside());
    let (vip, server) = (case.vip(), case.server());
    let from_pod = Row {
        steps: vec![
            (
                At::FromPod(CLIENT),
                dress(case.first(client, vip)),
                Fate::Becomes(dress(case.first(client, server))),
            ),
            (
                At::ToPod(CLIENT),
                dress(case.reply(server, client)),
                Fate::Becomes(dress(case.reply(vip, client))),
            ),
            (
                At::FromPod(CLIENT),
                dress(case.later(client, vip)),
                Fate::Becomes(dress(case.later(client, server))),
            ),
        ],
        flows: vec![case.flow(client, server, 0)],
        ..row(&format!("{name}, from a pod"), kubia(case))
    };
    let from_outside = Row {
        steps: vec![
            (
                At::FromUplink,
                dress(case.first(outside, vip)),
                Fate::Becomes(dress(case.first(outside, server))),
            ),
            (
                At::ToUplink,
                dress(case.reply(server, outside)),
                Fate::Becomes(dress(case.reply(vip, outside))),
            ),
        ],
        flows: vec![case.flow(outside, server, lb_common::layout::FLOW_OUTSIDE)],
        ..row(&format!("{name}, from outside"), kubia(case))
    };
    vec![from_pod, from_outside]
}

#[test]
fn ipv4_options_are_read_over() {
    check(|case| {
        if case.family == Family::V6 {
            return Vec::new();
        }
        // No-operations, the shortest and the longest that fit.
        [4, 40]
            .into_iter()
            .flat_map(|bytes| {
                there_and_back(&format!("{bytes} bytes of options"), case, move |packet| {
                    packet.with_options(&vec![1; bytes])
                })
            })
            .collect()
    });
}

#[test]
fn ipv6_extension_headers_are_read_over() {
    check(|case| {
        if case.family == Family::V4 {
            return Vec::new();
        }
        let hop = |bytes| Extension::padding(Extension::HOP_BY_HOP, bytes);
        let options = |bytes| Extension::padding(Extension::DESTINATION_OPTIONS, bytes);
        let chains = [
            ("hop-by-hop options", vec![hop(8)]),
            ("a routing header at its end", vec![Extension::routing(0)]),
            ("destination options", vec![options(24)]),
            (
                "one of each",
                vec![hop(16), Extension::routing(0), options(8)],
            ),
            ("as many as are read", vec![options(8); 8]),
            ("as long as is read", vec![hop(256), options(256)]),
        ];
        chains
            .into_iter()
            .flat_map(|(name, chain)| {
                there_and_back(name, case, move |packet| packet.with_extensions(&chain))
            })
            .collect()
    });
}

/// The same packet to a ClusterIP, which exists only together with its ports, and to whoever else
/// may understand it.
fn only_lost_at_a_cluster_ip(
    name: &str,
    case: Case,
    reason: &'static str,
    packet: impl Fn(SocketAddr, SocketAddr) -> Packet,
) -> Vec<Row> {
    let (client, outside, vip) = (case.client(), case.outside(), case.vip());
    let nobody = case.address("10.43.1.1", "fd00:10:43::1", 80);
    let untouched = |at, from, to| (at, packet(from, to), Fate::Untouched);
    let lost = |at, from, to| (at, packet(from, to), Fate::Dropped);
    vec![
        Row {
            steps: vec![
                lost(At::FromPod(CLIENT), client, vip),
                lost(At::FromPod(CLIENT), client, nobody),
                untouched(At::FromPod(CLIENT), client, case.server()),
                untouched(At::FromPod(CLIENT), client, case.node(80)),
                untouched(At::ToPod(SERVER), client, case.server()),
                untouched(At::ToUplink, client, outside),
            ],
            drops: vec![reason, "unallocated-address"],
            ..row(&format!("{name}, from a pod"), kubia(case))
        },
        Row {
            steps: vec![
                lost(At::FromUplink, outside, vip),
                lost(At::FromUplink, outside, nobody),
                untouched(At::FromUplink, outside, case.node(80)),
                untouched(At::FromUplink, outside, client),
            ],
            drops: vec![reason, "unallocated-address"],
            ..row(&format!("{name}, from outside"), kubia(case))
        },
    ]
}

#[test]
fn a_chain_that_cannot_be_read_is_dropped_where_it_is_for_a_service() {
    check(|case| {
        if case.family == Family::V4 {
            return Vec::new();
        }
        let options = |bytes| Extension::padding(Extension::DESTINATION_OPTIONS, bytes);
        let chains = [
            ("too many headers", vec![options(8); 9]),
            ("too long a chain", vec![options(512), options(8)]),
            (
                "a routing header that leads on",
                vec![Extension::routing(1)],
            ),
        ];
        chains
            .into_iter()
            .flat_map(|(name, chain)| {
                only_lost_at_a_cluster_ip(name, case, "malformed", move |from, to| {
                    case.first(from, to).with_extensions(&chain)
                })
            })
            .collect()
    });
}

#[test]
fn a_header_that_is_cut_off_is_dropped_where_it_is_for_a_service() {
    check(|case| {
        let whole = if case.is_tcp() { 20 } else { 8 };
        [0, 4, whole - 1]
            .into_iter()
            .flat_map(|bytes| {
                let name = format!("{bytes} bytes of the transport header");
                only_lost_at_a_cluster_ip(&name, case, "malformed", move |from, to| {
                    let protocol = case.first(from, to).protocol();
                    let bytes = vec![0; bytes];
                    Packet::new(from, to, Body::Raw { protocol, bytes })
                })
            })
            .collect()
    });
}

/// It covers the addresses, so nobody but its sender can change them.
#[test]
fn an_authenticated_packet_is_not_translated() {
    check(|case| {
        let authentication = Extension {
            kind: Extension::AUTHENTICATION,
            data: vec![7; 22],
        };
        only_lost_at_a_cluster_ip("authentication", case, "not-a-port", move |from, to| {
            let packet = case.first(from, to);
            match case.family {
                Family::V6 => packet.with_extensions(std::slice::from_ref(&authentication)),
                Family::V4 => {
                    let protocol = Extension::AUTHENTICATION;
                    let bytes = vec![6; 44];
                    Packet::new(from, to, Body::Raw { protocol, bytes })
                }
            }
        })
    });
}

/// An Ethernet frame has at least 60 bytes: what a card filled it up with is no data, so a reset
/// does not acknowledge it.
#[test]
fn what_a_frame_was_filled_up_with_does_not_count() {
    use anyhow::ensure;
    use lb_tests::datapath::{Code, Kernel};
    use lb_tests::topology::{Cluster, UPLINK, on};

    on(Cluster::routed_veth, |cluster| {
        cluster.here().place().netns().run(|| {
            let mut kernel = Kernel::load()?;
            kernel.attach_xdp(UPLINK)?;
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            let case = super::cases::all()[0];
            let mut closed = case.vip();
            closed.set_port(81);
            let packet = case.first(case.outside(), closed);
            let mut frame = packet.bytes();
            ensure!(frame.len() == 54, "{} bytes", frame.len());
            frame.resize(60, 0);
            for program in ["tc_uplink_in", "xdp_uplink"] {
                kernel.reset(&kubia(case).tables)?;
                let run = kernel.run(program, uplink, &frame)?;
                ensure!(run.code == Code::Send, "{program}: {:?}", run.code);
                let reset = packet.reset().turned().bytes();
                ensure!(run.bytes == reset, "{program}: {:02x?}", run.bytes);
            }
            Ok(())
        })
    });
}
