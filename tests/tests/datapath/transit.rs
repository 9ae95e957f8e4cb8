//! An outside client and a pod of another node: both directions pass through the programs alone,
//! so what a router owes is owed there.

use lb_common::layout::{FLOW_OUTSIDE, FLOW_SNAT};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, FlowPair, Row, SNAT_PORT, Service, Toward};

use super::cases::{Case, check_each_protocol, row};

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
        let sent =
            |packet: lb_tests::packet::Packet, toward| Fate::Sent(packet.with_ttl(63), toward);
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
        let packet = case.first(case.outside(), case.vip()).with_ttl(1);
        vec![Row {
            steps: vec![(At::FromUplink, packet, Fate::Dropped)],
            drops: vec!["time-exceeded"],
            ..row("time to live 1", kubia(case))
        }]
    });
}

#[test]
fn a_packet_too_big_for_the_next_link_is_counted() {
    check_each_protocol(|case| {
        let packet = case
            .first(case.outside(), case.vip())
            .with_payload(&[7; 1_600]);
        vec![Row {
            steps: vec![(At::FromUplink, packet, Fate::Dropped)],
            drops: vec!["too-big"],
            ..row("1,600 bytes and more", kubia(case))
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
