//! Whom does a client with an affinity get, at which addresses, and when is it free again?

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::layout::{Affinity, AffinityKey};
use lb_common::{Family as _, Ip4};
use lb_userspace::model::{Change, Endpoint, Policy, Service};
use lb_userspace::plan::Planner;
use lb_userspace::tables::{Tables, View};

use crate::support::ask::{ask_view, tcp as dial};
use crate::support::build::{
    addresses, draining, for_zones, here, name, node, on_node, ready, service, set_service,
    set_slice, slice, tcp, unready,
};
use crate::support::plan;

const POD: &str = "10.42.0.9";
const OUTSIDE: &str = "203.0.113.7";
const ONE: &str = "10.42.0.10:8080";
const OTHER: &str = "10.42.1.9:8080";
const VIPS: [&str; 4] = [
    "10.43.165.39:80",
    "203.0.113.80:80",
    "146.148.47.155:80",
    "192.0.2.10:30123",
];

fn kubia() -> Service {
    Service {
        external_ips: addresses(&["203.0.113.80"]),
        load_balancer_ips: addresses(&["146.148.47.155"]),
        affinity_seconds: Some(10_800),
        ..service(&["10.43.165.39"], &[on_node(tcp("", 80), 30123)])
    }
}

fn cluster(service: Service, endpoints: &[Endpoint]) -> Planner {
    plan(vec![
        Change::Node(node()),
        set_service("kubia", service),
        set_slice("kubia-1", slice("kubia", ("", 8080), endpoints)),
    ])
}

fn both() -> [Endpoint; 2] {
    [here(ready("10.42.0.10")), ready("10.42.1.9")]
}

/// What the programs note when the client gets that backend.
fn note(tables: &Tables, client: &str, backend: &str) -> (AffinityKey<Ip4>, Affinity) {
    let place: SocketAddr = backend.parse().unwrap();
    let mut backends = tables.v4.backends.iter();
    let (id, backend) = backends
        .find(|(_, one)| SocketAddr::new(one.address.to_ip(), one.port) == place)
        .unwrap();
    let key = AffinityKey {
        client: Ip4::from_ip(client.parse().unwrap()).unwrap(),
        service_port: backend.service_port,
    };
    let affinity = Affinity {
        backend: *id,
        generation: backend.generation,
        last_used: 0,
    };
    (key, affinity)
}

/// Whom a client with these affinities gets, whatever it draws.
fn gets(
    tables: &Tables,
    affinity: (AffinityKey<Ip4>, Affinity),
    client: &str,
    vip: &str,
) -> BTreeSet<String> {
    let view = View::with_affinities(tables, [affinity].into(), 1);
    let outcome = ask_view(&view, &dial(client, vip));
    outcome.backends().iter().map(ToString::to_string).collect()
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn a_client_keeps_its_backend_at_every_address_of_the_port() {
    let planner = cluster(kubia(), &both());
    for client in [POD, OUTSIDE] {
        for backend in [ONE, OTHER] {
            let affinity = note(planner.tables(), client, backend);
            for vip in VIPS {
                assert_eq!(
                    gets(planner.tables(), affinity, client, vip),
                    set(&[backend])
                );
            }
        }
    }
    let affinity = note(planner.tables(), POD, ONE);
    for vip in VIPS {
        let stranger = gets(planner.tables(), affinity, OUTSIDE, vip);
        assert_eq!(stranger, set(&[ONE, OTHER]), "another client draws");
    }
}

#[test]
fn other_ports_of_the_service_are_drawn_for_themselves() {
    let ports = [tcp("http", 80), tcp("https", 443)];
    let service = Service {
        affinity_seconds: Some(10_800),
        ..service(&["10.43.165.39"], &ports)
    };
    let mut planner = cluster(service, &[]);
    for (of, port) in [("http", 8080), ("https", 8443)] {
        let endpoints = slice("kubia", (of, port), &both());
        planner.apply(vec![set_slice(of, endpoints)], 1);
    }
    let affinity = note(planner.tables(), POD, ONE);
    assert_eq!(gets(planner.tables(), affinity, POD, VIPS[0]), set(&[ONE]));
    let https = gets(planner.tables(), affinity, POD, "10.43.165.39:443");
    assert_eq!(https, set(&["10.42.0.10:8443", "10.42.1.9:8443"]));
}

/// Drained, not ready, gone, hinted elsewhere, or gone and back as another one.
#[test]
fn a_backend_that_cannot_be_chosen_any_more_lets_its_clients_go() {
    let is =
        |endpoints: Vec<Endpoint>| set_slice("kubia-1", slice("kubia", ("", 8080), &endpoints));
    let one = || here(ready("10.42.0.10"));
    let hinted = vec![
        for_zones(one(), &["zone-a"]),
        for_zones(ready("10.42.1.9"), &["zone-b"]),
    ];
    for change in [
        vec![one(), draining("10.42.1.9")],
        vec![one(), unready("10.42.1.9")],
        vec![one()],
        hinted,
    ] {
        let mut planner = cluster(kubia(), &both());
        let affinity = note(planner.tables(), POD, OTHER);
        planner.apply(vec![is(change.clone())], 1);
        for vip in VIPS {
            let gets = gets(planner.tables(), affinity, POD, vip);
            assert_eq!(gets, set(&[ONE]), "{change:?}");
        }
    }
    let mut planner = cluster(kubia(), &both());
    let affinity = note(planner.tables(), POD, OTHER);
    planner.apply(vec![is(vec![one()])], 1);
    planner.apply(vec![is(both().into())], 2);
    for vip in VIPS {
        assert_eq!(
            gets(planner.tables(), affinity, POD, vip),
            set(&[ONE, OTHER])
        );
    }
    assert!(planner.world().service(&name("kubia")).is_some());
}

/// What the client got as a pod's guest under `Cluster` binds it nowhere under `Local`.
#[test]
fn an_affinity_gives_nobody_what_the_policy_denies() {
    let local = Service {
        external_policy: Policy::Local,
        ..kubia()
    };
    let planner = cluster(local, &both());
    let affinity = note(planner.tables(), OUTSIDE, OTHER);
    assert_eq!(
        gets(planner.tables(), affinity, OUTSIDE, VIPS[0]),
        set(&[OTHER])
    );
    for vip in &VIPS[1..] {
        assert_eq!(gets(planner.tables(), affinity, OUTSIDE, vip), set(&[ONE]));
    }
}
