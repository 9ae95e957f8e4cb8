//! Does everything keep its number as long as it lives, and does nobody get it too early?

use std::collections::BTreeSet;

use lb_common::layout::BACKEND_TERMINATING;
use lb_common::limits::REUSE_AFTER_MILLIS;
use lb_userspace::model::{Change, Endpoint, Service};
use lb_userspace::plan::{CompleteList, ConfigBase, Planner};
use lb_userspace::tables::{Capacities, Op, Owner, Row, TableDelta, Tables};

use crate::support::build::{
    addresses, draining, name, networks, no_service, no_slice, node, on_node, ready, service,
    set_service, set_slice, slice, tcp,
};
use crate::support::text::text;
use crate::support::{base, plan};

const NOBODY_HELD: BTreeSet<Owner> = BTreeSet::new();

fn kubia() -> Change {
    let ports = [on_node(tcp("", 80), 30123)];
    set_service("kubia", service(&["10.43.165.39"], &ports))
}

fn endpoints(endpoints: &[Endpoint]) -> Change {
    set_slice("kubia-1", slice("kubia", ("", 8080), endpoints))
}

fn backend_service() -> Vec<Change> {
    let service = service(&["10.43.151.12"], &[tcp("", 5000)]);
    let endpoints = [ready("10.42.1.20"), ready("10.42.1.21")];
    vec![
        set_service("backend-service", service),
        set_slice("backends", slice("backend-service", ("", 5000), &endpoints)),
    ]
}

fn cluster() -> Vec<Change> {
    let mut changes = backend_service();
    changes.extend([
        Change::Node(node()),
        kubia(),
        endpoints(&[ready("10.42.0.10"), ready("10.42.1.9")]),
    ]);
    changes
}

fn adopt(found: &Tables, changes: Vec<Change>, now_millis: u64) -> (Planner, TableDelta) {
    let capacities = Capacities::default();
    let mut planner = Planner::adopt(base(), capacities, found.clone(), now_millis);
    let delta = planner.complete(CompleteList(changes), now_millis);
    (planner, delta)
}

fn written<'d>(delta: &'d TableDelta, of: fn(&Row) -> bool) -> impl Iterator<Item = &'d Row> {
    let row = |op: &'d Op| match op {
        Op::Update(row) => Some(row),
        Op::Delete(_) => None,
    };
    delta.ops().filter_map(row).filter(move |row| of(row))
}

fn is_backend(row: &Row) -> bool {
    row.key().is_some_and(|key| key.map() == "backends4")
}

fn is_slot(row: &Row) -> bool {
    matches!(row, Row::Slot(..))
}

#[test]
fn the_same_again_changes_nothing() {
    let mut planner = plan(cluster());
    assert!(planner.apply(cluster(), 1).is_empty());
}

#[test]
fn a_new_endpoint_is_written_for_its_service_alone() {
    let mut planner = plan(cluster());
    let before = planner.tables().clone();
    let three = [ready("10.42.0.10"), ready("10.42.1.9"), ready("10.42.1.10")];
    let delta = planner.apply(vec![endpoints(&three)], 1);
    let owners: Vec<&Owner> = delta.parts.iter().map(|part| &part.owner).collect();
    assert_eq!(owners, [&Owner::Service(name("kubia"))]);
    assert_eq!(written(&delta, is_backend).count(), 1);
    assert_eq!(written(&delta, is_slot).count(), 3);
    // Two frontends with information of their own, and the ClusterIP's mark stays as it is.
    assert_eq!(delta.len(), 1 + 3 + 2 + 2);
    for (id, backend) in &before.v4.backends {
        assert_eq!(planner.tables().v4.backends[id], *backend);
    }
}

/// How many elements are written when one of two endpoints is replaced, and how many are deleted once
/// nobody can be reading what it replaced, among so many other Services.
fn writes_among(others: u32) -> [usize; 2] {
    let of_one = |n: u32| {
        let (name, address) = (
            format!("other-{n}"),
            format!("10.43.{}.{}", n / 250, n % 250 + 1),
        );
        let backend = [ready("10.42.1.20"), ready("10.42.1.21")];
        [
            set_service(&name, service(&[&address], &[tcp("", 80)])),
            set_slice(&format!("{name}-1"), slice(&name, ("", 8080), &backend)),
        ]
    };
    let mut changes = cluster();
    changes.extend((0..others).flat_map(of_one));
    let mut planner = plan(changes);
    let one_other = [ready("10.42.0.10"), ready("10.42.1.10")];
    let written = planner.apply(vec![endpoints(&one_other)], 1).len();
    let deleted = planner.due(&NOBODY_HELD, 1 + REUSE_AFTER_MILLIS).len();
    [written, deleted]
}

