//! A new flow gets a backend, both directions are translated, and replies leave as the frontend's.

use lb_common::layout::{FLOW_AFFINITY, FLOW_OUTSIDE, FRONTEND_EXTERNAL_IP, FRONTEND_NODE_PORT};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, FlowPair, Row, SNAT_PORT, Service};
use lb_tests::packet::{Body, Packet};

use super::cases::{CLIENT, Case, SERVER, check, check_each_protocol, row};

#[test]
fn both_directions_are_translated() {
    check_each_protocol(|case| {
        vec![
            pod_to_pod_here(case),
            pod_to_pod_elsewhere(case),
            outside_to_pod_here(case),
        ]
    });
}

fn kubia(case: Case, endpoint: Endpoint) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]))
}

/// The stack between ingress and egress sees the backend's own address: conntrack and
/// NetworkPolicy see plain client and pod.
fn pod_to_pod_here(case: Case) -> Row {
    let (client, vip, server) = (case.client(), case.vip(), case.server());
    Row {
        steps: vec![
            (
                At::FromPod(CLIENT),
                case.first(client, vip),
                Fate::Becomes(case.first(client, server)),
            ),
            (
                At::ToPod(SERVER),
                case.first(client, server),
                Fate::Untouched,
            ),
            (
                At::FromPod(SERVER),
                case.reply(server, client),
                Fate::Untouched,
            ),
            (
                At::ToPod(CLIENT),
                case.reply(server, client),
                Fate::Becomes(case.reply(vip, client)),
            ),
            (
                At::FromPod(CLIENT),
                case.later(client, vip),
                Fate::Becomes(case.later(client, server)),
            ),
            (
                At::ToPod(CLIENT),
                case.later(server, client),
                Fate::Becomes(case.later(vip, client)),
            ),
        ],
        flows: vec![case.flow(client, server, 0)],
        ..row(
            "a pod reaches a pod here",
            kubia(case, Endpoint::here(server)),
        )
    }
}

fn pod_to_pod_elsewhere(case: Case) -> Row {
    let (client, vip, server) = (case.client(), case.vip(), case.far_server());
    Row {
        steps: vec![
            (
                At::FromPod(CLIENT),
                case.first(client, vip),
                Fate::Becomes(case.first(client, server)),
            ),
            (At::ToUplink, case.first(client, server), Fate::Untouched),
            (At::FromUplink, case.reply(server, client), Fate::Untouched),
            (
                At::ToPod(CLIENT),
                case.reply(server, client),
                Fate::Becomes(case.reply(vip, client)),
            ),
        ],
        flows: vec![case.flow(client, server, 0)],
        ..row(
            "a pod reaches a pod elsewhere",
            kubia(case, Endpoint::elsewhere(server)),
        )
    }
}

fn outside_to_pod_here(case: Case) -> Row {
    let (client, vip, server) = (case.outside(), case.vip(), case.server());
    Row {
        steps: vec![
            (
                At::FromUplink,
                case.first(client, vip),
                Fate::Becomes(case.first(client, server)),
            ),
            (
                At::ToPod(SERVER),
                case.first(client, server),
                Fate::Untouched,
            ),
            (
                At::FromPod(SERVER),
                case.reply(server, client),
                Fate::Untouched,
            ),
            (
                At::ToUplink,
                case.reply(server, client),
                Fate::Becomes(case.reply(vip, client)),
            ),
            (
                At::FromUplink,
                case.later(client, vip),
                Fate::Becomes(case.later(client, server)),
            ),
        ],
        flows: vec![case.flow(client, server, FLOW_OUTSIDE)],
        ..row(
            "an outside client reaches a pod here and keeps its address",
            kubia(case, Endpoint::here(server)),
        )
    }
}

#[test]
fn a_node_port_is_a_frontend_on_the_nodes_address() {
    check_each_protocol(|case| {
        let (client, server) = (case.outside(), case.server());
        let frontend = case.node(30_123);
        let service = Service::new(
            FRONTEND_NODE_PORT,
            case.protocol,
            frontend,
            &[Endpoint::here(server)],
        );
        vec![Row {
            steps: vec![
                (
                    At::FromUplink,
                    case.first(client, frontend),
                    Fate::Becomes(case.first(client, server)),
                ),
                (
                    At::ToUplink,
                    case.reply(server, client),
                    Fate::Becomes(case.reply(frontend, client)),
                ),
                // The node's own SSH, say.
                (
                    At::FromUplink,
                    case.first(client, case.node(22)),
                    Fate::Untouched,
                ),
            ],
            flows: vec![FlowPair {
                frontend,
                ..case.flow(client, server, FLOW_OUTSIDE)
            }],
            ..row("a node port", Fixture::new().with(&service))
        }]
    });
}

#[test]
fn a_pod_may_be_its_own_backend() {
    check_each_protocol(|case| {
        let (vip, server) = (case.vip(), case.server());
        let client = case.pod(SERVER, 40_000);
        let source = case.node(SNAT_PORT);
        vec![Row {
            steps: vec![
                (
                    At::FromPod(SERVER),
                    case.first(client, vip),
                    Fate::Answered(case.first(source, server).turned()),
                ),
                (
                    At::FromPod(SERVER),
                    case.reply(server, source),
                    Fate::Answered(case.reply(vip, client).turned()),
                ),
                (
                    At::FromPod(SERVER),
                    case.later(client, vip),
                    Fate::Answered(case.later(source, server).turned()),
                ),
            ],
            flows: vec![FlowPair {
                source,
                ..case.flow(client, server, lb_common::layout::FLOW_HAIRPIN)
            }],
            ..row("a pod reaches itself", kubia(case, Endpoint::here(server)))
        }]
    });
}

