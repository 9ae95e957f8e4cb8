//! One client port, several ways to the same backend: through two frontends, through one and
//! directly, by hairpin. Each keeps its own.

use lb_common::layout::{FLOW_DIRECT, FLOW_HAIRPIN, FLOW_OUTSIDE, FLOW_RENUMBERED, FLOW_SNAT};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, FlowPair, Row, SNAT_PORT, Service};
use lb_tests::packet::{ACK, Packet, SYN};

use super::cases::{CLIENT, Case, SERVER, check, check_each_protocol, row};

fn kubia(case: Case) -> Fixture {
    let here = Endpoint::here(case.server());
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[here]))
}

/// The flow of a direct connection.
fn direct(case: Case, source: std::net::SocketAddr, flags: u16) -> FlowPair {
    FlowPair {
        frontend: case.server(),
        source,
        ..case.flow(case.client(), case.server(), flags | FLOW_DIRECT)
    }
}

/// The pod's replies would be alike: one of the two flows must look different to it.
#[test]
fn the_same_client_port_through_two_frontends_is_kept_apart() {
    check_each_protocol(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let other = case.address("10.43.7.83", "fd00:10:43::783", 80);
        let renumbered = case.pod(CLIENT, SNAT_PORT);
        let endpoint = [Endpoint::here(server)];
        let fixture = Fixture::new()
            .with(&Service::cluster_ip(case.protocol, vip, &endpoint))
            .with(&Service::cluster_ip(case.protocol, other, &endpoint));
        vec![Row {
            steps: vec![
                (
                    At::FromPod(CLIENT),
                    case.first(client, vip),
                    Fate::Becomes(case.first(client, server)),
                ),
                (
                    At::FromPod(CLIENT),
                    case.first(client, other),
                    Fate::Becomes(case.first(renumbered, server)),
                ),
                (
                    At::ToPod(CLIENT),
                    case.reply(server, client),
                    Fate::Becomes(case.reply(vip, client)),
                ),
                (
                    At::ToPod(CLIENT),
                    case.reply(server, renumbered),
                    Fate::Becomes(case.reply(other, client)),
                ),
            ],
            flows: vec![
                case.flow(client, server, 0),
                FlowPair {
                    frontend: other,
                    source: renumbered,
                    ..case.flow(client, server, FLOW_RENUMBERED)
                },
            ],
            ..row("one client port, two frontends, one pod", fixture)
        }]
    });
}

#[test]
fn a_direct_connection_after_one_through_a_frontend_gets_another_port() {
    check(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let renumbered = case.pod(CLIENT, SNAT_PORT);
        vec![Row {
            steps: vec![
                (
                    At::FromPod(CLIENT),
                    case.first(client, vip),
                    Fate::Becomes(case.first(client, server)),
                ),
                (
                    At::FromPod(CLIENT),
                    case.first(client, server),
                    Fate::Becomes(case.first(renumbered, server)),
                ),
                (
                    At::ToPod(CLIENT),
                    case.reply(server, renumbered),
                    Fate::Becomes(case.reply(server, client)),
                ),
                (
                    At::ToPod(CLIENT),
                    case.reply(server, client),
                    Fate::Becomes(case.reply(vip, client)),
                ),
                (
                    At::FromPod(CLIENT),
                    case.later(client, server),
                    Fate::Becomes(case.later(renumbered, server)),
                ),
                // Another port of the client's is nobody's rival.
                (
                    At::FromPod(CLIENT),
                    case.first(case.pod(CLIENT, 40_001), server),
                    Fate::Untouched,
                ),
            ],
            flows: vec![
                case.flow(client, server, 0),
                direct(case, renumbered, FLOW_RENUMBERED),
            ],
            ..row("directly, later", kubia(case))
        }]
    });
}

/// What the backend says of a connection that we know nothing of shows that there is one: it answers
/// no SYN in this way.
#[test]
fn a_direct_connection_that_was_there_before_goes_on() {
    check(|case| {
        if !case.is_tcp() {
            return Vec::new();
        }
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let renumbered = case.pod(CLIENT, SNAT_PORT);
        let syn = Packet::tcp(client, vip, SYN);
        let data = Packet::tcp(server, client, ACK).with_payload(b"for the direct one");
        vec![Row {
            steps: vec![
                (
                    At::FromPod(CLIENT),
                    syn.clone(),
                    Fate::Becomes(syn.between(client, server)),
                ),
                (At::ToPod(CLIENT), data.clone(), Fate::Untouched),
                (
                    At::FromPod(CLIENT),
                    case.later(client, server),
                    Fate::Untouched,
                ),
                // The client repeats its SYN.
                (
                    At::FromPod(CLIENT),
                    syn.clone(),
                    Fate::Becomes(syn.between(renumbered, server)),
                ),
                (At::ToPod(CLIENT), data, Fate::Untouched),
                (
                    At::ToPod(CLIENT),
                    case.reply(server, renumbered),
                    Fate::Becomes(case.reply(vip, client)),
                ),
            ],
            flows: vec![
                direct(case, client, 0),
                FlowPair {
                    source: renumbered,
                    ..case.flow(client, server, FLOW_RENUMBERED)
                },
            ],
            ..row("directly, before", kubia(case))
        }]
    });
}