#[test]
fn a_change_of_one_endpoint_writes_the_same_among_many_services_as_alone() {
    // The backend, two slots, the information of two frontends, and the words that make both known; then
    // all but the words again.
    assert_eq!(writes_among(0), [1 + 2 + 2 + 2, 1 + 2 + 2]);
    assert_eq!(writes_among(1_000), writes_among(0));
}

#[test]
fn frontends_of_one_service_port_share_their_slots() {
    let planner = plan(cluster());
    assert_eq!(planner.tables().slots.len(), 2 + 2);
}

#[test]
fn a_draining_backend_keeps_its_number_and_changes_its_flags() {
    let mut planner = plan(cluster());
    let drained = [ready("10.42.0.10"), draining("10.42.1.9")];
    let delta = planner.apply(vec![endpoints(&drained)], 1);
    let backends: Vec<&Row> = written(&delta, is_backend).collect();
    // Marked before the pools change, out of them after.
    assert_eq!(backends.len(), 2);
    assert_eq!(backends[0].key(), backends[1].key());
    let marked = planner.tables().v4.backends.values();
    let marked = marked.filter(|backend| backend.flags & BACKEND_TERMINATING != 0);
    assert_eq!(marked.count(), 1);
    assert_eq!(planner.tables().v4.backends.len(), 4);
}

#[test]
fn a_restart_changes_nothing_in_whatever_order_things_are_told() {
    let planner = plan(cluster());
    let mut changes = cluster();
    for _ in 0..changes.len() {
        changes.rotate_left(1);
        let (adopted, delta) = adopt(planner.tables(), changes.clone(), 0);
        assert_eq!(delta, TableDelta::default());
        assert_eq!(adopted.tables(), planner.tables());
    }
}

#[test]
fn a_restart_keeps_the_hash_key() {
    let found = plan(cluster()).tables().clone();
    let other = ConfigBase {
        hash_key: 1,
        ..base()
    };
    let mut planner = Planner::adopt(other, Capacities::default(), found, 0);
    let delta = planner.complete(CompleteList(cluster()), 0);
    assert!(delta.is_empty());
    assert!(planner.configure(other, 0).is_empty());
    assert_eq!(planner.tables().config.hash_key, base().hash_key);
}

#[test]
fn before_everything_is_known_nothing_adopted_is_touched() {
    let found = plan(cluster()).tables().clone();
    let mut planner = Planner::adopt(base(), Capacities::default(), found.clone(), 0);
    assert!(
        planner
            .apply(vec![Change::Node(node()), kubia()], 0)
            .is_empty()
    );
    assert_eq!(*planner.tables(), found);
    assert_eq!(planner.problems().len(), 1);
    let new = set_service("new", service(&["10.43.0.7"], &[tcp("", 80)]));
    let delta = planner.apply(vec![new], 0);
    let owners: Vec<&Owner> = delta.parts.iter().map(|part| &part.owner).collect();
    assert_eq!(owners, [&Owner::Service(name("new"))]);
    planner.complete(CompleteList(cluster()), 0);
    assert_eq!(planner.problems(), []);
}

#[test]
fn what_a_restart_finds_and_nobody_wants_goes() {
    let found = plan(cluster()).tables().clone();
    let (mut planner, _) = adopt(&found, vec![Change::Node(node()), kubia()], 0);
    let due = planner.next_due().unwrap();
    planner.due(&NOBODY_HELD, due);
    let fresh = plan(vec![Change::Node(node()), kubia()]);
    assert_eq!(text(planner.tables()), text(fresh.tables()));
}

#[test]
fn numbers_wait_until_no_program_can_be_reading_what_they_named() {
    let mut planner = plan(cluster());
    let before = planner.tables().clone();
    let two_others = [ready("10.42.1.30"), ready("10.42.1.31")];
    let delta = planner.apply(vec![endpoints(&two_others)], 500);
    for row in written(&delta, |row| is_slot(row) || is_backend(row)) {
        assert!(!before.contains(&row.key().unwrap()), "{row:?} is reused");
    }
    let due = 500 + REUSE_AFTER_MILLIS;
    assert_eq!(planner.next_due(), Some(due));
    assert!(planner.due(&NOBODY_HELD, due - 1).is_empty());
    let deleted = planner.due(&NOBODY_HELD, due);
    // Two backends, two slots, the information of two frontends.
    assert_eq!(deleted.len(), 2 + 2 + 2);
    let delta = planner.apply(vec![endpoints(&[ready("10.42.1.32")])], due);
    assert!(written(&delta, is_backend).any(|row| before.contains(&row.key().unwrap())));
}

