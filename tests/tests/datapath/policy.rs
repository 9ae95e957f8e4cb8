//! Who may be served by whom: traffic policies, source ranges, take-over, host-network backends.

use lb_common::layout::{
    CONFIG_TAKEOVER, FLOW_OUTSIDE, FRONTEND_LOAD_BALANCER, FRONTEND_NODE_PORT, POOL_DROP,
    POOL_LOCAL,
};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, FlowPair, Row, Service};

use super::cases::{CLIENT, SERVER, check, check_each_protocol, row};

/// `externalTrafficPolicy: Local` on a node without endpoints, while others have some: the outside
/// client is dropped in silence, a pod is served as under `Cluster`.
#[test]
fn a_local_policy_without_local_endpoints_drops_outside_clients_only() {
    check_each_protocol(|case| {
        let (frontend, far) = (case.node(30_123), case.far_server());
        let service = Service::new(
            FRONTEND_NODE_PORT,
            case.protocol,
            frontend,
            &[Endpoint::elsewhere(far)],
        )
        .for_outside(&[], POOL_LOCAL | POOL_DROP);
        let fixture = Fixture::new().with(&service);
        let client = case.client();
        vec![
            Row {
                steps: vec![(
                    At::FromUplink,
                    case.first(case.outside(), frontend),
                    Fate::Dropped,
                )],
                drops: vec!["no-local-endpoints"],
                ..row("outside", fixture.clone())
            },
            Row {
                steps: vec![(
                    At::FromPod(CLIENT),
                    case.first(client, frontend),
                    Fate::Becomes(case.first(client, far)),
                )],
                flows: vec![FlowPair {
                    frontend,
                    ..case.flow(client, far, 0)
                }],
                ..row("a pod", fixture)
            },
        ]
    });
}

#[test]
fn source_ranges_admit_only_whom_they_contain() {
    check_each_protocol(|case| {
        let frontend = case.address("198.51.100.40", "2001:db8:100::40", 80);
        let (outside, server) = (case.outside(), case.server());
        let bits = if frontend.is_ipv4() { 24 } else { 64 };
        let service = |range| {
            let service = Service::new(
                FRONTEND_LOAD_BALANCER,
                case.protocol,
                frontend,
                &[Endpoint::here(server)],
            );
            Fixture::new().with(&service.only_from(&[range]))
        };
        let theirs = (case.address("203.0.113.0", "2001:db8:113::", 0).ip(), bits);
        let others = (case.address("203.0.112.0", "2001:db8:112::", 0).ip(), bits);
        vec![
            Row {
                steps: vec![(
                    At::FromUplink,
                    case.first(outside, frontend),
                    Fate::Becomes(case.first(outside, server)),
                )],
                flows: vec![FlowPair {
                    frontend,
                    ..case.flow(outside, server, FLOW_OUTSIDE)
                }],
                ..row("contained", service(theirs))
            },
            Row {
                steps: vec![
                    (At::FromUplink, case.first(outside, frontend), Fate::Dropped),
                    (
                        At::FromPod(SERVER),
                        case.first(case.pod(SERVER, 40_000), frontend),
                        Fate::Dropped,
                    ),
                ],
                // The pod's packet is never at XDP.
                drops: vec!["source-range", "tc source-range"],
                ..row("not contained", service(others))
            },
        ]
    });
}

