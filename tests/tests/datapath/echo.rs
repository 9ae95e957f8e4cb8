//! A ping of a ClusterIP: no answer, which is normal, as it exists only together with its ports;
//! or one, where it is asked for.

use std::net::IpAddr;

use lb_common::layout::CONFIG_ANSWER_PING;
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, Row, Service};
use lb_tests::packet::Packet;
use lb_tests::topology::Family;

use super::cases::{CLIENT, Case, check, row};

fn kubia(case: Case) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(
        case.protocol,
        case.vip(),
        &[Endpoint::here(case.server())],
    ))
}

fn answering(case: Case) -> Fixture {
    let mut fixture = kubia(case);
    fixture.tables.config.flags |= CONFIG_ANSWER_PING;
    fixture
}

/// Echo request and reply.
fn types(case: Case) -> [u8; 2] {
    match case.family {
        Family::V4 => [8, 0],
        Family::V6 => [128, 129],
    }
}

fn echo(kind: u8, from: IpAddr, to: IpAddr) -> Packet {
    Packet::icmp(from, to, [kind, 0], [0, 7, 0, 1], b"is anybody there?")
}

#[test]
fn a_ping_of_a_cluster_ip_gets_no_answer() {
    check(|case| {
        let [request, _] = types(case);
        let vip = case.vip().ip();
        let from = [
            ("from a pod", At::FromPod(CLIENT), case.client().ip()),
            ("from outside", At::FromUplink, case.outside().ip()),
        ];
        let rows = from.map(|(name, at, client)| Row {
            steps: vec![(at, echo(request, client, vip), Fate::Dropped)],
            drops: vec!["not-a-port"],
            ..row(name, kubia(case))
        });
        rows.into()
    });
}

#[test]
fn a_ping_of_a_cluster_ip_is_answered_if_asked_for() {
    check(|case| {
        let [request, reply] = types(case);
        let vip = case.vip().ip();
        let from = [
            ("from a pod", At::FromPod(CLIENT), case.client().ip()),
            ("from outside", At::FromUplink, case.outside().ip()),
        ];
        let rows = from.map(|(name, at, client)| Row {
            steps: vec![(
                at,
                echo(request, client, vip).with_ttl(3),
                Fate::Answered(echo(reply, vip, client).turned()),
            )],
            ..row(name, answering(case))
        });
        rows.into()
    });
}

/// Two VIPs that answered each other's replies would do so for ever, and an answer to a group
/// would be doubled by each of its members.
#[test]
fn only_a_request_to_one_machine_is_answered() {
    check(|case| {
        let [request, reply] = types(case);
        let (vip, client) = (case.vip().ip(), case.client().ip());
        let nobody = case.address("10.43.1.1", "fd00:10:43::1", 0).ip();
        let dropped = |name: &str, packet, reason| Row {
            steps: vec![(At::FromPod(CLIENT), packet, Fate::Dropped)],
            drops: vec![reason],
            ..row(name, answering(case))
        };
        vec![
            dropped("a reply", echo(reply, client, vip), "not-a-port"),
            dropped("another message", echo(17, client, vip), "not-a-port"),
            dropped(
                "to every machine of the link",
                echo(request, client, vip).with_macs([[0xff; 6], [2, 0, 0, 0, 0, 9]]),
                "not-a-port",
            ),
            dropped(
                "nobody's address",
                echo(request, client, nobody),
                "unallocated-address",
            ),
        ]
    });
}
