//! ICMP errors that belong to no flow, or not to whom they are sent: passed or dropped, never sent
//! elsewhere.

use lb_common::layout::CONFIG_TAKEOVER;
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, Row, Service};
use lb_tests::packet::{Body, Packet};

use super::cases::{CLIENT, Case, check, row};

/// The whole packet is quoted.
const ALL: usize = usize::MAX;

fn kubia(case: Case, endpoint: Endpoint) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]))
}

/// It may be the node's own, or a connection's that is none of ours; toward a ClusterIP, which
/// nobody has, it would go round and round.
#[test]
fn an_error_without_flow_passes_unless_it_is_for_a_cluster_ip() {
    check(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let here = || kubia(case, Endpoint::here(server));
        let mut takeover = here();
        takeover.tables.config.flags |= CONFIG_TAKEOVER;
        let error = case.too_big(1_400);
        let router = case.router();
        let about = |to: std::net::SocketAddr, packet: &Packet| {
            case.error(router, to.ip(), error, packet, ALL)
        };
        let reply = case.reply(vip, client);
        let node = case.node(22);
        let other = Packet::new(
            vip,
            client,
            Body::Raw {
                protocol: 47,
                bytes: vec![0; 8],
            },
        );
        vec![
            Row {
                steps: vec![
                    (
                        At::FromUplink,
                        about(client, &case.later(client, server)),
                        Fate::Untouched,
                    ),
                    (
                        At::ToPod(CLIENT),
                        about(client, &case.later(client, server)),
                        Fate::Untouched,
                    ),
                    (
                        At::FromUplink,
                        about(node, &case.reply(node, case.outside())),
                        Fate::Untouched,
                    ),
                ],
                ..row("somebody else's", here())
            },
            Row {
                steps: vec![(At::FromUplink, about(vip, &reply), Fate::Dropped)],
                drops: vec!["not-a-port"],
                ..row("for a ClusterIP", here())
            },
            Row {
                steps: vec![(At::FromUplink, about(vip, &other), Fate::Dropped)],
                drops: vec!["not-a-port"],
                ..row("about another protocol", here())
            },
            Row {
                steps: vec![(At::FromUplink, about(vip, &reply), Fate::Untouched)],
                ..row("for a ClusterIP while others' flows are about", takeover)
            },
        ]
    });
}

#[test]
fn what_is_no_proper_error_is_counted_and_goes_nowhere() {
    check(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let here = || kubia(case, Endpoint::here(server));
        let error = case.time_exceeded();
        let router = case.router();
        let reply = case.reply(vip, client);
        let begin = (
            At::FromPod(CLIENT),
            case.first(client, vip),
            Fate::Becomes(case.first(client, server)),
        );
        // Whoever guesses a connection's ports could send its client, or anybody, anything.
        let stranger = case.address("10.42.0.99", "fd00:10:42::99", 0).ip();
        let astray = Row {
            steps: vec![
                begin,
                (
                    At::FromUplink,
                    case.error(router, stranger, error, &reply, ALL),
                    Fate::Dropped,
                ),
            ],
            flows: vec![case.flow(client, server, 0)],
            drops: vec!["malformed"],
            ..row("not for who sent the packet", here())
        };
        let cut = [0, 8, case.header(), case.header() + 7].map(|quoted| Row {
            steps: vec![
                (
                    At::FromUplink,
                    case.error(router, vip.ip(), error, &reply, quoted),
                    Fate::Dropped,
                ),
                (
                    At::FromUplink,
                    case.error(router, client.ip(), error, &reply, quoted),
                    Fate::Untouched,
                ),
            ],
            drops: vec!["malformed"],
            ..row(&format!("{quoted} bytes quoted"), here())
        });
        let mut bytes = reply.ip_bytes();
        bytes[0] = 0x52;
        let nonsense = Packet::icmp(router, vip.ip(), error.kind, error.rest, &bytes);
        let nonsense = Row {
            steps: vec![(At::FromUplink, nonsense, Fate::Dropped)],
            drops: vec!["malformed"],
            ..row("another version of IP", here())
        };
        cut.into_iter().chain([astray, nonsense]).collect()
    });
}
