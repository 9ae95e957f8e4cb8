//! Whatever happens in whatever order, with repeats, restarts and pauses: do the tables end as if
//! only the end had been told, does the oracle agree, and does what did not change keep its
//! numbers?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::layout::{FrontendInfo, FrontendRef};
use lb_common::{Family as _, Ip4, Ip6};
use lb_userspace::model::{
    Algorithm, Change, Endpoint, Node, Policy, Protocol, Service, ServiceKind, Slice,
};
use lb_userspace::plan::{CompleteList, Planner};
use lb_userspace::tables::sieve::sieve;
use lb_userspace::tables::{Capacities, FamilyRowKey, PerFamily, RowKey, Tables};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::support::ask::{Outcome, Question, ask};
use crate::support::build::{
    addresses, draining, for_zones, here, name, networks, node, on_node, ready, service, slice,
    stopped, tcp, udp, unready,
};
use crate::support::oracle::{Expected, expected};
use crate::support::text::{frontend, text};
use crate::support::{LATER, base};

/// Cases tried; each is a story of up to so many events.
const STORIES: u32 = 96;
const EVENTS: usize = 24;

#[derive(Clone, Debug)]
enum Event {
    Told(Box<Change>),
    /// So many milliseconds pass.
    Pause(u64),
    /// The process ends, and another one adopts what is there.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (service_name(), option(service_variant())).prop_map(|(of, service)| {
            Event::Told(Box::new(Change::Service(name(of), service.map(Arc::new))))
        }),
        6 => (slice_name(), option(slice_variant())).prop_map(|(of, slice)| {
            Event::Told(Box::new(Change::Slice(name(of), slice.map(Arc::new))))
        }),
        1 => node_variant().prop_map(|node| Event::Told(Box::new(Change::Node(node)))),
        2 => (1..1_500_u64).prop_map(Event::Pause),
        1 => Just(Event::Restart),
    ]
}

/// The thing, seldom its absence.
fn option<T: Clone + std::fmt::Debug>(
    thing: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    proptest::option::weighted(0.8, thing)
}

fn service_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c"])
}

fn slice_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["slice-1", "slice-2", "slice-3", "slice-4"])
}

fn policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(vec![Policy::Cluster, Policy::Local])
}

fn kind() -> impl Strategy<Value = ServiceKind> {
    prop_oneof![
        8 => Just(ServiceKind::ClusterIp),
        1 => Just(ServiceKind::Headless),
    ]
}

const VIPS: &[&[&str]] = &[
    &["10.43.0.1"],
    &["10.43.0.2", "fd00:43::2"],
    &["10.43.0.3", "fd00:43::3"],
];

/// The addresses are few, so that Services quarrel about them.
fn service_variant() -> impl Strategy<Value = Service> {
    let external = prop::sample::select(vec![&[][..], &["203.0.113.80"], &["192.0.2.10"]]);
    let ingress = prop::sample::select(vec![&[][..], &["203.0.113.80"], &["2001:db8::80"]]);
    let ranges = prop::sample::select(vec![
        &[][..],
        &["203.0.113.0/24"],
        &["10.42.0.0/24", "203.0.113.0/29"],
        &["2001:db8::/32"],
    ]);
    let ports = prop::sample::select(vec![
        vec![tcp("", 80)],
        vec![on_node(tcp("", 80), 30123)],
        vec![tcp("", 80), udp("", 80)],
        vec![tcp("", 80), on_node(tcp("https", 443), 30124)],
    ]);
    let policies = (policy(), policy());
    let affinity = proptest::option::of(Just(10_800));
    let algorithm =
        prop::sample::select(vec![None, Some(Algorithm::Random), Some(Algorithm::Maglev)]);
    let vips = prop::sample::select(VIPS.to_vec());
    (
        vips,
        kind(),
        external,
        ingress,
        ranges,
        ports,
        policies,
        (affinity, algorithm),
    )
        .prop_map(
            |(
                vips,
                kind,
                external,
                ingress,
                ranges,
                ports,
                (internal, outside),
                (affinity, algorithm),
            )| {
                Service {
                    algorithm,
                    kind,
                    external_ips: addresses(external),
                    load_balancer_ips: addresses(ingress),
                    source_ranges: networks(ranges),
                    internal_policy: internal,
                    external_policy: outside,
                    affinity_seconds: affinity,
                    ..service(vips, &ports)
                }
            },
        )
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let address = prop::sample::select(vec![
        "10.42.0.10",
        "10.42.1.9",
        "10.42.1.10",
        "192.0.2.10",
        "fd00:42:1::9",
        "fd00:42::10",
    ]);
    let state = prop::sample::select(vec![
        ready as fn(&str) -> Endpoint,
        ready,
        ready,
        draining,
        stopped,
        unready,
    ]);
    let zones = prop::sample::select(vec![&[][..], &[], &["zone-a"], &["zone-b"]]);
    (address, state, zones, any::<bool>()).prop_map(|(address, state, zones, is_here)| {
        let endpoint = for_zones(state(address), zones);
        if is_here { here(endpoint) } else { endpoint }
    })
}

