//! A datagram's later fragments show no ports: they follow the first one, or go nowhere.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use lb_common::layout::{FLOW_OUTSIDE, FLOW_SNAT, FRONTEND_NODE_PORT};
use lb_tests::datapath::{
    At, Code, Endpoint, Fate, Fixture, FlowPair, Kernel, Row, SNAT_PORT, Service, Toward,
};
use lb_tests::packet::{Extension, Packet};
use lb_tests::topology::{Cluster, Family, UPLINK, on};

use super::cases::{CLIENT, Case, all, check, check_sctp, row};

/// Identification of the datagrams here.
const ID: u16 = 0x1de7;
/// Bytes of each fragment but the last.
const SIZE: usize = 1_024;

fn kubia(case: Case, endpoint: Endpoint) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]))
}

/// A packet that has to travel in three parts.
fn big(case: Case, from: SocketAddr, to: SocketAddr) -> Packet {
    let bytes: Vec<u8> = (0..2_500_u32).map(|i| (i * 7) as u8).collect();
    case.later(from, to).with_payload(&bytes)
}

/// One step for each fragment, in order.
fn steps(
    at: At,
    packet: &Packet,
    becomes: &Packet,
    fate: impl Fn(Packet) -> Fate,
) -> Vec<(At, Packet, Fate)> {
    let parts = packet.in_fragments(ID, SIZE).into_iter();
    let become_parts = becomes.in_fragments(ID, SIZE);
    assert_eq!(become_parts.len(), 3);
    parts
        .zip(become_parts)
        .map(|(part, becomes)| (at, part, fate(becomes)))
        .collect()
}

/// TCP begins with a SYN, which nobody fragments.
fn opening(case: Case, at: At, from: SocketAddr, to: [SocketAddr; 2]) -> Vec<(At, Packet, Fate)> {
    let [dialled, reached] = to;
    let first = case.first(from, dialled);
    vec![(at, first, Fate::Becomes(case.first(from, reached)))]
}

/// Path MTU discovery for datagrams: a router that has no room quotes a fragment. Its first one says
/// whose it was; of the others nobody needs to hear.
#[test]
fn an_error_about_a_first_fragment_finds_its_sender() {
    check(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let too_big = case.too_big(1_280);
        let fragment =
            |from, to, part: usize| big(case, from, to).in_fragments(ID, SIZE).remove(part);
        // With the fragment header that there is over IPv6 alone.
        let least = match case.family {
            Family::V4 => 20 + 8,
            Family::V6 => 40 + 8 + 8,
        };
        let rows = [usize::MAX, least].map(|quoted| {
            let error = |to: SocketAddr, about: &Packet| {
                case.error(case.router(), to.ip(), too_big, about, quoted)
            };
            let [got, sent] = [vip, server].map(|from| fragment(from, client, 0));
            let [went, dialled] = [server, vip].map(|to| fragment(client, to, 0));
            Row {
                steps: vec![
                    (
                        At::FromPod(CLIENT),
                        case.first(client, vip),
                        Fate::Becomes(case.first(client, server)),
                    ),
                    (
                        At::FromUplink,
                        error(vip, &got),
                        Fate::Becomes(error(server, &sent)),
                    ),
                    (
                        At::ToPod(CLIENT),
                        error(client, &went),
                        Fate::Becomes(error(client, &dialled)),
                    ),
                    (
                        At::FromUplink,
                        error(vip, &fragment(vip, client, 1)),
                        Fate::Dropped,
                    ),
                ],
                flows: vec![case.flow(client, server, 0)],
                drops: vec!["not-a-port"],
                ..row(
                    &format!("{quoted} bytes quoted"),
                    kubia(case, Endpoint::here(server)),
                )
            }
        });
        rows.to_vec()
    });
}

