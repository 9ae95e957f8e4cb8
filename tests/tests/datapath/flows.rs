//! How connections end, and how their ports are used again.

use lb_common::layout::{FLOW_AFFINITY, FLOW_OUTSIDE, FLOW_SNAT};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, FlowPair, Row, SNAT_PORT, Service, Toward};
use lb_tests::packet::{ACK, Body, FIN, Packet, RST, SYN};

use super::cases::{CLIENT, Case, check, row};

/// A step in which the client sends, and one in which the backend does.
struct Talk {
    case: Case,
}

impl Talk {
    fn sends(&self, flags: u8) -> (At, Packet, Fate) {
        let (client, vip) = (self.case.client(), self.case.vip());
        let packet = Packet::tcp(client, vip, flags);
        let becomes = packet.between(client, self.case.server());
        (At::FromPod(CLIENT), packet, Fate::Becomes(becomes))
    }

    fn gets(&self, flags: u8) -> (At, Packet, Fate) {
        let (client, server) = (self.case.client(), self.case.server());
        let packet = Packet::tcp(server, client, flags);
        let becomes = packet.between(self.case.vip(), client);
        (At::ToPod(CLIENT), packet, Fate::Becomes(becomes))
    }

    /// With affinity, so that it shows how often a flow was decided about: the first was not by it.
    fn row(&self, name: &str, steps: Vec<(At, Packet, Fate)>, decided_twice: bool) -> Row {
        let (case, server) = (self.case, self.case.server());
        let service = Service::cluster_ip(case.protocol, case.vip(), &[Endpoint::here(server)])
            .with_affinity(10_800);
        let flags = if decided_twice { FLOW_AFFINITY } else { 0 };
        Row {
            steps,
            flows: vec![case.flow(case.client(), server, flags)],
            ..row(name, Fixture::new().with(&service))
        }
    }
}

#[test]
fn a_client_uses_its_ports_again_after_the_connection_ended() {
    check(|case| {
        if !case.is_tcp() {
            return Vec::new();
        }
        let talk = Talk { case };
        let opened = || vec![talk.sends(SYN), talk.gets(SYN | ACK), talk.sends(ACK)];
        let with = |more: Vec<_>| [opened(), more].concat();
        vec![
            talk.row(
                "after a FIN from both sides",
                with(vec![
                    talk.sends(FIN | ACK),
                    talk.gets(FIN | ACK),
                    talk.sends(ACK),
                    talk.sends(SYN),
                ]),
                true,
            ),
            talk.row(
                "after the client's reset",
                with(vec![talk.sends(RST), talk.sends(SYN)]),
                true,
            ),
            talk.row(
                "after the backend's reset",
                with(vec![talk.gets(RST | ACK), talk.sends(SYN)]),
                true,
            ),
        ]
    });
}

/// A SYN amid a connection may be forged: the backend answers it with what it expects, and a client
/// that knows nothing of the connection ends it by a reset (RFC 9293, section 3.10.7.4).
#[test]
fn a_syn_amid_a_connection_goes_to_its_backend() {
    check(|case| {
        if !case.is_tcp() {
            return Vec::new();
        }
        let talk = Talk { case };
        let opened = vec![talk.sends(SYN), talk.gets(SYN | ACK), talk.sends(ACK)];
        let with = |more: Vec<_>| [opened.clone(), more].concat();
        vec![
            talk.row(
                "open",
                with(vec![talk.sends(SYN), talk.gets(ACK), talk.sends(ACK)]),
                false,
            ),
            talk.row(
                "half closed",
                with(vec![talk.sends(FIN | ACK), talk.gets(ACK), talk.sends(SYN)]),
                false,
            ),
            talk.row(
                "it went on after a forged reset",
                with(vec![talk.sends(RST), talk.sends(ACK), talk.sends(SYN)]),
                false,
            ),
            talk.row(
                "the client knows nothing of it",
                with(vec![
                    talk.sends(SYN),
                    talk.gets(ACK),
                    talk.sends(RST),
                    talk.sends(SYN),
                ]),
                true,
            ),
        ]
    });
}

/// The fixture gives SNAT one port: the next client gets it once both sides have ended, and nothing
/// of the former client's flow is left to be taken for the new one.
#[test]
fn a_snat_port_is_free_again_after_a_fin_from_both_sides() {
    check(|case| {
        if !case.is_tcp() {
            return Vec::new();
        }
        let (vip, far) = (case.vip(), case.far_server());
        let (client, source) = (case.outside(), case.node(SNAT_PORT));
        let mut second = client;
        second.set_port(40_001);
        let sends = |from, flags| {
            let packet = Packet::tcp(from, vip, flags);
            let becomes = packet.between(source, far).with_ttl(63);
            (
                At::FromUplink,
                packet,
                Fate::Sent(becomes, Toward::Elsewhere),
            )
        };
        let gets = |to, flags| {
            let packet = Packet::tcp(far, source, flags);
            let becomes = packet.between(vip, to).with_ttl(63);
            (At::FromUplink, packet, Fate::Sent(becomes, Toward::Router))
        };
        let service = Service::cluster_ip(case.protocol, vip, &[Endpoint::elsewhere(far)]);
        let flow = |client| FlowPair {
            source,
            ..case.flow(client, far, FLOW_OUTSIDE | FLOW_SNAT)
        };
        let fixture = Fixture::new().with(&service);
        let half = vec![
            sends(client, SYN),
            gets(client, SYN | ACK),
            sends(client, FIN | ACK),
        ];
        let refused = (At::FromUplink, Packet::tcp(second, vip, SYN), Fate::Dropped);
        let ended = vec![
            gets(client, FIN | ACK),
            sends(second, SYN),
            gets(second, SYN | ACK),
        ];
        vec![
            Row {
                steps: [half.clone(), vec![refused]].concat(),
                flows: vec![flow(client)],
                drops: vec!["snat-exhausted"],
                ..row("one side has ended", fixture.clone())
            },
            Row {
                steps: [half, ended].concat(),
                flows: vec![flow(second)],
                ..row("both have", fixture)
            },
        ]
    });
}

/// Ports are there, the checksum that would have to follow the addresses is not.
#[test]
fn a_packet_cut_off_before_its_checksum_enters_no_flow() {
    check(|case| {
        let (client, server) = (case.client(), case.server());
        let mut bytes = client.port().to_be_bytes().to_vec();
        bytes.extend(case.vip().port().to_be_bytes());
        // TCP up to its flags.
        bytes.resize(if case.is_tcp() { 14 } else { 4 }, SYN);
        let body = Body::Raw {
            protocol: case.protocol.number(),
            bytes,
        };
        let mut packet = Packet::new(client, case.vip(), body);
        packet.source.set_port(0);
        packet.destination.set_port(0);
        let service = Service::cluster_ip(case.protocol, case.vip(), &[Endpoint::here(server)]);
        vec![Row {
            steps: vec![(At::FromPod(CLIENT), packet, Fate::Dropped)],
            drops: vec!["malformed"],
            ..row("cut off", Fixture::new().with(&service))
        }]
    });
}
