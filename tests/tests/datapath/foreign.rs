//! What is not ours stays as it is, to the last byte, whatever it is.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use lb_common::layout::{FRONTEND_EXTERNAL_IP, FRONTEND_LOOPBACK, FRONTEND_NODE_PORT};
use lb_tests::datapath::{At, Code, Endpoint, Fate, Fixture, Kernel, Row, Service};
use lb_tests::packet::{Body, Packet};
use lb_tests::topology::{Cluster, Family, UPLINK, on};

use super::cases::{CLIENT, Case, SERVER, check, row};

fn kubia(case: Case) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(
        case.protocol,
        case.vip(),
        &[Endpoint::here(case.server())],
    ))
}

fn untouched(name: &str, case: Case, packets: Vec<(At, Packet)>) -> Row {
    let steps = packets
        .into_iter()
        .map(|(at, packet)| (at, packet, Fate::Untouched));
    Row {
        steps: steps.collect(),
        ..row(name, kubia(case))
    }
}

#[test]
fn traffic_that_is_not_for_a_frontend_passes() {
    check(|case| {
        let (client, server) = (case.client(), case.server());
        let world = case.address("192.0.2.80", "2001:db8:80::80", 443);
        let sctp = Body::Raw {
            protocol: 132,
            bytes: vec![0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        vec![
            untouched(
                "pod to pod",
                case,
                vec![
                    (At::FromPod(CLIENT), case.first(client, server)),
                    (At::ToPod(SERVER), case.first(client, server)),
                    (At::FromPod(CLIENT), case.later(client, server)),
                ],
            ),
            untouched(
                "pod to the world and back",
                case,
                vec![
                    (At::FromPod(CLIENT), case.first(client, world)),
                    (At::ToUplink, case.first(client, world)),
                    (At::FromUplink, case.reply(world, client)),
                    (At::ToPod(CLIENT), case.reply(world, client)),
                ],
            ),
            untouched(
                "outside to the node itself",
                case,
                vec![
                    (At::FromUplink, case.first(case.outside(), case.node(22))),
                    (At::FromUplink, case.later(case.outside(), case.node(22))),
                    (At::ToUplink, case.reply(case.node(22), case.outside())),
                ],
            ),
            untouched(
                "another protocol",
                case,
                vec![
                    (
                        At::FromPod(CLIENT),
                        Packet::new(client, server, sctp.clone()),
                    ),
                    (
                        At::FromUplink,
                        Packet::new(case.outside(), case.node(0), sctp),
                    ),
                ],
            ),
        ]
    });
}

/// They may be the node's own: its SSH, its ping.
#[test]
fn only_the_ports_of_an_external_ip_are_ours() {
    check(|case| {
        let frontend = case.node(80);
        let service = Service::new(
            FRONTEND_EXTERNAL_IP,
            case.protocol,
            frontend,
            &[Endpoint::here(case.server())],
        );
        let kind = match case.family {
            Family::V4 => [8, 0],
            Family::V6 => [128, 0],
        };
        let ping = Packet::icmp(
            case.outside().ip(),
            frontend.ip(),
            kind,
            [0, 7, 0, 1],
            b"ping",
        );
        vec![Row {
            steps: vec![
                (
                    At::FromUplink,
                    case.first(case.outside(), case.node(22)),
                    Fate::Untouched,
                ),
                (
                    At::FromUplink,
                    case.later(case.outside(), case.node(22)),
                    Fate::Untouched,
                ),
                (At::FromUplink, ping, Fate::Untouched),
                (
                    At::FromPod(CLIENT),
                    case.first(case.client(), case.node(22)),
                    Fate::Untouched,
                ),
            ],
            ..row(
                "other ports of an external IP",
                Fixture::new().with(&service),
            )
        }]
    });
}

/// Before the daemon has written the configuration, the programs are not there.
#[test]
fn without_configuration_everything_passes() {
    check(|case| {
        let mut fixture = kubia(case);
        fixture.tables.config.layout_version = 0;
        let steps = [
            case.first(case.client(), case.vip()),
            case.later(case.client(), case.vip()),
        ];
        vec![Row {
            steps: steps
                .map(|packet| (At::FromPod(CLIENT), packet, Fate::Untouched))
                .into(),
            ..row("no configuration", fixture)
        }]
    });
}

/// Every program, over every prefix of packets of all kinds, and over packets whose every header
/// byte was changed: whatever comes, it is a verdict, and what passes unserved passes unchanged.
#[test]
fn cut_and_damaged_packets_do_no_harm() {
    on(Cluster::routed_veth, |cluster| {
        cluster.here().pod_at(CLIENT, "client")?;
        cluster.here().place().netns().run(|| {
            let mut kernel = Kernel::load()?;
            kernel.attach_xdp(UPLINK)?;
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            for case in super::cases::every() {
                kernel.reset(&kubia(case).tables)?;
                let packets = [
                    case.first(case.client(), case.vip()),
                    case.later(case.outside(), case.server()),
                ];
                for packet in packets {
                    try_all(&kernel, uplink, &packet, case.vip())?;
                }
            }
            Ok(())
        })
    });
}

fn try_all(kernel: &Kernel, link: u32, packet: &Packet, vip: SocketAddr) -> anyhow::Result<()> {
    /// The kernel's own floor: an Ethernet header, and for IP packets an IP header.
    const FLOOR: [usize; 2] = [14 + 20, 14 + 40];
    let whole = packet.bytes();
    let floor = FLOOR[usize::from(vip.is_ipv6())];
    let cut = (floor..whole.len()).map(|length| whole[..length].to_vec());
    let damaged = (14..whole.len()).flat_map(|at| {
        [0x00, 0x01, 0x7f, 0x80, 0xff].map(|value| {
            let mut bytes = whole.clone();
            bytes[at] ^= value;
            bytes
        })
    });
    for bytes in cut.chain(damaged) {
        for program in [
            "tc_pod_in",
            "tc_pod_out",
            "tc_uplink_in",
            "tc_uplink_out",
            "xdp_uplink",
        ] {
            let run = kernel
                .run(program, link, &bytes)
                .with_context(|| format!("{bytes:02x?}"))?;
            let grew = run.bytes.len() > bytes.len() + 64;
            ensure!(
                run.code == Code::Drop || !grew,
                "{program}: {bytes:02x?} became {:02x?}",
                run.bytes
            );
        }
    }
    Ok(())
}

/// What clients of the node's own get there, the socket hook gives them; a packet at a link that
/// names somebody's loopback is forged.
#[test]
fn node_ports_on_localhost_are_for_no_packet_at_a_link() {
    check(|case| {
        let localhost = case.address("127.0.0.1", "::1", 30_123);
        let service = Service::new(
            FRONTEND_NODE_PORT | FRONTEND_LOOPBACK,
            case.protocol,
            localhost,
            &[Endpoint::here(case.server())],
        );
        let sources = [
            (At::FromUplink, case.outside()),
            (At::FromUplink, case.node(40_000)),
            (At::FromUplink, localhost),
            (At::FromPod(CLIENT), case.client()),
        ];
        let untouched = |(at, source)| (at, case.first(source, localhost), Fate::Untouched);
        vec![Row {
            steps: sources.map(untouched).to_vec(),
            ..row("a node port on localhost", Fixture::new().with(&service))
        }]
    });
}
