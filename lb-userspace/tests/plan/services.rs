//! What does each kind of Service answer to, and whom does it send where? Asked of the tables by
//! the decision function.

use std::collections::BTreeSet;

use lb_userspace::model::{Change, Endpoint, Policy, Problem, Service, ServiceKind};
use lb_userspace::plan::Planner;

use crate::support::ask::{Outcome, Question, ask, tcp as dial};
use crate::support::build::{
    addresses, draining, here, name, networks, node, on_node, ready, service, set_service,
    set_slice, slice, tcp, udp,
};
use crate::support::oracle::{Expected, expected};
use crate::support::plan;

const POD: &str = "10.42.0.9";
const NODE: &str = "192.0.2.10";
const OUTSIDE: &str = "203.0.113.7";
const VIP: &str = "10.43.165.39:80";
const LOCAL: &str = "10.42.0.10:8080";
const REMOTE: &str = "10.42.1.9:8080";

fn both() -> Vec<Endpoint> {
    vec![here(ready("10.42.0.10")), ready("10.42.1.9")]
}

/// The Service `kubia` with these endpoints on port 8080.
fn kubia(service: Service, endpoints: &[Endpoint]) -> Planner {
    plan(vec![
        Change::Node(node()),
        set_service("kubia", service),
        set_slice("kubia-1", slice("kubia", ("", 8080), endpoints)),
    ])
}

/// Who serves the packet; the oracle must agree.
fn outcome(planner: &Planner, question: &Question) -> Outcome {
    let outcome = ask(planner.tables(), question);
    let as_expected = match &outcome {
        Outcome::Forward { backends, .. } => Expected::Forward(backends.clone()),
        Outcome::Refuse => Expected::Refuse,
        Outcome::Drop => Expected::Drop,
        Outcome::Pass => Expected::Pass,
    };
    assert_eq!(expected(planner.world(), question), as_expected, "oracle");
    outcome
}