#[test]
fn an_endpoint_that_comes_back_is_another_one() {
    let mut planner = plan(cluster());
    let highest = |planner: &Planner| {
        let backends = planner.tables().v4.backends.values();
        backends.map(|backend| backend.generation).max().unwrap()
    };
    let before = highest(&planner);
    planner.apply(vec![endpoints(&[ready("10.42.0.10")])], 1);
    let both = [ready("10.42.0.10"), ready("10.42.1.9")];
    planner.apply(vec![endpoints(&both)], 2);
    assert!(highest(&planner) > before);
}

#[test]
fn a_generation_is_not_repeated_after_a_restart() {
    let mut planner = plan(cluster());
    planner.apply(vec![no_slice("kubia-1"), no_slice("backends")], 1);
    planner.due(&NOBODY_HELD, 2 * REUSE_AFTER_MILLIS);
    assert!(planner.tables().v4.backends.is_empty());
    let boot = 60_000;
    let (restarted, _) = adopt(planner.tables(), cluster(), boot);
    let mut backends = restarted.tables().v4.backends.values();
    assert!(backends.all(|backend| backend.generation >= 60));
}

#[test]
fn a_range_that_is_withdrawn_and_given_again_stays() {
    let restricted = |ranges: &[&str]| {
        let service = Service {
            load_balancer_ips: addresses(&["146.148.47.155"]),
            source_ranges: networks(ranges),
            ..service(&["10.43.165.39"], &[tcp("", 80)])
        };
        vec![set_service("kubia", service)]
    };
    let mut planner = plan(restricted(&["203.0.113.0/24"]));
    planner.apply(restricted(&[]), 1);
    planner.apply(restricted(&["203.0.113.0/24"]), 2);
    planner.due(&NOBODY_HELD, 1 + REUSE_AFTER_MILLIS);
    planner.due(&NOBODY_HELD, 2 + REUSE_AFTER_MILLIS);
    assert_eq!(planner.tables().v4.ranges.len(), 1);
}

#[test]
fn a_range_that_is_withdrawn_admits_nobody_when_others_are_given() {
    let restricted = |ranges: &[&str]| {
        let service = Service {
            load_balancer_ips: addresses(&["146.148.47.155"]),
            source_ranges: networks(ranges),
            ..service(&["10.43.165.39"], &[tcp("", 80)])
        };
        vec![set_service("kubia", service)]
    };
    let mut planner = plan(restricted(&["203.0.113.0/24"]));
    planner.apply(restricted(&[]), 1);
    assert_eq!(
        planner.tables().v4.ranges.len(),
        1,
        "somebody may be reading"
    );
    planner.apply(restricted(&["198.51.100.0/24"]), 2);
    assert_eq!(planner.tables().v4.ranges.len(), 1);
}

#[test]
fn what_finds_no_room_stays_as_it_was_until_there_is_room() {
    let mut capacities = Capacities::default();
    // Room for the two endpoints there are, and one more; index 0 is never used.
    capacities.v4.backends = 1 + 3;
    let mut planner = Planner::adopt(base(), capacities, Tables::default(), 0);
    let two = [ready("10.42.0.10"), ready("10.42.1.9")];
    let changes = vec![Change::Node(node()), kubia(), endpoints(&two)];
    planner.complete(CompleteList(changes), 0);
    let before = text(planner.tables());

    let delta = planner.apply(backend_service(), 1);
    assert!(delta.is_empty());
    assert_eq!(text(planner.tables()), before);
    let problems: Vec<String> = planner.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "Service default/backend-service: map backends4 is full (4 elements): raise its size in the configuration file (`maps.backends4`); until there is room it stays as it was before"
        ]
    );

    planner.apply(vec![no_service("kubia")], 2);
    let delta = planner.due(&NOBODY_HELD, 2 + REUSE_AFTER_MILLIS);
    assert_eq!(written(&delta, is_backend).count(), 2);
    assert_eq!(planner.problems(), []);
    let served = planner.tables().v4.frontends.keys();
    assert_eq!(served.filter(|key| key.port == 5000).count(), 1);
}

#[test]
fn a_change_costs_the_same_among_many_services() {
    let ops_among = |others: u8| {
        let mut changes = cluster();
        for i in 0..others {
            let vip = format!("10.43.1.{i}");
            let other = format!("other-{i}");
            changes.push(set_service(&other, service(&[&vip], &[tcp("", 80)])));
            let endpoints = [ready("10.42.7.7")];
            changes.push(set_slice(&other, slice(&other, ("", 80), &endpoints)));
        }
        let mut planner = plan(changes);
        planner
            .apply(vec![endpoints(&[ready("10.42.0.10")])], 1)
            .len()
    };
    assert_eq!(ops_among(0), ops_among(250));
}