/// Ranges within ranges, the ends of ranges, single addresses and everybody, as the kernel's trie
/// has them.
#[test]
fn source_ranges_are_exact() {
    check(|case| {
        let frontend = case.address("198.51.100.40", "2001:db8:100::40", 80);
        let server = case.server();
        let v4 = frontend.is_ipv4();
        let range = |v4_text: &str, v6_text: &str, v4_bits, v6_bits| {
            let network = case.address(v4_text, v6_text, 0).ip();
            (network, if v4 { v4_bits } else { v6_bits })
        };
        let nested = [
            range("192.0.2.0", "2001:db8:7::", 24, 48),
            range("192.0.2.128", "2001:db8:7:8::", 25, 64),
            range("203.0.113.8", "2001:db8:113::8", 32, 128),
        ];
        let everybody = [range("0.0.0.0", "::", 0, 0)];
        let steps = |sources: &[(&str, &str, bool)]| {
            let step = |(v4_text, v6_text, admitted): &(&str, &str, bool)| {
                let client = case.address(v4_text, v6_text, 40_000);
                let fate = if *admitted {
                    Fate::Becomes(case.first(client, server))
                } else {
                    Fate::Dropped
                };
                (At::FromUplink, case.first(client, frontend), fate)
            };
            sources.iter().map(step).collect::<Vec<_>>()
        };
        let made = |name: &str, ranges: &[(std::net::IpAddr, u32)], sources| {
            let service = Service::new(
                FRONTEND_LOAD_BALANCER,
                case.protocol,
                frontend,
                &[Endpoint::here(server)],
            );
            let steps: Vec<_> = steps(sources);
            let admitted = steps
                .iter()
                .filter(|(.., fate)| matches!(fate, Fate::Becomes(_)));
            let flow = |client| FlowPair {
                frontend,
                ..case.flow(client, server, FLOW_OUTSIDE)
            };
            let dropped = steps.len() - admitted.clone().count();
            Row {
                flows: admitted.map(|(_, packet, _)| flow(packet.source)).collect(),
                drops: vec!["source-range"; dropped],
                steps,
                ..row(name, Fixture::new().with(&service.only_from(ranges)))
            }
        };
        vec![
            made(
                "nested",
                &nested,
                &[
                    ("192.0.2.0", "2001:db8:7::", true),
                    ("192.0.2.127", "2001:db8:7:7::1", true),
                    ("192.0.2.255", "2001:db8:7:8::1", true),
                    ("192.0.3.0", "2001:db8:8::", false),
                    ("203.0.113.8", "2001:db8:113::8", true),
                    ("203.0.113.9", "2001:db8:113::9", false),
                ],
            ),
            made(
                "everybody",
                &everybody,
                &[
                    ("192.0.2.1", "2001:db8:7::1", true),
                    ("203.0.113.9", "2001:db8:113::9", true),
                ],
            ),
        ]
    });
}

/// While flows from before us still arrive, a TCP packet that has none is theirs; a new one is ours.
#[test]
fn during_take_over_tcp_without_flow_passes() {
    check(|case| {
        if !case.is_tcp() {
            return Vec::new();
        }
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let service = Service::cluster_ip(case.protocol, vip, &[Endpoint::here(server)]);
        let mut fixture = Fixture::new().with(&service);
        fixture.tables.config.flags = CONFIG_TAKEOVER;
        let later = case.later(client, vip);
        let mut other = client;
        other.set_port(40_001);
        let begun = Fate::Becomes(case.first(other, server));
        vec![Row {
            steps: vec![
                (At::FromPod(CLIENT), later, Fate::Untouched),
                (At::FromPod(CLIENT), case.first(other, vip), begun),
            ],
            flows: vec![case.flow(other, server, 0)],
            ..row("take-over", fixture)
        }]
    });
}

/// A backend in the node's own network: the stack takes the packet, and the reply leaves as the
/// frontend's.
#[test]
fn a_host_network_backend_keeps_the_clients_address() {
    check_each_protocol(|case| {
        let (client, vip, server) = (case.outside(), case.vip(), case.node(8080));
        let service = Service::cluster_ip(case.protocol, vip, &[Endpoint::on_host(server)]);
        let begun = Fate::Becomes(case.first(client, server));
        let answered = Fate::Becomes(case.reply(vip, client));
        vec![Row {
            steps: vec![
                (At::FromUplink, case.first(client, vip), begun),
                (At::ToUplink, case.reply(server, client), answered),
            ],
            flows: vec![case.flow(client, server, FLOW_OUTSIDE)],
            ..row("host network", Fixture::new().with(&service))
        }]
    });
}
