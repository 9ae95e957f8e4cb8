//! What SCTP has for itself: a checksum over the payload that a change of ports must follow without
//! reading it, and chunks that begin and end associations.

use lb_common::layout::{FLOW_AFFINITY, FLOW_OUTSIDE};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, Row, Service};
use lb_tests::packet::{Body, INIT, Packet};

use super::cases::{CLIENT, Case, check_sctp, row};

/// Types of chunks.
const DATA: u8 = 0;
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

fn kubia(case: Case, endpoint: Endpoint) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]))
}

/// The checksum follows from the whole packet: what it becomes is computed from scratch by the test.
#[test]
fn the_checksum_follows_new_ports_whatever_the_length() {
    check_sctp(|case| {
        let (client, vip, server) = (case.outside(), case.vip(), case.server());
        let lengths = [
            0, 1, 3, 4, 222, 223, 224, 225, 255, 256, 511, 512, 1_000, 1_428,
        ];
        let data = |length: usize| {
            let payload: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
            Packet::sctp(client, vip, DATA, &payload)
        };
        let first = case.first(client, vip);
        let first = (
            At::FromUplink,
            first.clone(),
            Fate::Becomes(first.between(client, server)),
        );
        let rest = lengths.map(|length| {
            let fate = Fate::Becomes(data(length).between(client, server));
            (At::FromUplink, data(length), fate)
        });
        vec![Row {
            steps: [first].into_iter().chain(rest).collect(),
            flows: vec![case.flow(client, server, FLOW_OUTSIDE)],
            ..row(
                "payloads of many lengths",
                kubia(case, Endpoint::here(server)),
            )
        }]
    });
}

/// A wrong checksum is not made right: its difference stays, and the receiver finds it.
#[test]
fn a_checksum_that_came_in_wrong_goes_out_wrong() {
    check_sctp(|case| {
        let (client, vip, server) = (case.outside(), case.vip(), case.server());
        let bytes = |packet: &Packet, flip: u8| {
            let header = if client.is_ipv4() { 20 } else { 40 };
            let mut bytes = packet.ip_bytes().split_off(header);
            bytes[9] ^= flip;
            Packet {
                body: Body::Raw {
                    protocol: packet.protocol(),
                    bytes,
                },
                ..packet.clone()
            }
        };
        let before = case.first(client, vip);
        let after = before.between(client, server);
        vec![Row {
            steps: vec![(
                At::FromUplink,
                bytes(&before, 0x10),
                Fate::Becomes(bytes(&after, 0x10)),
            )],
            flows: vec![case.flow(client, server, FLOW_OUTSIDE)],
            ..row("one bit wrong", kubia(case, Endpoint::here(server)))
        }]
    });
}

/// Linux leaves the checksum to the device wherever that can: on every veth.
#[test]
fn a_checksum_that_is_left_to_the_device_stays_so() {
    check_sctp(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let body = Body::Sctp {
            tag: 0,
            chunk: [INIT, 0],
            payload: b"tag2 and more".to_vec(),
            has_checksum: false,
        };
        let packet = Packet::new(client, vip, body);
        vec![Row {
            steps: vec![(
                At::FromPod(CLIENT),
                packet.clone(),
                Fate::Becomes(packet.between(client, server)),
            )],
            flows: vec![case.flow(client, server, 0)],
            ..row("zero", kubia(case, Endpoint::here(server)))
        }]
    });
}

/// The checksum covers no addresses.
#[test]
fn where_the_port_stays_so_does_the_checksum() {
    check_sctp(|case| {
        let (client, vip) = (case.client(), case.vip());
        let server = case.pod(super::cases::SERVER, vip.port());
        let begun = Fate::Becomes(case.first(client, server));
        vec![Row {
            steps: vec![(At::FromPod(CLIENT), case.first(client, vip), begun)],
            flows: vec![case.flow(client, server, 0)],
            ..row("the same port", kubia(case, Endpoint::here(server)))
        }]
    });
}

#[test]
fn what_belongs_to_no_association_is_aborted_and_an_end_is_not() {
    check_sctp(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let fate = |name: &str, chunk: u8, fate: fn(&Packet) -> Fate| {
            let packet = Packet::sctp(client, vip, chunk, b"late");
            Row {
                steps: vec![(At::FromPod(CLIENT), packet.clone(), fate(&packet))],
                drops: vec!["no-flow"],
                ..row(name, kubia(case, Endpoint::here(server)))
            }
        };
        let aborted = |packet: &Packet| Fate::Answered(packet.abort().turned());
        let silence = |_: &Packet| Fate::Dropped;
        vec![
            fate("DATA", DATA, aborted),
            fate("COOKIE ECHO", COOKIE_ECHO, aborted),
            fate("SHUTDOWN ACK", SHUTDOWN_ACK, aborted),
            fate("HEARTBEAT", HEARTBEAT, silence),
            fate("ABORT", ABORT, silence),
            fate("SHUTDOWN COMPLETE", SHUTDOWN_COMPLETE, silence),
            fate("ERROR", ERROR, silence),
            fate("COOKIE ACK", COOKIE_ACK, silence),
        ]
    });
}

/// With affinity, so that it shows which flow was decided about: the first was not.
#[test]
fn a_client_uses_its_ports_again_after_the_association_ended() {
    check_sctp(|case| {
        let (client, vip, server) = (case.client(), case.vip(), case.server());
        let service = Service::cluster_ip(case.protocol, vip, &[Endpoint::here(server)])
            .with_affinity(10_800);
        let forward = |packet: Packet| {
            let fate = Fate::Becomes(packet.between(client, server));
            (At::FromPod(CLIENT), packet, fate)
        };
        let ends = [("ABORT", ABORT), ("SHUTDOWN COMPLETE", SHUTDOWN_COMPLETE)];
        let rows = ends.map(|(name, end)| Row {
            steps: vec![
                forward(case.first(client, vip)),
                forward(Packet::sctp(client, vip, COOKIE_ECHO, b"cookie")),
                forward(Packet::sctp(client, vip, end, b"")),
                forward(case.first(client, vip)),
            ],
            flows: vec![case.flow(client, server, FLOW_AFFINITY)],
            ..row(name, Fixture::new().with(&service))
        });
        rows.into()
    });
}
