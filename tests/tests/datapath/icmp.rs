//! An ICMP error is about somebody's packet: whoever sent that sees it as if there were no VIP, or
//! as if the VIP were the machine that answered.

use lb_common::layout::{FLOW_HAIRPIN, FLOW_OUTSIDE, FLOW_RENUMBERED, FLOW_SNAT};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, FlowPair, Row, SNAT_PORT, Service, Toward};
use lb_tests::packet::{Body, Packet};

use super::cases::{CLIENT, Case, Error, SERVER, check, check_each_protocol, row};

/// The whole packet is quoted.
const ALL: usize = usize::MAX;

fn kubia(case: Case, endpoint: Endpoint) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]))
}

/// A row for each error, quoting all of the packet and the least that there may be.
fn each(case: Case, make: impl Fn(Error, usize) -> Row) -> Vec<Row> {
    let mut rows = Vec::new();
    for error in case.errors() {
        for quoted in [ALL, case.header() + 8] {
            if case.is_sctp() && quoted == ALL {
                // Its checksum covers the payload, of which a quote seldom has all: it stays as it
                // is, and nobody looks at it.
                continue;
            }
            let row = make(error, quoted);
            let name = format!("{}, {:?}, {quoted} bytes quoted", row.name, error.kind);
            rows.push(Row { name, ..row });
        }
    }
    rows
}

/// The stack between sees client and pod, so for conntrack the error belongs to their connection.
#[test]
fn errors_about_a_clients_packet_name_the_frontend_that_it_dialled() {
    check_each_protocol(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        each(case, |error, quoted| {
            let sent = case.later(client, server);
            let dialled = case.later(client, vip);
            let from = |source, about| case.error(source, client.ip(), error, about, quoted);
            Row {
                steps: vec![
                    (
                        At::FromPod(CLIENT),
                        case.first(client, vip),
                        Fate::Becomes(case.first(client, server)),
                    ),
                    (
                        At::FromPod(SERVER),
                        from(server.ip(), &sent),
                        Fate::Untouched,
                    ),
                    (
                        At::ToPod(CLIENT),
                        from(server.ip(), &sent),
                        Fate::Becomes(from(vip.ip(), &dialled)),
                    ),
                    // A router on the way keeps its name.
                    (
                        At::ToPod(CLIENT),
                        from(case.router(), &sent),
                        Fate::Becomes(from(case.router(), &dialled)),
                    ),
                ],
                flows: vec![case.flow(client, server, 0)],
                ..row(
                    "from the backend's side",
                    kubia(case, Endpoint::here(server)),
                )
            }
        })
    });
}

#[test]
fn errors_about_a_reply_name_the_backend_that_sent_it() {
    check_each_protocol(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        each(case, |error, quoted| {
            let got = case.reply(vip, client);
            let sent = case.reply(server, client);
            let router = case.router();
            Row {
                steps: vec![
                    (
                        At::FromPod(CLIENT),
                        case.first(client, vip),
                        Fate::Becomes(case.first(client, server)),
                    ),
                    (
                        At::FromPod(CLIENT),
                        case.error(client.ip(), vip.ip(), error, &got, quoted),
                        Fate::Becomes(case.error(client.ip(), server.ip(), error, &sent, quoted)),
                    ),
                    (
                        At::FromUplink,
                        case.error(router, vip.ip(), error, &got, quoted),
                        Fate::Becomes(case.error(router, server.ip(), error, &sent, quoted)),
                    ),
                ],
                flows: vec![case.flow(client, server, 0)],
                ..row(
                    "from the client's side",
                    kubia(case, Endpoint::here(server)),
                )
            }
        })
    });
}

