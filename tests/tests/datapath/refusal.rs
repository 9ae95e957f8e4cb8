//! What cannot be served is refused at once, with an answer that the client's stack understands;
//! what is no port at all is dropped; and all of it is counted.

use lb_tests::datapath::{At, Endpoint, Fate, Fixture, Row, Service};
use lb_tests::packet::{ACK, FIN, Packet, RST, SYN};
use lb_tests::topology::Family;

use super::cases::{CLIENT, Case, check, check_each_protocol, row};

/// The answer to a packet that is refused: a reset, or an ICMP error that quotes the IP header and
/// eight bytes more.
fn refusal(case: Case, packet: &Packet) -> Packet {
    if case.is_tcp() {
        return packet.reset().turned();
    }
    if case.is_sctp() {
        return packet.abort().turned();
    }
    let (header, kind) = match case.family {
        Family::V4 => (20, [3, 3]),
        Family::V6 => (40, [1, 4]),
    };
    let quote = &packet.ip_bytes()[..header + 8];
    Packet::icmp(
        packet.destination.ip(),
        packet.source.ip(),
        kind,
        [0; 4],
        quote,
    )
    .turned()
}

fn kubia(case: Case) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(
        case.protocol,
        case.vip(),
        &[Endpoint::here(case.server())],
    ))
}

#[test]
fn an_undefined_port_of_a_cluster_ip_is_refused() {
    check_each_protocol(|case| {
        let mut vip = case.vip();
        vip.set_port(81);
        let from_pod = case.first(case.client(), vip);
        let from_outside = case.first(case.outside(), vip);
        vec![
            Row {
                steps: vec![(
                    At::FromPod(CLIENT),
                    from_pod.clone(),
                    Fate::Answered(refusal(case, &from_pod)),
                )],
                drops: vec!["undefined-port"],
                ..row("from a pod", kubia(case))
            },
            Row {
                steps: vec![(
                    At::FromUplink,
                    from_outside.clone(),
                    Fate::Answered(refusal(case, &from_outside)),
                )],
                drops: vec!["undefined-port"],
                ..row("from outside", kubia(case))
            },
        ]
    });
}

#[test]
fn a_service_without_endpoints_refuses() {
    check_each_protocol(|case| {
        let fixture = Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[]));
        let packet = case.first(case.client(), case.vip()).with_payload(b"more");
        vec![Row {
            steps: vec![(
                At::FromPod(CLIENT),
                packet.clone(),
                Fate::Answered(refusal(case, &packet)),
            )],
            drops: vec!["no-endpoints"],
            ..row("no endpoints", fixture)
        }]
    });
}

#[test]
fn tcp_that_belongs_to_no_flow_is_reset_and_a_reset_is_not() {
    check(|case| {
        if !case.is_tcp() {
            return Vec::new();
        }
        let (client, vip) = (case.client(), case.vip());
        let packet = |flags| Packet::tcp(client, vip, flags).with_payload(b"late");
        let answered = |name: &str, flags| Row {
            steps: vec![(
                At::FromPod(CLIENT),
                packet(flags),
                Fate::Answered(packet(flags).reset().turned()),
            )],
            drops: vec!["no-flow"],
            ..row(name, kubia(case))
        };
        vec![
            answered("ACK", ACK),
            answered("FIN and ACK", FIN | ACK),
            answered("SYN and ACK", SYN | ACK),
            answered("FIN alone", FIN),
            answered("no flag at all", 0),
            Row {
                steps: vec![(At::FromPod(CLIENT), packet(RST), Fate::Dropped)],
                drops: vec!["no-flow"],
                ..row("RST", kubia(case))
            },
        ]
    });
}

/// A ClusterIP exists only together with its ports.
#[test]
fn a_ping_to_a_cluster_ip_gets_no_answer() {
    check(|case| {
        let kind = match case.family {
            Family::V4 => [8, 0],
            Family::V6 => [128, 0],
        };
        let echo = |from: std::net::SocketAddr, to: std::net::SocketAddr| {
            Packet::icmp(from.ip(), to.ip(), kind, [0, 7, 0, 1], b"ping")
        };
        vec![
            Row {
                steps: vec![(
                    At::FromPod(CLIENT),
                    echo(case.client(), case.vip()),
                    Fate::Dropped,
                )],
                drops: vec!["not-a-port"],
                ..row("a ping from a pod", kubia(case))
            },
            Row {
                steps: vec![(
                    At::FromUplink,
                    echo(case.outside(), case.vip()),
                    Fate::Dropped,
                )],
                drops: vec!["not-a-port"],
                ..row("a ping from outside", kubia(case))
            },
        ]
    });
}

#[test]
fn an_address_of_the_service_range_that_no_service_has_is_dropped() {
    check_each_protocol(|case| {
        let nobody = case.address("10.43.1.1", "fd00:10:43::1", 80);
        vec![Row {
            steps: vec![
                (
                    At::FromPod(CLIENT),
                    case.first(case.client(), nobody),
                    Fate::Dropped,
                ),
                (
                    At::FromPod(CLIENT),
                    case.later(case.client(), nobody),
                    Fate::Dropped,
                ),
            ],
            drops: vec!["unallocated-address", "unallocated-address"],
            ..row("nobody's address", kubia(case))
        }]
    });
}