#[test]
fn they_follow_their_first_there_and_back() {
    check(|case| {
        let (vip, server) = (case.vip(), case.server());
        let path = |at, back_at, client, flags, name: &str| {
            let mut all = Vec::new();
            if case.is_tcp() {
                all.extend(opening(case, at, client, [vip, server]));
            }
            all.extend(steps(
                at,
                &big(case, client, vip),
                &big(case, client, server),
                Fate::Becomes,
            ));
            all.extend(steps(
                back_at,
                &big(case, server, client),
                &big(case, vip, client),
                Fate::Becomes,
            ));
            Row {
                steps: all,
                flows: vec![case.flow(client, server, flags)],
                ..row(name, kubia(case, Endpoint::here(server)))
            }
        };
        vec![
            path(
                At::FromPod(CLIENT),
                At::ToPod(CLIENT),
                case.client(),
                0,
                "from a pod",
            ),
            path(
                At::FromUplink,
                At::ToUplink,
                case.outside(),
                FLOW_OUTSIDE,
                "from outside",
            ),
        ]
    });
}

#[test]
fn they_follow_their_first_through_another_nodes_address() {
    check(|case| {
        let (client, vip, far) = (case.outside(), case.vip(), case.far_server());
        let source = case.node(SNAT_PORT);
        let sent = |toward| move |packet: Packet| Fate::Sent(packet.with_ttl(63), toward);
        let mut all = Vec::new();
        if case.is_tcp() {
            all.push((
                At::FromUplink,
                case.first(client, vip),
                sent(Toward::Elsewhere)(case.first(source, far)),
            ));
        }
        all.extend(steps(
            At::FromUplink,
            &big(case, client, vip),
            &big(case, source, far),
            sent(Toward::Elsewhere),
        ));
        all.extend(steps(
            At::FromUplink,
            &big(case, far, source),
            &big(case, vip, client),
            sent(Toward::Router),
        ));
        vec![Row {
            steps: all,
            flows: vec![FlowPair {
                source,
                ..case.flow(client, far, FLOW_OUTSIDE | FLOW_SNAT)
            }],
            ..row("in transit", kubia(case, Endpoint::elsewhere(far)))
        }]
    });
}

/// On a node's address a fragment without ports may be anybody's, until its first said whose.
#[test]
fn they_follow_their_first_to_a_node_port() {
    check(|case| {
        let (client, server) = (case.outside(), case.server());
        if case.is_tcp() {
            return Vec::new();
        }
        let frontend = case.node(30_123);
        let endpoint = [Endpoint::here(server)];
        let service = Service::new(FRONTEND_NODE_PORT, case.protocol, frontend, &endpoint);
        let mut all = steps(
            At::FromUplink,
            &big(case, client, frontend),
            &big(case, client, server),
            Fate::Becomes,
        );
        let other = big(case, client, case.node(9_999)).in_fragments(ID + 1, SIZE);
        all.extend(
            other
                .into_iter()
                .map(|part| (At::FromUplink, part, Fate::Untouched)),
        );
        vec![Row {
            steps: all,
            flows: vec![FlowPair {
                frontend,
                ..case.flow(client, server, FLOW_OUTSIDE)
            }],
            ..row(
                "a node port and another port",
                Fixture::new().with(&service),
            )
        }]
    });
}

/// Destination options are part of what is fragmented, so the first fragment has them alone.
#[test]
fn the_fragment_header_may_stand_anywhere_in_the_chain() {
    check(|case| {
        if case.family == Family::V4 || case.is_tcp() {
            return Vec::new();
        }
        let dress = |packet: Packet| {
            packet.with_extensions(&[
                Extension::padding(Extension::HOP_BY_HOP, 8),
                Extension::routing(0),
                Extension::padding(Extension::DESTINATION_OPTIONS, 16),
            ])
        };
        let (client, vip, server) = (case.outside(), case.vip(), case.server());
        // RFC 6946: a fragment that is all of its datagram is one by itself, whatever came before.
        let alone = |to| case.later(client, to).fragment(ID, 0, false);
        let mut all = steps(
            At::FromUplink,
            &dress(big(case, client, vip)),
            &dress(big(case, client, server)),
            Fate::Becomes,
        );
        all.push((At::FromUplink, alone(vip), Fate::Becomes(alone(server))));
        vec![Row {
            steps: all,
            flows: vec![case.flow(client, server, FLOW_OUTSIDE)],
            ..row("a chain around it", kubia(case, Endpoint::here(server)))
        }]
    });
}

