//! Frontends about which all nodes agree: whoever gets a packet sends it where any other would.

use std::net::SocketAddr;

use lb_common::hash;
use lb_common::layout::{
    CONFIG_TAKEOVER, FLOW_OUTSIDE, FRONTEND_MAGLEV, FRONTEND_NODE_PORT, FlowKey,
};
use lb_common::{Ip4, Ip6};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, FlowPair, Row, Service};
use lb_tests::topology::Family;

use super::cases::{Case, SERVER, SPARE, check, check_each_protocol, row};

/// Client ports tried: no chance that all of them draw the same of two slots.
const CLIENTS: u16 = 12;

/// What all nodes draw for a client, in the words of the tables.
fn agreed(case: Case, client: SocketAddr, frontend: SocketAddr, by_client: bool) -> u32 {
    fn of<A: lb_common::Family>(
        case: Case,
        client: SocketAddr,
        frontend: SocketAddr,
        by_client: bool,
    ) -> u32 {
        let flow = FlowKey {
            source: A::from_ip(client.ip()).expect("of the case's family"),
            destination: A::from_ip(frontend.ip()).expect("of the case's family"),
            source_port: client.port(),
            destination_port: frontend.port(),
            protocol: case.protocol.number(),
            reserved: [0; 3],
        };
        hash::agreed(&flow, by_client)
    }
    match case.family {
        Family::V4 => of::<Ip4>(case, client, frontend, by_client),
        Family::V6 => of::<Ip6>(case, client, frontend, by_client),
    }
}

fn kubia(case: Case, hash_key: u64, affinity_seconds: u32) -> Fixture {
    let endpoints = [SERVER, SPARE].map(|pod| Endpoint::here(case.pod(pod, 8080)));
    let flags = FRONTEND_NODE_PORT | FRONTEND_MAGLEV;
    let service = Service::new(flags, case.protocol, case.node(30_123), &endpoints);
    let mut fixture = Fixture::new().with(&service.with_affinity(affinity_seconds));
    fixture.tables.config.hash_key = hash_key;
    fixture
}

/// Clients from outside, each with its own port, and where a packet of each goes.
fn choices(case: Case, by_client: bool) -> Vec<(SocketAddr, SocketAddr)> {
    let frontend = case.node(30_123);
    let client = |i| SocketAddr::new(case.outside().ip(), 40_000 + i);
    let choice = |client| {
        let slot = hash::slot(agreed(case, client, frontend, by_client), 2);
        case.pod([SERVER, SPARE][slot as usize], 8080)
    };
    let clients = (0..CLIENTS).map(client);
    clients.map(|client| (client, choice(client))).collect()
}

#[test]
fn whatever_its_own_key_each_node_draws_the_same() {
    check_each_protocol(|case| {
        let frontend = case.node(30_123);
        let rows = [0, 0x5eed_5eed_5eed_5eed].map(|hash_key| {
            let choices = choices(case, false);
            assert!(choices.iter().any(|(_, to)| *to != choices[0].1), "both");
            Row {
                steps: choices
                    .iter()
                    .map(|(client, to)| {
                        let fate = Fate::Becomes(case.first(*client, *to));
                        (At::FromUplink, case.first(*client, frontend), fate)
                    })
                    .collect(),
                flows: choices
                    .iter()
                    .map(|(client, to)| FlowPair {
                        frontend,
                        ..case.flow(*client, *to, FLOW_OUTSIDE)
                    })
                    .collect(),
                ..row(&format!("key {hash_key:#x}"), kubia(case, hash_key, 0))
            }
        });
        rows.into()
    });
}

/// A router moved the connection here from another node: it goes on with the backend it has. While
/// flows from before us are about, it may be one of those, and is theirs.
#[test]
fn a_packet_without_flow_chooses_as_the_first_one_did() {
    check(|case| {
        let frontend = case.node(30_123);
        let (client, to) = choices(case, false)[0];
        let late = case.later(client, frontend);
        let mut take_over = kubia(case, 1, 0);
        take_over.tables.config.flags = CONFIG_TAKEOVER;
        let mut rows = vec![Row {
            steps: vec![(
                At::FromUplink,
                late.clone(),
                Fate::Becomes(case.later(client, to)),
            )],
            flows: vec![FlowPair {
                frontend,
                ..case.flow(client, to, FLOW_OUTSIDE)
            }],
            ..row("a late packet", kubia(case, 1, 0))
        }];
        if case.is_tcp() {
            rows.push(Row {
                steps: vec![(At::FromUplink, late, Fate::Untouched)],
                ..row("a late packet during take-over", take_over)
            });
        }
        rows
    });
}

/// Whatever node and port the client dials with, its address alone decides.
#[test]
fn with_affinity_the_clients_address_decides() {
    check_each_protocol(|case| {
        let frontend = case.node(30_123);
        let choices = choices(case, true);
        let (client, to) = choices[0];
        assert!(choices.iter().all(|(_, other)| *other == to));
        vec![Row {
            steps: vec![(
                At::FromUplink,
                case.first(client, frontend),
                Fate::Becomes(case.first(client, to)),
            )],
            flows: vec![FlowPair {
                frontend,
                ..case.flow(client, to, FLOW_OUTSIDE)
            }],
            ..row("affinity", kubia(case, 1, 10_800))
        }]
    });
}
