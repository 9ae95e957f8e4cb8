//! An outside client and a pod of another node: both directions pass through the programs alone,
//! so what a router owes is owed there.

use lb_common::layout::{CONFIG_MASQUERADE_ALL, FLOW_OUTSIDE, FLOW_SNAT};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, FlowPair, Row, SNAT_PORT, Service, Toward};
use lb_tests::packet::Packet;

use super::cases::{CLIENT, Case, check, check_each_protocol, row};

const FLAGS: u16 = FLOW_OUTSIDE | FLOW_SNAT;

fn kubia(case: Case) -> Fixture {
    let far = Endpoint::elsewhere(case.far_server());
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[far]))
}

#[test]
fn transit_takes_the_nodes_address_and_counts_the_time_to_live_down() {
    check_each_protocol(|case| {
        let (client, vip, far) = (case.outside(), case.vip(), case.far_server());
        let source = case.node(SNAT_PORT);
        let sent = |packet: Packet, toward| Fate::Sent(packet.with_ttl(63), toward);
        vec![Row {
            steps: vec![
                (
                    At::FromUplink,
                    case.first(client, vip),
                    sent(case.first(source, far), Toward::Elsewhere),
                ),
                (
                    At::FromUplink,
                    case.reply(far, source),
                    sent(case.reply(vip, client), Toward::Router),
                ),
                (
                    At::FromUplink,
                    case.later(client, vip),
                    sent(case.later(source, far), Toward::Elsewhere),
                ),
            ],
            flows: vec![FlowPair {
                source,
                ..case.flow(client, far, FLAGS)
            }],
            ..row("there and back", kubia(case))
        }]
    });
}

#[test]
fn a_spent_time_to_live_ends_here() {
    check_each_protocol(|case| {
        let (client, vip, far) = (case.outside(), case.vip(), case.far_server());
        let source = case.node(SNAT_PORT);
        let answer = |packet: &Packet| {
            let error = case.time_exceeded();
            let (node, to) = (case.node_address(), packet.source.ip());
            case.error(node, to, error, packet, case.longest_quote())
                .turned()
        };
        let first = case.first(client, vip).with_ttl(1);
        let [later, reply] = [case.later(client, vip), case.reply(far, source)];
        let [later, reply] = [later.with_ttl(1), reply.with_ttl(0)];
        vec![
            Row {
                steps: vec![(
                    At::FromUplink,
                    first.clone(),
                    Fate::Answered(answer(&first)),
                )],
                drops: vec!["time-exceeded"],
                ..row("the first packet", kubia(case))
            },
            Row {
                steps: vec![
                    (
                        At::FromUplink,
                        case.first(client, vip),
                        Fate::Sent(case.first(source, far).with_ttl(63), Toward::Elsewhere),
                    ),
                    (
                        At::FromUplink,
                        later.clone(),
                        Fate::Answered(answer(&later)),
                    ),
                    (
                        At::FromUplink,
                        reply.clone(),
                        Fate::Answered(answer(&reply)),
                    ),
                ],
                flows: vec![FlowPair {
                    source,
                    ..case.flow(client, far, FLAGS)
                }],
                drops: vec!["time-exceeded", "time-exceeded"],
                ..row("later packets", kubia(case))
            },
        ]
    });
}

#[test]
fn the_sender_of_a_packet_too_big_for_the_next_link_hears_how_much_fits() {
    check_each_protocol(|case| {
        let (client, vip, far) = (case.outside(), case.vip(), case.far_server());
        let source = case.node(SNAT_PORT);
        let answer = |packet: &Packet| {
            let error = case.too_big(1_500);
            let (node, to) = (case.node_address(), packet.source.ip());
            case.error(node, to, error, packet, case.longest_quote())
                .turned()
        };
        let big = |packet: Packet| packet.with_payload(&[7; 1_600]);
        let first = big(case.first(client, vip));
        let [later, reply] = [case.later(client, vip), case.reply(far, source)].map(big);
        vec![
            Row {
                steps: vec![(
                    At::FromUplink,
                    first.clone(),
                    Fate::Answered(answer(&first)),
                )],
                drops: vec!["too-big"],
                ..row("the first packet", kubia(case))
            },
            Row {
                steps: vec![
                    (
                        At::FromUplink,
                        case.first(client, vip),
                        Fate::Sent(case.first(source, far).with_ttl(63), Toward::Elsewhere),
                    ),
                    (
                        At::FromUplink,
                        later.clone(),
                        Fate::Answered(answer(&later)),
                    ),
                    (
                        At::FromUplink,
                        reply.clone(),
                        Fate::Answered(answer(&reply)),
                    ),
                ],
                flows: vec![FlowPair {
                    source,
                    ..case.flow(client, far, FLAGS)
                }],
                drops: vec!["too-big", "too-big"],
                ..row("later packets", kubia(case))
            },
        ]
    });
}