#[test]
fn affinity_keeps_a_client_with_its_backend() {
    check_each_protocol(|case| {
        let (vip, server) = (case.vip(), case.server());
        let (one, two) = (case.client(), case.pod(CLIENT, 40_001));
        // Both slots are the same endpoint twice: what is seen is that affinity was asked.
        let service = Service::cluster_ip(case.protocol, vip, &[Endpoint::here(server)])
            .with_affinity(10_800);
        vec![Row {
            steps: vec![
                (
                    At::FromPod(CLIENT),
                    case.first(one, vip),
                    Fate::Becomes(case.first(one, server)),
                ),
                (
                    At::FromPod(CLIENT),
                    case.first(two, vip),
                    Fate::Becomes(case.first(two, server)),
                ),
            ],
            flows: vec![
                case.flow(one, server, 0),
                case.flow(two, server, FLOW_AFFINITY),
            ],
            ..row(
                "the second flow goes by affinity",
                Fixture::new().with(&service),
            )
        }]
    });
}

/// Kubernetes keeps a client's affinity for each port of a Service, whatever address it dials.
#[test]
fn affinity_holds_on_every_address_of_the_port() {
    check_each_protocol(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let external = case.address("198.51.100.40", "2001:db8:100::40", 80);
        let node_port = case.node(30_123);
        let service = Service::cluster_ip(case.protocol, vip, &[Endpoint::here(server)])
            .also_at(FRONTEND_EXTERNAL_IP, external)
            .also_at(FRONTEND_NODE_PORT, node_port)
            .with_affinity(10_800);
        let dialled = [vip, external, node_port];
        let clients = [0, 1, 2].map(|i| case.pod(CLIENT, client.port() + i));
        let pairs = || dialled.iter().copied().zip(clients);
        vec![Row {
            steps: pairs()
                .map(|(frontend, client)| {
                    let fate = Fate::Becomes(case.first(client, server));
                    (At::FromPod(CLIENT), case.first(client, frontend), fate)
                })
                .collect(),
            flows: pairs()
                .map(|(frontend, client)| FlowPair {
                    frontend,
                    ..case.flow(
                        client,
                        server,
                        if frontend == vip { 0 } else { FLOW_AFFINITY },
                    )
                })
                .collect(),
            ..row("three frontends", Fixture::new().with(&service))
        }]
    });
}

/// A node on which seconds last no time.
#[test]
fn an_affinity_that_timed_out_is_none() {
    check(|case| {
        let (vip, server) = (case.vip(), case.server());
        let service = Service::cluster_ip(case.protocol, vip, &[Endpoint::here(server)])
            .with_affinity(10_800);
        let mut fixture = Fixture::new().with(&service);
        fixture.tables.config.hz = 0;
        let clients = [0, 1].map(|i| case.pod(CLIENT, 40_000 + i));
        vec![Row {
            steps: clients
                .map(|client| {
                    let fate = Fate::Becomes(case.first(client, server));
                    (At::FromPod(CLIENT), case.first(client, vip), fate)
                })
                .into(),
            flows: clients.map(|client| case.flow(client, server, 0)).into(),
            ..row("both flows draw", fixture)
        }]
    });
}

/// RFC 768: a sum of zero is sent as all ones, as zero says that there is none.
#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    check(|case| {
        let (client, vip, server) = (case.outside(), case.vip(), case.server());
        if case.is_tcp() {
            return Vec::new();
        }
        let with = |payload: u16| {
            Packet::new(
                client,
                vip,
                Body::Udp {
                    payload: payload.to_be_bytes().to_vec(),
                    has_checksum: true,
                },
            )
        };
        // The last two octets are the payload, those before them the checksum.
        let checksum = |packet: &Packet| {
            let bytes = packet.ip_bytes();
            u16::from_be_bytes([bytes[bytes.len() - 4], bytes[bytes.len() - 3]])
        };
        // One word more in the payload, one less in the checksum.
        let payload = checksum(&with(0).between(client, server));
        let packet = with(payload);
        let expected = packet.between(client, server);
        assert_eq!(checksum(&expected), 0xffff);
        vec![Row {
            steps: vec![(At::FromUplink, packet, Fate::Becomes(expected))],
            flows: vec![case.flow(client, server, FLOW_OUTSIDE)],
            ..row("all ones", kubia(case, Endpoint::here(server)))
        }]
    });
}

/// RFC 768: zero says that there is no checksum, and so it stays. Over IPv6 only tunnels may leave it
/// out (RFC 6936), and whether one may is the receiver's to say.
#[test]
fn a_udp_packet_without_checksum_stays_without() {
    check(|case| {
        let (client, vip, server) = (case.outside(), case.vip(), case.server());
        if case.is_tcp() {
            return Vec::new();
        }
        let payload = b"unsummed".to_vec();
        let packet = Packet::new(
            client,
            vip,
            Body::Udp {
                payload,
                has_checksum: false,
            },
        );
        vec![Row {
            steps: vec![(
                At::FromUplink,
                packet.clone(),
                Fate::Becomes(packet.between(client, server)),
            )],
            flows: vec![case.flow(client, server, FLOW_OUTSIDE)],
            ..row("without checksum", kubia(case, Endpoint::here(server)))
        }]
    });
}