fn slice_variant() -> impl Strategy<Value = Slice> {
    let port = prop::sample::select(vec![("", 8080), ("https", 8443)]);
    let endpoints = prop::collection::vec(endpoint(), 0..5);
    (service_name(), port, endpoints).prop_map(|(of, port, endpoints)| slice(of, port, &endpoints))
}

fn node_variant() -> impl Strategy<Value = Node> {
    let elsewhere = Node {
        zone: "zone-b".to_owned(),
        algorithm: Algorithm::Maglev,
        node_port_addresses: addresses(&["10.42.0.1"]),
        ..node()
    };
    prop::sample::select(vec![node(), elsewhere])
}

/// What is told and planned so far.
struct Story {
    planner: Planner,
    now: u64,
}

impl Story {
    fn happens(&mut self, event: Event) {
        match event {
            Event::Told(change) => {
                self.planner.apply(vec![*change], self.now);
            }
            Event::Pause(millis) => {
                self.now += millis;
                self.planner.due(&BTreeSet::new(), self.now);
            }
            Event::Restart => {
                let found = self.planner.tables().clone();
                let capacities = Capacities::default();
                let mut next = Planner::adopt(base(), capacities, found, self.now);
                next.complete(CompleteList(everything(&self.planner)), self.now);
                self.planner = next;
            }
        }
    }

    fn settled(mut self) -> Tables {
        self.planner.due(&BTreeSet::new(), LATER);
        self.planner.tables().clone()
    }
}

/// What the planner knows, as one list.
fn everything(planner: &Planner) -> Vec<Change> {
    let world = planner.world();
    let mut changes = vec![Change::Node(world.node().clone())];
    for (name, service) in world.services() {
        changes.push(Change::Service(name.clone(), Some(service.clone())));
    }
    let mut slices = Vec::new();
    for service in ["a", "b", "c"] {
        slices.extend(world.slices(&name(service)).cloned());
    }
    // The planner need not know a slice's name; any will do that keeps their order.
    for (i, slice) in slices.into_iter().enumerate() {
        let of = name(&format!("slice-{i}"));
        changes.push(Change::Slice(of, Some(slice.into())));
    }
    changes
}

fn questions() -> Vec<Question> {
    let sources: Vec<IpAddr> = addresses(&[
        "10.42.0.9",
        "192.0.2.10",
        "203.0.113.7",
        "203.0.113.77",
        "fd00:42::9",
        "2001:db8::7",
        "2001:dba::7",
    ]);
    let destinations: Vec<IpAddr> = addresses(&[
        "10.43.0.1",
        "10.43.0.2",
        "10.43.0.3",
        "203.0.113.80",
        "192.0.2.10",
        "10.42.0.1",
        "fd00:43::2",
        "2001:db8::80",
        "2001:db8::10",
    ]);
    let mut questions = Vec::new();
    for source in &sources {
        for destination in &destinations {
            for port in [80, 443, 30123, 30124] {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    questions.push(Question {
                        source: *source,
                        destination: *destination,
                        port,
                        protocol,
                    });
                }
            }
        }
    }
    questions.retain(|q| q.source.is_ipv4() == q.destination.is_ipv4());
    questions
}