/// What counts is how long each packet is on the wire. (XDP never sees several in one.)
#[test]
fn an_aggregate_is_judged_by_its_segments() {
    check(|case| {
        if !case.is_tcp() {
            return Vec::new();
        }
        let (client, vip, far) = (case.outside(), case.vip(), case.far_server());
        let source = case.node(SNAT_PORT);
        let reply = |from, to| case.reply(from, to).with_payload(&[7; 3_000]);
        // Headers of 20 bytes of TCP, and 20 or 40 of IP.
        let fits = 1_500 - case.header() as u32 - 20;
        let begin = (
            At::FromPod(CLIENT),
            case.first(client, vip),
            Fate::Sent(case.first(source, far).with_ttl(63), Toward::Elsewhere),
        );
        let at_pod = |segment| {
            let packet = reply(far, source).in_segments_of(segment);
            (At::FromPod(CLIENT), packet)
        };
        let (at, packet) = at_pod(fits);
        let carried = Row {
            steps: vec![
                begin.clone(),
                (
                    at,
                    packet,
                    Fate::Sent(reply(vip, client).with_ttl(63), Toward::Router),
                ),
            ],
            flows: vec![FlowPair {
                source,
                ..case.flow(client, far, FLOW_SNAT)
            }],
            ..row("segments that fit", everybody(case))
        };
        let (at, packet) = at_pod(fits + 1);
        let error = case.too_big(1_500);
        let (node, to) = (case.node_address(), far.ip());
        let answer = case.error(node, to, error, &packet, case.longest_quote());
        let told = Row {
            steps: vec![begin, (at, packet, Fate::Answered(answer.turned()))],
            flows: carried.flows.clone(),
            drops: vec!["too-big"],
            ..row("segments that do not", everybody(case))
        };
        vec![carried, told]
    });
}

/// A node that replaces every client's address: transit then also comes from pods, which only
/// traffic control sees.
fn everybody(case: Case) -> Fixture {
    let mut fixture = kubia(case);
    fixture.tables.config.flags |= CONFIG_MASQUERADE_ALL;
    fixture
}

/// RFC 1122, section 3.2.2: errors about errors would never end.
#[test]
fn an_error_is_not_answered_by_an_error() {
    check(|case| {
        let (client, vip, far) = (case.outside(), case.vip(), case.far_server());
        let source = case.node(SNAT_PORT);
        let about = case.later(source, far);
        let error = |ttl, quoted| {
            let error = case.time_exceeded();
            let packet = about.clone().with_payload(&[7; 1_600]);
            case.error(far.ip(), source.ip(), error, &packet, quoted)
                .with_ttl(ttl)
        };
        vec![Row {
            steps: vec![
                (
                    At::FromUplink,
                    case.first(client, vip),
                    Fate::Sent(case.first(source, far).with_ttl(63), Toward::Elsewhere),
                ),
                (At::FromUplink, error(1, 100), Fate::Dropped),
                (At::FromUplink, error(64, 1_600), Fate::Dropped),
            ],
            flows: vec![FlowPair {
                source,
                ..case.flow(client, far, FLAGS)
            }],
            drops: vec!["time-exceeded", "too-big"],
            ..row("a spent error, a big one", kubia(case))
        }]
    });
}

/// The fixture gives SNAT one port.
#[test]
fn a_second_client_finds_no_port_free() {
    check_each_protocol(|case| {
        let (client, vip, far) = (case.outside(), case.vip(), case.far_server());
        let mut second = client;
        second.set_port(40_001);
        let source = case.node(SNAT_PORT);
        let sent = Fate::Sent(case.first(source, far).with_ttl(63), Toward::Elsewhere);
        vec![Row {
            steps: vec![
                (At::FromUplink, case.first(client, vip), sent),
                (At::FromUplink, case.first(second, vip), Fate::Dropped),
            ],
            flows: vec![FlowPair {
                source,
                ..case.flow(client, far, FLAGS)
            }],
            drops: vec!["snat-exhausted"],
            ..row("one port, two clients", kubia(case))
        }]
    });
}

#[test]
fn a_backend_that_no_route_leads_to_is_counted() {
    check_each_protocol(|case| {
        let lost = case.address("192.0.2.80", "2001:db8:dead::80", 8080);
        let fixture = Fixture::new().with(&Service::cluster_ip(
            case.protocol,
            case.vip(),
            &[Endpoint::elsewhere(lost)],
        ));
        vec![Row {
            steps: vec![(
                At::FromUplink,
                case.first(case.outside(), case.vip()),
                Fate::Dropped,
            )],
            drops: vec!["no-route"],
            ..row("no route", fixture)
        }]
    });
}
