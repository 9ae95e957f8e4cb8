//! What cannot be served is refused at once, with an answer that the client's stack understands;
//! what is no port at all is dropped; and all of it is counted.

use lb_tests::datapath::{At, Endpoint, Fate, Fixture, Row, Service};
use lb_tests::packet::{ACK, FIN, Packet, RST, SYN};
use lb_tests::topology::Family;

use super::cases::{CLIENT, Case, Error, check, check_each_protocol, row};

/// The answer to a packet that is refused: a reset, or an ICMP error that quotes it, all of it or as
/// much as an error may hold.
fn refusal(case: Case, packet: &Packet) -> Packet {
    if case.is_tcp() {
        return packet.reset().turned();
    }
    if case.is_sctp() {
        return packet.abort().turned();
    }
    let kind = match case.family {
        Family::V4 => [3, 3],
        Family::V6 => [1, 4],
    };
    let error = Error { kind, rest: [0; 4] };
    let (from, to) = (packet.destination.ip(), packet.source.ip());
    case.error(from, to, error, packet, case.longest_quote())
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

/// Before kernel 5.18 the socket hook cannot refuse: what it had to let go is answered where it
/// leaves. What others send through the node, or what is served, is not.
#[test]
fn what_the_node_sends_to_a_frontend_that_refuses_is_answered_where_it_leaves() {
    check(|case| {
        let lonely = Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[]));
        let own = case.first(case.node(40_000), case.vip());
        let others = case.first(case.outside(), case.vip());
        let leaves = |packet: &Packet, fate| vec![(At::ToUplink, packet.clone(), fate)];
        let mut rows = vec![
            Row {
                steps: leaves(&own, Fate::Answered(refusal(case, &own))),
                drops: vec!["no-endpoints"],
                ..row("the node's own", lonely.clone())
            },
            Row {
                steps: leaves(&others, Fate::Untouched),
                ..row("another's", lonely.clone())
            },
            Row {
                steps: leaves(&own, Fate::Untouched),
                ..row("served", kubia(case))
            },
        ];
        if case.is_tcp() {
            let late = case.later(case.node(40_000), case.vip());
            rows.push(Row {
                steps: leaves(&late, Fate::Untouched),
                ..row("not the first", lonely)
            });
        }
        rows
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

/// What is quoted ends where the packet says that it does (a link fills short frames up), and where
/// the error would be longer than every host takes. Odd lengths are summed up, too.
#[test]
fn the_offending_packet_is_quoted() {
    check(|case| {
        let mut vip = case.vip();
        vip.set_port(81);
        let sizes = [0_usize, 1, 2, 3, 500, 521, 1_184, 1_185, 1_300];
        let answered = sizes.map(|size| {
            let payload: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let packet = case.first(case.outside(), vip).with_payload(&payload);
            Row {
                steps: vec![(
                    At::FromUplink,
                    packet.clone(),
                    Fate::Answered(refusal(case, &packet)),
                )],
                drops: vec!["undefined-port"],
                ..row(&format!("{size} bytes of payload"), kubia(case))
            }
        });
        let short = case.first(case.outside(), vip).with_payload(b"");
        let padded = Row {
            steps: vec![(
                At::FromUplink,
                short.clone().with_trailer(&[0xaa; 14]),
                Fate::Answered(refusal(case, &short)),
            )],
            drops: vec!["undefined-port"],
            ..row("a frame that was filled up", kubia(case))
        };
        answered.into_iter().chain([padded]).collect()
    });
}

/// RFC 1122, section 3.2.2: whoever answers a packet to many, or from nobody, helps to flood.
#[test]
fn nobody_answers_what_one_machine_did_not_send_to_one() {
    check(|case| {
        let mut vip = case.vip();
        vip.set_port(81);
        let (client, outside) = (case.client(), case.outside());
        let from = |address: &str, v6: &str| {
            let source = case.address(address, v6, client.port());
            case.first(source, vip)
        };
        let to_many = case
            .first(outside, vip)
            .with_macs([[0xff; 6], [2, 0, 0, 0, 0, 9]]);
        let to_group = case
            .first(outside, vip)
            .with_macs([[1, 0, 0x5e, 0, 0, 1], [2, 0, 0, 0, 0, 9]]);
        let packets = [
            ("to every machine of the link", to_many),
            ("to a group of the link", to_group),
            ("from a group", from("224.0.0.9", "ff02::9")),
            ("from nobody", from("0.0.0.0", "::")),
            ("from loopback", from("127.0.0.1", "::1")),
        ];
        let rows = packets.map(|(name, packet)| Row {
            steps: vec![(At::FromUplink, packet, Fate::Dropped)],
            drops: vec!["undefined-port"],
            ..row(name, kubia(case))
        });
        rows.into()
    });
}

/// A thousand in a second on one CPU are answered, and then no more.
#[test]
fn a_flood_of_refused_packets_is_not_doubled() {
    check(|case| {
        let mut vip = case.vip();
        vip.set_port(81);
        let packet = case.first(case.client(), vip);
        let answer = Fate::Answered(refusal(case, &packet));
        let mut fixture = kubia(case);
        // A second that does not end while the row runs.
        fixture.tables.config.hz = u32::MAX;
        let count = lb_common::limits::ANSWERS_PER_SECOND as usize;
        let mut steps = vec![(At::FromPod(CLIENT), packet.clone(), answer); count];
        steps.push((At::FromPod(CLIENT), packet, Fate::Dropped));
        vec![Row {
            drops: vec!["undefined-port"; steps.len()],
            steps,
            ..row("one more than a thousand", fixture)
        }]
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