fn backends(planner: &Planner, source: &str, destination: &str) -> BTreeSet<String> {
    let outcome = outcome(planner, &dial(source, destination));
    outcome.backends().iter().map(ToString::to_string).collect()
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn problems(planner: &Planner) -> Vec<String> {
    planner.problems().iter().map(Problem::to_string).collect()
}

fn cluster_ip() -> Service {
    service(&["10.43.165.39"], &[tcp("", 80)])
}

fn node_port() -> Service {
    service(&["10.43.165.39"], &[on_node(tcp("", 80), 30123)])
}

#[test]
fn a_cluster_ip_serves_pods_the_node_and_outside() {
    let planner = kubia(cluster_ip(), &both());
    for source in [POD, NODE, OUTSIDE] {
        assert_eq!(backends(&planner, source, VIP), set(&[LOCAL, REMOTE]));
    }
}

#[test]
fn an_undefined_port_is_refused_and_an_unallocated_address_dropped() {
    let planner = kubia(cluster_ip(), &both());
    for (destination, fate) in [
        ("10.43.165.39:81", Outcome::Refuse),
        ("10.43.165.40:80", Outcome::Drop),
        ("192.0.2.10:22", Outcome::Pass),
        ("198.51.100.1:80", Outcome::Pass),
    ] {
        assert_eq!(outcome(&planner, &dial(POD, destination)), fate);
    }
}

#[test]
fn without_endpoints_it_is_refused() {
    let planner = kubia(node_port(), &[]);
    for destination in [VIP, "192.0.2.10:30123"] {
        let outcome = outcome(&planner, &dial(OUTSIDE, destination));
        assert_eq!(outcome, Outcome::Refuse);
    }
}

#[test]
fn internal_policy_local_keeps_to_this_node_and_drops_where_it_has_none() {
    let local = Service {
        internal_policy: Policy::Local,
        ..cluster_ip()
    };
    let planner = kubia(local.clone(), &both());
    assert_eq!(backends(&planner, POD, VIP), set(&[LOCAL]));
    let planner = kubia(local.clone(), &[ready("10.42.1.9")]);
    assert_eq!(outcome(&planner, &dial(POD, VIP)), Outcome::Drop);
    let planner = kubia(local, &[]);
    assert_eq!(outcome(&planner, &dial(POD, VIP)), Outcome::Refuse);
}

#[test]
fn external_policy_local_binds_outside_clients_only() {
    let local = Service {
        external_policy: Policy::Local,
        external_ips: addresses(&["203.0.113.80"]),
        load_balancer_ips: addresses(&["146.148.47.155"]),
        ..node_port()
    };
    for frontend in ["203.0.113.80:80", "146.148.47.155:80", "192.0.2.10:30123"] {
        let planner = kubia(local.clone(), &both());
        assert_eq!(backends(&planner, POD, frontend), set(&[LOCAL, REMOTE]));
        assert_eq!(backends(&planner, NODE, frontend), set(&[LOCAL, REMOTE]));
        assert_eq!(backends(&planner, OUTSIDE, frontend), set(&[LOCAL]));
        let planner = kubia(local.clone(), &[ready("10.42.1.9")]);
        let outcome = outcome(&planner, &dial(OUTSIDE, frontend));
        assert_eq!(outcome, Outcome::Drop);
    }
    let planner = kubia(local, &both());
    assert_eq!(backends(&planner, OUTSIDE, VIP), set(&[LOCAL, REMOTE]));
}

#[test]
fn external_policy_local_falls_back_to_its_own_draining_endpoints() {
    let local = Service {
        external_policy: Policy::Local,
        ..node_port()
    };
    let endpoints = [here(draining("10.42.0.10")), ready("10.42.1.9")];
    let planner = kubia(local, &endpoints);
    let node_port = "192.0.2.10:30123";
    assert_eq!(backends(&planner, OUTSIDE, node_port), set(&[LOCAL]));
    assert_eq!(backends(&planner, POD, node_port), set(&[REMOTE]));
}

#[test]
fn source_ranges_bind_load_balancer_addresses_only() {
    let restricted = Service {
        kind: ServiceKind::LoadBalancer,
        load_balancer_ips: addresses(&["146.148.47.155"]),
        external_ips: addresses(&["203.0.113.80"]),
        source_ranges: networks(&["203.0.113.0/29"]),
        ..node_port()
    };
    let planner = kubia(restricted, &both());
    let vip = "146.148.47.155:80";
    assert_eq!(backends(&planner, OUTSIDE, vip), set(&[LOCAL, REMOTE]));
    for source in [POD, NODE, "203.0.113.8", "146.148.47.155"] {
        assert_eq!(outcome(&planner, &dial(source, vip)), Outcome::Drop);
        let unrestricted = backends(&planner, source, "203.0.113.80:80");
        assert_eq!(unrestricted, set(&[LOCAL, REMOTE]));
    }
}

#[test]
fn ranges_that_admit_the_node_admit_the_load_balancers_address() {
    let restricted = Service {
        load_balancer_ips: addresses(&["146.148.47.155"]),
        source_ranges: networks(&["192.0.2.0/24"]),
        ..cluster_ip()
    };
    let planner = kubia(restricted, &both());
    let vip = "146.148.47.155:80";
    for source in [NODE, "146.148.47.155"] {
        assert_eq!(backends(&planner, source, vip), set(&[LOCAL, REMOTE]));
    }
    assert_eq!(outcome(&planner, &dial(POD, vip)), Outcome::Drop);
}

#[test]
fn ranges_of_the_other_family_restrict_nobody_and_say_so() {
    let restricted = Service {
        load_balancer_ips: addresses(&["146.148.47.155"]),
        source_ranges: networks(&["2001:db8::/32"]),
        ..cluster_ip()
    };
    let planner = kubia(restricted, &both());
    let everybody = backends(&planner, OUTSIDE, "146.148.47.155:80");
    assert_eq!(everybody, set(&[LOCAL, REMOTE]));
    assert_eq!(
        problems(&planner),
        [
            "Service default/kubia: spec.loadBalancerSourceRanges: has no IPv4 range, so every IPv4 client is admitted, as under kube-proxy; add an IPv4 range to restrict them"
        ]
    );
}

#[test]
fn each_family_and_protocol_is_for_itself() {
    let dual = service(
        &["10.43.165.39", "fd00:43::39"],
        &[on_node(tcp("", 80), 30123), udp("", 80)],
    );
    let endpoints = [ready("10.42.1.9"), ready("fd00:42:1::9")];
    let planner = kubia(dual, &endpoints);
    assert_eq!(backends(&planner, POD, VIP), set(&[REMOTE]));
    for destination in ["[fd00:43::39]:80", "[2001:db8::10]:30123"] {
        let backends = backends(&planner, "2001:db8::7", destination);
        assert_eq!(backends, set(&["[fd00:42:1::9]:8080"]));
    }
    let question = Question {
        protocol: lb_userspace::model::Protocol::Udp,
        ..dial(POD, VIP)
    };
    assert_eq!(outcome(&planner, &question), Outcome::Refuse);
}

#[test]
fn a_family_without_cluster_ip_has_no_frontends_at_all() {
    let planner = kubia(
        Service {
            external_ips: addresses(&["2001:db8::80"]),
            ..node_port()
        },
        &[ready("fd00:42:1::9")],
    );
    for destination in ["[2001:db8::10]:30123", "[2001:db8::80]:80"] {
        let outcome = outcome(&planner, &dial("2001:db8::7", destination));
        assert_eq!(outcome, Outcome::Pass);
    }
    assert_eq!(
        problems(&planner),
        [
            "Service default/kubia: spec.externalIPs: 2001:db8::80 is not served: the Service has no IPv6 clusterIP; add IPv6 to spec.ipFamilies"
        ]
    );
}

#[test]
fn headless_and_external_name_make_nothing() {
    for kind in [
        ServiceKind::Headless,
        ServiceKind::ExternalName("backend.example".to_owned()),
    ] {
        let planner = kubia(
            Service {
                kind,
                ..node_port()
            },
            &both(),
        );
        assert!(planner.tables().services.is_empty());
        assert!(planner.tables().v4.frontends.is_empty());
        assert_eq!(problems(&planner), [""; 0]);
    }
}

#[test]
fn what_two_services_want_the_first_by_name_has() {
    let wants = |vip, address| Service {
        external_ips: addresses(&[address]),
        ..service(&[vip], &[tcp("", 80)])
    };
    let b = set_service("b", wants("10.43.0.2", "203.0.113.80"));
    let a = set_service("a", wants("10.43.0.1", "203.0.113.80"));
    let slices = [
        set_slice("a-1", slice("a", ("", 8080), &[ready("10.42.1.1")])),
        set_slice("b-1", slice("b", ("", 8080), &[ready("10.42.1.2")])),
    ];
    let mut planner = plan([&[Change::Node(node()), b], &slices[..]].concat());
    let shared = "203.0.113.80:80";
    assert_eq!(
        backends(&planner, OUTSIDE, shared),
        set(&["10.42.1.2:8080"])
    );
    let delta = planner.apply(vec![a], 1);
    assert_eq!(
        backends(&planner, OUTSIDE, shared),
        set(&["10.42.1.1:8080"])
    );
    assert!(delta.parts.iter().all(|part| part.retract.is_empty()));
    assert_eq!(
        problems(&planner),
        [
            "Service default/b: spec.externalIPs: 203.0.113.80:80/TCP belongs to Service default/a already: not served here; give one of them another address or port"
        ]
    );
    planner.apply(vec![crate::support::build::no_service("a")], 2);
    assert_eq!(
        backends(&planner, OUTSIDE, shared),
        set(&["10.42.1.2:8080"])
    );
    assert_eq!(problems(&planner), [""; 0]);
}

#[test]
fn no_external_ip_takes_a_cluster_ip_away() {
    let thief = Service {
        external_ips: addresses(&["10.43.165.39"]),
        ..service(&["10.43.0.1"], &[tcp("", 80)])
    };
    let mut planner = kubia(cluster_ip(), &both());
    planner.apply(vec![set_service("a", thief)], 1);
    assert_eq!(backends(&planner, POD, VIP), set(&[LOCAL, REMOTE]));
}

#[test]
fn an_address_that_is_external_and_the_load_balancers_is_restricted() {
    let twice = Service {
        external_ips: addresses(&["146.148.47.155"]),
        load_balancer_ips: addresses(&["146.148.47.155"]),
        source_ranges: networks(&["198.51.100.0/24"]),
        ..cluster_ip()
    };
    let planner = kubia(twice, &both());
    let outcome = outcome(&planner, &dial(OUTSIDE, "146.148.47.155:80"));
    assert_eq!(outcome, Outcome::Drop);
}

#[test]
fn ports_that_cannot_be_told_apart_are_a_problem_and_the_first_is_served() {
    let service = service(&["10.43.165.39"], &[tcp("", 80), tcp("again", 80)]);
    let planner = kubia(service, &both());
    assert_eq!(backends(&planner, POD, VIP), set(&[LOCAL, REMOTE]));
    assert_eq!(
        problems(&planner),
        [
            "Service default/kubia: spec.ports[1]: has the port and protocol of spec.ports[0]: not served; give it another port"
        ]
    );
}

#[test]
fn backends_tell_place_and_state() {
    let endpoints = [
        here(ready("10.42.0.10")),
        here(ready("192.0.2.10")),
        draining("10.42.1.9"),
    ];
    let planner = kubia(cluster_ip(), &endpoints);
    let text = crate::support::text::text(planner.tables());
    for line in [
        "backend default/kubia 80/TCP 10.42.0.10:8080 local in-cluster",
        "backend default/kubia 80/TCP 192.0.2.10:8080 local host-network in-cluster",
        "backend default/kubia 80/TCP 10.42.1.9:8080 terminating",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(planner.world().service(&name("kubia")).is_some());
}
