//! Do nodes agree where they must, whatever each has been through?

use std::net::{IpAddr, SocketAddr};

use lb_common::decide::{Arrival, Request};
use lb_common::hash::{self, ByFlow};
use lb_common::layout::FlowKey;
use lb_common::{Decision, Family as _, Ip4, decide};
use lb_userspace::model::{Algorithm, Change, Endpoint, Node, Service, ServiceKind};
use lb_userspace::plan::{CompleteList, ConfigBase, Planner};
use lb_userspace::tables::{Capacities, Tables, View};

use crate::support::base;
use crate::support::build::{
    addresses, name, no_slice, node, on_node, ready, service, set_service, set_slice, slice, tcp,
};

const VIP: Ip4 = Ip4::new(146, 148, 47, 155);
const FLOWS: u16 = 20_000;

fn kubia() -> Change {
    let service = Service {
        kind: ServiceKind::LoadBalancer,
        load_balancer_ips: addresses(&["146.148.47.155"]),
        algorithm: Some(Algorithm::Maglev),
        ..service(&["10.43.165.39"], &[on_node(tcp("", 80), 30123)])
    };
    set_service("kubia", service)
}

fn endpoints(pods: impl Iterator<Item = u8>) -> Change {
    let endpoints: Vec<Endpoint> = pods.map(|i| ready(&format!("10.42.1.{i}"))).collect();
    set_slice("kubia-1", slice("kubia", ("", 8080), &endpoints))
}

fn node_with(hash_key: u64, address: &str) -> (Planner, Node) {
    let base = ConfigBase { hash_key, ..base() };
    let planner = Planner::adopt(base, Capacities::default(), Tables::default(), 0);
    let node = Node {
        name: address.to_owned(),
        addresses: addresses(&[address]),
        node_port_addresses: addresses(&[address]),
        ..node()
    };
    (planner, node)
}

/// Whom the node's packet path gives this client of the frontend.
fn backend(tables: &Tables, client_port: u16, frontend: (Ip4, u16), begins: bool) -> SocketAddr {
    let flow = FlowKey {
        source: Ip4::new(203, 0, 113, 7),
        destination: frontend.0,
        source_port: client_port,
        destination_port: frontend.1,
        protocol: 6,
        reserved: [0; 3],
    };
    let request = Request {
        flow: &flow,
        arrival: Arrival::Uplink,
        begins,
    };
    let own = hash::draw(&flow, tables.config.hash_key);
    let by_flow = ByFlow { flow: &flow, own };
    match decide(&View::<Ip4>::new(tables), &request, by_flow) {
        Decision::Forward(forward) => {
            SocketAddr::new(forward.backend.address.to_ip(), forward.backend.port)
        }
        other => panic!("{other:?}"),
    }
}

fn ip4(address: &str) -> Ip4 {
    Ip4::from_ip(address.parse::<IpAddr>().unwrap()).unwrap()
}

/// One node learns everything at once, the other one endpoint by endpoint, backwards, among other
/// Services, with pods that came and went.
#[test]
fn nodes_with_different_pasts_and_keys_give_a_client_the_same_backend() {
    let (mut here, this) = node_with(1, "192.0.2.10");
    here.complete(
        CompleteList(vec![Change::Node(this), endpoints(1..=30), kubia()]),
        0,
    );

    let (mut there, that) = node_with(2, "192.0.2.20");
    there.complete(CompleteList(vec![Change::Node(that), kubia()]), 0);
    for i in 0..5 {
        let other = format!("other-{i}");
        let vip = format!("10.43.1.{i}");
        there.apply(
            vec![set_service(&other, service(&[&vip], &[tcp("", 80)]))],
            1,
        );
        there.apply(
            vec![set_slice(
                &other,
                slice(&other, ("", 80), &[ready("10.42.7.7")]),
            )],
            2,
        );
    }
    for first in (1..=40).rev() {
        there.apply(vec![endpoints(first..=40)], 3);
    }
    there.apply(vec![no_slice("other-3")], 4);
    there.apply(vec![endpoints((1..=30).rev())], 5);

    let ids = |tables: &Tables| tables.v4.backends.keys().copied().collect::<Vec<_>>();
    assert_ne!(
        ids(here.tables()),
        ids(there.tables()),
        "or this shows nothing"
    );
    for port in 0..FLOWS {
        let mine = backend(here.tables(), port, (VIP, 80), true);
        assert_eq!(backend(there.tables(), port, (VIP, 80), true), mine);
        // Where the other node takes the connection over, it goes on with the same pod.
        assert_eq!(backend(there.tables(), port, (VIP, 80), false), mine);
    }
    for port in 0..1_000 {
        assert_eq!(
            backend(here.tables(), port, (ip4("192.0.2.10"), 30123), true),
            backend(there.tables(), port, (ip4("192.0.2.20"), 30123), true),
            "a nodePort is on other addresses there"
        );
    }
}

#[test]
fn a_pod_that_goes_moves_hardly_any_flow_of_the_others() {
    let (mut planner, node) = node_with(1, "192.0.2.10");
    let everything = vec![Change::Node(node), kubia(), endpoints(1..=100)];
    planner.complete(CompleteList(everything), 0);
    let before = planner.tables().clone();
    planner.apply(vec![endpoints((1..=100).filter(|i| *i != 37))], 1);
    let gone: SocketAddr = "10.42.1.37:8080".parse().unwrap();
    let (mut others, mut moved) = (0, 0);
    for port in 0..FLOWS {
        let was = backend(&before, port, (VIP, 80), true);
        if was != gone {
            others += 1;
            moved += u32::from(backend(planner.tables(), port, (VIP, 80), true) != was);
        }
    }
    assert!(
        f64::from(moved) <= 0.015 * f64::from(others),
        "{moved} of {others}"
    );
}

#[test]
fn frontends_share_a_table_and_cluster_ips_have_none() {
    let (mut planner, node) = node_with(1, "192.0.2.10");
    let everything = vec![Change::Node(node), kubia(), endpoints(1..=5)];
    planner.complete(CompleteList(everything), 0);
    // A list of five for the ClusterIP, one table for node port and load balancer together.
    assert_eq!(planner.tables().slots.len(), 5 + 1_021);
}

#[test]
fn a_table_that_finds_no_room_is_a_problem_and_the_rest_is_served() {
    let capacities = Capacities {
        slots: 1_000,
        ..Capacities::default()
    };
    let mut planner = Planner::adopt(base(), capacities, Tables::default(), 0);
    let other = [
        set_service("other", service(&["10.43.0.1"], &[tcp("", 80)])),
        set_slice("other-1", slice("other", ("", 80), &[ready("10.42.7.7")])),
    ];
    let mut everything = vec![Change::Node(node()), kubia(), endpoints(1..=5)];
    everything.extend(other);
    planner.complete(CompleteList(everything), 0);
    let problems: Vec<String> = planner.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "Service default/kubia: map slots is full (1000 elements): raise its size in the configuration file (`maps.slots`); until there is room it stays as it was before"
        ]
    );
    assert_eq!(planner.tables().slots.len(), 1);
    assert!(planner.world().service(&name("kubia")).is_some());
}