fn assert_as_expected(planner: &Planner) {
    let sieves = (
        sieve::<Ip4>(planner.tables(), &[]),
        sieve::<Ip6>(planner.tables(), &[]),
    );
    for question in questions() {
        let is = match ask(planner.tables(), &question) {
            Outcome::Forward { backends, .. } => Expected::Forward(backends),
            Outcome::Refuse => Expected::Refuse,
            Outcome::Drop => Expected::Drop,
            Outcome::Pass => Expected::Pass,
        };
        assert_eq!(is, expected(planner.world(), &question), "{question:?}");
        let held = |address: IpAddr, port| match (Ip4::from_ip(address), Ip6::from_ip(address)) {
            (Some(address), _) => sieves.0.holds(&address, port),
            (_, Some(address)) => sieves.1.holds(&address, port),
            _ => false,
        };
        let concerns_us = is != Expected::Pass;
        assert!(
            !concerns_us || held(question.destination, question.port),
            "{question:?} passes through the sieve"
        );
        if let Expected::Forward(backends) = is {
            for backend in backends {
                assert!(held(backend.ip(), backend.port()), "direct to {backend}");
            }
        }
    }
}

/// What each frontend means, and the numbers by which it does.
fn numbered(tables: &Tables) -> BTreeMap<RowKey, (String, Numbers)> {
    let mut numbered = BTreeMap::new();
    add_numbered::<Ip4>(tables, &mut numbered);
    add_numbered::<Ip6>(tables, &mut numbered);
    numbered
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Numbers {
    reference: FrontendRef,
    pools: [(u32, u32); 2],
    slots: Vec<u32>,
}

fn add_numbered<A: PerFamily>(tables: &Tables, to: &mut BTreeMap<RowKey, (String, Numbers)>) {
    for (key, reference) in &A::of(tables).frontends {
        let FrontendInfo {
            inside, outside, ..
        } = A::of(tables).info[&reference.info];
        let pools = [inside, outside].map(|pool| (pool.first, pool.count));
        let slots = pools
            .iter()
            .flat_map(|(first, count)| *first..first + count);
        let numbers = Numbers {
            reference: *reference,
            pools,
            slots: slots.map(|slot| tables.slots[&slot]).collect(),
        };
        let means = frontend(tables, key, *reference);
        to.insert(A::key(FamilyRowKey::Frontend(*key)), (means, numbers));
    }
}

/// A frontend that means the same as before has the same numbers.
fn assert_numbers_kept(before: &Tables, after: &Tables, by: &Event) {
    let before = numbered(before);
    for (key, (means, numbers)) in numbered(after) {
        if let Some((meant, had)) = before.get(&key)
            && *meant == means
        {
            assert_eq!(*had, numbers, "{means}\nby {by:?}");
        }
    }
}

fn tell(events: Vec<Event>) {
    let mut story = Story {
        planner: Planner::adopt(base(), Capacities::default(), Tables::default(), 0),
        now: 0,
    };
    story
        .planner
        .complete(CompleteList(vec![Change::Node(node())]), 0);
    for event in events {
        let before = story.planner.tables().clone();
        story.happens(event.clone());
        assert_numbers_kept(&before, story.planner.tables(), &event);
        story.happens(event.clone());
    }
    assert_as_expected(&story.planner);
    let mut fresh = Planner::adopt(base(), Capacities::default(), Tables::default(), 0);
    fresh.complete(CompleteList(everything(&story.planner)), 0);
    assert_eq!(story.planner.problems(), fresh.problems());
    assert_eq!(text(&story.settled()), text(fresh.tables()));
}

#[test]
fn any_story_ends_as_if_only_the_end_had_been_told() {
    let config = Config {
        cases: STORIES,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let stories = prop::collection::vec(event(), 1..EVENTS);
    runner
        .run(&stories, |events| {
            tell(events);
            Ok(())
        })
        .unwrap();
}