/// Of UDP nothing shows that a direct conversation was there before one through a frontend: what the
/// pod says there is taken for the frontend's, until the client speaks there again.
#[test]
fn a_direct_conversation_that_was_there_before_is_confused_until_the_client_speaks() {
    check(|case| {
        if case.is_tcp() {
            return Vec::new();
        }
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let renumbered = case.pod(CLIENT, SNAT_PORT);
        vec![Row {
            steps: vec![
                (
                    At::FromPod(CLIENT),
                    case.first(client, server),
                    Fate::Untouched,
                ),
                (
                    At::FromPod(CLIENT),
                    case.first(client, vip),
                    Fate::Becomes(case.first(client, server)),
                ),
                // Whichever of the two it is meant for.
                (
                    At::ToPod(CLIENT),
                    case.reply(server, client),
                    Fate::Becomes(case.reply(vip, client)),
                ),
                (
                    At::FromPod(CLIENT),
                    case.later(client, server),
                    Fate::Becomes(case.later(renumbered, server)),
                ),
                (
                    At::ToPod(CLIENT),
                    case.reply(server, renumbered),
                    Fate::Becomes(case.reply(server, client)),
                ),
                (
                    At::ToPod(CLIENT),
                    case.reply(server, client),
                    Fate::Becomes(case.reply(vip, client)),
                ),
            ],
            flows: vec![
                case.flow(client, server, 0),
                direct(case, renumbered, FLOW_RENUMBERED),
            ],
            ..row("directly, before", kubia(case))
        }]
    });
}

/// A pod that is its own backend is seen as the node, on a port that no other flow has toward it:
/// another client that comes through SNAT finds the only port taken.
#[test]
fn a_hairpin_and_snat_never_share_a_port() {
    check(|case| {
        let (vip, server) = (case.vip(), case.server());
        let (client, source) = (case.pod(SERVER, 40_000), case.node(SNAT_PORT));
        let mut fixture = kubia(case);
        fixture.tables.config.flags = lb_common::layout::CONFIG_MASQUERADE_ALL;
        vec![Row {
            steps: vec![
                (
                    At::FromPod(SERVER),
                    case.first(client, vip),
                    Fate::Answered(case.first(source, server).turned()),
                ),
                (
                    At::FromPod(CLIENT),
                    case.first(case.client(), vip),
                    Fate::Dropped,
                ),
            ],
            flows: vec![FlowPair {
                source,
                ..case.flow(client, server, FLOW_HAIRPIN)
            }],
            drops: vec!["snat-exhausted"],
            ..row("itself and another pod", fixture)
        }]
    });
}

/// Where the only port that SNAT may use is one that a process of the node listens on.
#[test]
fn snat_keeps_off_ports_of_the_nodes_sockets() {
    use super::cases::check_with;
    check_with(
        |cluster| {
            let place = cluster.here().place();
            let listen = |ip: std::net::IpAddr| {
                let at = std::net::SocketAddr::new(ip, SNAT_PORT);
                place.netns().run(|| {
                    Ok((
                        std::net::TcpListener::bind(at)?,
                        std::net::UdpSocket::bind(at)?,
                    ))
                })
            };
            lb_tests::topology::Family::ALL
                .into_iter()
                .map(|family| listen(place.address(family)))
                .collect::<anyhow::Result<Vec<_>>>()
        },
        |case| {
            let far = Endpoint::elsewhere(case.far_server());
            let service = Service::cluster_ip(case.protocol, case.vip(), &[far]);
            let mut fixture = Fixture::new().with(&service);
            let taken = Row {
                steps: vec![(
                    At::FromUplink,
                    case.first(case.outside(), case.vip()),
                    Fate::Dropped,
                )],
                drops: vec!["snat-exhausted"],
                ..row("no other port", fixture.clone())
            };
            fixture.tables.config.snat_ports = [SNAT_PORT, SNAT_PORT + 1];
            let source = case.node(SNAT_PORT + 1);
            let sent = case.first(source, case.far_server()).with_ttl(63);
            let free = Row {
                steps: vec![(
                    At::FromUplink,
                    case.first(case.outside(), case.vip()),
                    Fate::Sent(sent, lb_tests::datapath::Toward::Elsewhere),
                )],
                flows: vec![FlowPair {
                    source,
                    ..case.flow(case.outside(), case.far_server(), FLOW_OUTSIDE | FLOW_SNAT)
                }],
                ..row("one other port", fixture)
            };
            vec![taken, free]
        },
    );
}