/// Both directions are ours, so errors go by redirect, too, and count the time to live down.
#[test]
fn errors_find_their_way_through_snat() {
    check_each_protocol(|case| {
        let (client, vip, far) = (case.outside(), case.vip(), case.far_server());
        let source = case.node(SNAT_PORT);
        let router = case.router();
        each(case, |error, quoted| {
            let about = |from, to, packet: &Packet| case.error(from, to, error, packet, quoted);
            let [sent, dialled] = [case.later(source, far), case.later(client, vip)];
            let [replied, got] = [case.reply(far, source), case.reply(vip, client)];
            Row {
                steps: vec![
                    (
                        At::FromUplink,
                        case.first(client, vip),
                        Fate::Sent(case.first(source, far).with_ttl(63), Toward::Elsewhere),
                    ),
                    (
                        At::FromUplink,
                        about(far.ip(), source.ip(), &sent),
                        Fate::Sent(
                            about(vip.ip(), client.ip(), &dialled).with_ttl(63),
                            Toward::Router,
                        ),
                    ),
                    (
                        At::FromUplink,
                        about(router, source.ip(), &sent),
                        Fate::Sent(
                            about(router, client.ip(), &dialled).with_ttl(63),
                            Toward::Router,
                        ),
                    ),
                    (
                        At::FromUplink,
                        about(client.ip(), vip.ip(), &got),
                        Fate::Sent(
                            about(source.ip(), far.ip(), &replied).with_ttl(63),
                            Toward::Elsewhere,
                        ),
                    ),
                    // The backend would answer to whoever it sees: the node, not the router.
                    (
                        At::FromUplink,
                        about(router, vip.ip(), &got),
                        Fate::Sent(
                            about(source.ip(), far.ip(), &replied).with_ttl(63),
                            Toward::Elsewhere,
                        ),
                    ),
                ],
                flows: vec![FlowPair {
                    source,
                    ..case.flow(client, far, FLOW_OUTSIDE | FLOW_SNAT)
                }],
                ..row("transit", kubia(case, Endpoint::elsewhere(far)))
            }
        })
    });
}

#[test]
fn errors_find_their_way_where_a_pod_reaches_itself() {
    check_each_protocol(|case| {
        let server = case.server();
        let (client, vip) = (case.pod(SERVER, 40_000), case.vip());
        let source = case.node(SNAT_PORT);
        each(case, |error, quoted| {
            let about = |from, to, packet: &Packet| case.error(from, to, error, packet, quoted);
            let [sent, dialled] = [case.later(source, server), case.later(client, vip)];
            let [replied, got] = [case.reply(server, source), case.reply(vip, client)];
            Row {
                steps: vec![
                    (
                        At::FromPod(SERVER),
                        case.first(client, vip),
                        Fate::Answered(case.first(source, server).turned()),
                    ),
                    (
                        At::FromPod(SERVER),
                        about(server.ip(), source.ip(), &sent),
                        Fate::Answered(about(vip.ip(), client.ip(), &dialled).turned()),
                    ),
                    (
                        At::FromPod(SERVER),
                        about(client.ip(), vip.ip(), &got),
                        Fate::Answered(about(source.ip(), server.ip(), &replied).turned()),
                    ),
                ],
                flows: vec![FlowPair {
                    source,
                    ..case.flow(client, server, FLOW_HAIRPIN)
                }],
                ..row("hairpin", kubia(case, Endpoint::here(server)))
            }
        })
    });
}

/// One client port through two frontends to one backend: the error about the second flow must not
/// end the first.
#[test]
fn errors_find_the_right_one_of_two_flows() {
    check(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let other = case.address("10.96.151.12", "fd00:10:43::9612", 5_000);
        let renumbered = case.pod(CLIENT, SNAT_PORT);
        let endpoints = [Endpoint::here(server)];
        let fixture =
            kubia(case, endpoints[0]).with(&Service::cluster_ip(case.protocol, other, &endpoints));
        let error = case.too_big(1_400);
        let about = |packet: &Packet| case.error(case.router(), client.ip(), error, packet, ALL);
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
                    about(&case.later(client, server)),
                    Fate::Becomes(about(&case.later(client, vip))),
                ),
                (
                    At::ToPod(CLIENT),
                    about(&case.later(renumbered, server)),
                    Fate::Becomes(about(&case.later(client, other))),
                ),
            ],
            flows: vec![
                case.flow(client, server, 0),
                FlowPair {
                    client,
                    frontend: other,
                    source: renumbered,
                    backend: server,
                    flags: FLOW_RENUMBERED,
                },
            ],
            ..row("two frontends", fixture)
        }]
    });
}

/// Over IPv4 a datagram may go without a checksum, and an error quotes it so.
#[test]
fn a_quoted_datagram_without_checksum_stays_without() {
    check(|case| {
        if case.is_tcp() || case.header() != 20 {
            return Vec::new();
        }
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let bare = |from, to| {
            let body = Body::Udp {
                payload: b"question".to_vec(),
                has_checksum: false,
            };
            Packet::new(from, to, body)
        };
        each(case, |error, quoted| {
            let about =
                |packet: &Packet| case.error(case.router(), client.ip(), error, packet, quoted);
            Row {
                steps: vec![
                    (
                        At::FromPod(CLIENT),
                        bare(client, vip),
                        Fate::Becomes(bare(client, server)),
                    ),
                    (
                        At::ToPod(CLIENT),
                        about(&bare(client, server)),
                        Fate::Becomes(about(&bare(client, vip))),
                    ),
                ],
                flows: vec![case.flow(client, server, 0)],
                ..row("no checksum", kubia(case, Endpoint::here(server)))
            }
        })
    });
}