/// XDP lets it pass: it may run before traffic control has seen the first fragment.
#[test]
fn an_early_one_is_dropped_where_it_is_for_a_service() {
    check(|case| {
        let (client, vip) = (case.outside(), case.vip());
        let last = |from, to| big(case, from, to).in_fragments(ID, SIZE).remove(2);
        let others = [case.node(80), case.server(), case.client()];
        let mut all = vec![
            (At::BehindXdp, last(client, vip), Fate::Dropped),
            (At::FromPod(CLIENT), last(case.client(), vip), Fate::Dropped),
        ];
        all.extend(others.map(|to| (At::FromUplink, last(client, to), Fate::Untouched)));
        all.extend(others.map(|to| (At::ToUplink, last(to, client), Fate::Untouched)));
        let at_vip = Row {
            steps: all,
            drops: vec!["tc early-fragment"; 2],
            ..row("early", kubia(case, Endpoint::here(case.server())))
        };
        // Too short to say what it begins: its others could follow nothing.
        let tiny = case.first(client, vip).in_fragments(ID, 8).remove(0);
        let mut rows = vec![at_vip];
        if case.is_tcp() {
            rows.push(Row {
                steps: vec![(At::FromUplink, tiny, Fate::Dropped)],
                drops: vec!["malformed"],
                ..row(
                    "a tiny first one",
                    kubia(case, Endpoint::here(case.server())),
                )
            });
        }
        rows
    });
}

/// Its checksum covers the whole packet and its ports, which no fragment has at hand.
#[test]
fn sctp_goes_whole_or_not_at_all() {
    check_sctp(|case| {
        let (client, vip) = (case.outside(), case.vip());
        let [first, later, _] = big(case, client, vip)
            .in_fragments(ID, SIZE)
            .try_into()
            .expect("three fragments");
        let init = case.first(client, vip).fragment(ID + 1, 0, true);
        vec![Row {
            steps: vec![
                (At::FromUplink, init, Fate::Dropped),
                (At::FromUplink, first, Fate::Dropped),
                (At::BehindXdp, later, Fate::Dropped),
                (
                    At::FromUplink,
                    case.first(client, case.node(80)).fragment(ID, 0, true),
                    Fate::Untouched,
                ),
            ],
            drops: vec!["sctp-fragment", "sctp-fragment", "tc early-fragment"],
            ..row("SCTP", kubia(case, Endpoint::here(case.server())))
        }]
    });
}

#[test]
fn a_first_one_is_forgotten_after_its_time() {
    on(Cluster::routed_veth, |cluster| {
        cluster.here().place().netns().run(|| {
            let mut kernel = Kernel::load()?;
            kernel.attach_xdp(UPLINK)?;
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            for case in all().into_iter().filter(|case| !case.is_tcp()) {
                let mut fixture = kubia(case, Endpoint::here(case.server()));
                // Seconds of one jiffy: fifteen of them are over after 150 ms on any kernel.
                fixture.tables.config.hz = 1;
                kernel.reset(&fixture.tables)?;
                let parts = big(case, case.outside(), case.vip()).in_fragments(ID, SIZE);
                let run = |part: &Packet| kernel.run("tc_uplink_in", uplink, &part.bytes());
                ensure!(run(&parts[0])?.code == Code::Next, "{case:?}");
                ensure!(run(&parts[1])?.code == Code::Next, "{case:?}");
                std::thread::sleep(Duration::from_millis(250));
                ensure!(run(&parts[2])?.code == Code::Drop, "{case:?}");
            }
            Ok(())
        })
    });
}
