//! Does every packet see each frontend before a change or after it, wherever the writing stops?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::layout::{Affinity, AffinityKey};
use lb_common::{Family, Ip4, Ip6};
use lb_userspace::dataplane::{Dataplane, Faulty, Memory};
use lb_userspace::model::{Change, Node, Policy, Protocol, Service};
use lb_userspace::plan::{CompleteList, Planner};
use lb_userspace::reconcile::Reconciler;
use lb_userspace::tables::{
    Capacities, FamilyRow, FamilyRowKey, Op, PerFamily, Row, RowKey, TableDelta, Tables, View,
};

use crate::support::ask::{Outcome, Question, ask_view};
use crate::support::build::{
    addresses, draining, here, networks, no_service, no_slice, node, on_node, ready, service,
    set_service, set_slice, slice, tcp,
};
use crate::support::text::text;
use crate::support::{LATER, base, plan};

/// A change of a cluster.
struct Step {
    what: &'static str,
    before: Vec<Change>,
    change: Vec<Change>,
}

fn kubia() -> Service {
    Service {
        external_ips: addresses(&["203.0.113.80"]),
        load_balancer_ips: addresses(&["146.148.47.155"]),
        source_ranges: networks(&["203.0.113.0/24"]),
        external_policy: Policy::Local,
        affinity_seconds: Some(10_800),
        ..service(
            &["10.43.165.39", "fd00:43::39"],
            &[on_node(tcp("", 80), 30123)],
        )
    }
}

fn endpoints() -> Change {
    let endpoints = [
        here(ready("10.42.0.10")),
        ready("10.42.1.9"),
        ready("10.42.1.10"),
        ready("fd00:42:1::9"),
    ];
    set_slice("kubia-1", slice("kubia", ("", 8080), &endpoints))
}

fn cluster() -> Vec<Change> {
    let wants_the_same = Service {
        external_ips: addresses(&["203.0.113.80"]),
        ..service(&["10.43.0.2"], &[tcp("", 80)])
    };
    let slice = slice("other", ("", 8080), &[ready("10.42.1.77")]);
    vec![
        Change::Node(node()),
        set_service("kubia", kubia()),
        endpoints(),
        set_service("other", wants_the_same),
        set_slice("other-1", slice),
    ]
}

fn steps() -> Vec<Step> {
    let of = |what, change| Step {
        what,
        before: cluster(),
        change,
    };
    let slices =
        |endpoints: &[_]| vec![set_slice("kubia-1", slice("kubia", ("", 8080), endpoints))];
    let services = |service| vec![set_service("kubia", service)];
    let here_and_there = [here(ready("10.42.0.10")), ready("10.42.1.9")];
    vec![
        Step {
            what: "everything appears",
            before: vec![],
            change: cluster(),
        },
        of(
            "everything vanishes",
            vec![
                no_service("kubia"),
                no_service("other"),
                no_slice("kubia-1"),
                no_slice("other-1"),
            ],
        ),
        of("an endpoint appears", {
            let more = [&here_and_there[..], &[ready("10.42.1.11")]].concat();
            slices(&more)
        }),
        of("an endpoint vanishes", slices(&here_and_there)),
        of("an endpoint drains", {
            let drained = [&here_and_there[..], &[draining("10.42.1.10")]].concat();
            slices(&drained)
        }),
        of(
            "the last local endpoint vanishes",
            slices(&[ready("10.42.1.9")]),
        ),
        of("all endpoints vanish", vec![no_slice("kubia-1")]),
        of(
            "an address moves to another Service",
            vec![no_service("kubia")],
        ),
        of(
            "ranges change",
            services(Service {
                source_ranges: networks(&["198.51.100.0/24", "203.0.113.0/29"]),
                ..kubia()
            }),
        ),
        of(
            "ranges vanish",
            services(Service {
                source_ranges: vec![],
                ..kubia()
            }),
        ),
        of(
            "the policies change",
            services(Service {
                external_policy: Policy::Cluster,
                internal_policy: Policy::Local,
                ..kubia()
            }),
        ),
        of(
            "the affinity vanishes",
            services(Service {
                affinity_seconds: None,
                ..kubia()
            }),
        ),
        of(
            "ports change",
            services(Service {
                ports: vec![on_node(tcp("", 81), 30124)],
                ..kubia()
            }),
        ),
        of(
            "the node gets other addresses",
            vec![Change::Node(Node {
                addresses: addresses(&["192.0.2.11"]),
                node_port_addresses: addresses(&["192.0.2.11"]),
                ..node()
            })],
        ),
    ]
}

/// Who may ask: a pod, the node, and clients inside and outside of the source ranges.
const SOURCES: &[&str] = &[
    "10.42.0.9",
    "192.0.2.10",
    "203.0.113.7",
    "203.0.113.77",
    "198.51.100.7",
    "fd00:42::9",
    "2001:db8::7",
];

/// Everything that can be asked of the frontends that are there before or after.
fn questions(before: &Tables, after: &Tables) -> BTreeSet<Question> {
    let mut dialled = BTreeSet::new();
    for tables in [before, after] {
        dialled.extend(dialled_in::<Ip4>(tables));
        dialled.extend(dialled_in::<Ip6>(tables));
    }
    let mut sources: Vec<IpAddr> = addresses(SOURCES);
    // A client that stops being this node changes sides by itself, whatever becomes of frontends.
    sources.retain(|source| {
        Ip4::from_ip(*source).is_none_or(|source| {
            before.v4.nodes.is_empty()
                || before.v4.nodes.contains(&source) == after.v4.nodes.contains(&source)
        })
    });
    let mut questions = BTreeSet::new();
    for (destination, port, protocol) in dialled {
        for source in &sources {
            if source.is_ipv4() == destination.is_ipv4() {
                questions.insert(Question {
                    source: *source,
                    destination,
                    // The mark of an address: any port that is no frontend.
                    port: if port == 0 { 9 } else { port },
                    protocol: protocol.unwrap_or_default(),
                });
            }
        }
    }
    questions
}

fn dialled_in<A: PerFamily>(
    tables: &Tables,
) -> impl Iterator<Item = (IpAddr, u16, Option<Protocol>)> {
    let keys = A::of(tables).frontends.keys();
    keys.map(|key| {
        let protocol = Protocol::from_number(key.protocol);
        (key.address.to_ip(), key.port, protocol)
    })
}

/// The answers of these tables to a client that knows nobody, and to one that has an affinity to
/// each of the backends that there were `before`.
fn answers(tables: &Tables, before: &Tables, question: &Question) -> Vec<Outcome> {
    if question.source.is_ipv4() {
        family_answers::<Ip4>(tables, before, question)
    } else {
        family_answers::<Ip6>(tables, before, question)
    }
}

fn family_answers<A: PerFamily>(
    tables: &Tables,
    before: &Tables,
    question: &Question,
) -> Vec<Outcome> {
    let mut answers = vec![ask_view(&View::<A>::new(tables), question)];
    for (id, backend) in &A::of(before).backends {
        let key = AffinityKey {
            client: A::from_ip(question.source).unwrap(),
            service_port: backend.service_port,
        };
        let affinity = Affinity {
            backend: *id,
            generation: backend.generation,
            last_used: 0,
        };
        let affinities = BTreeMap::from([(key, affinity)]);
        let view = View::with_affinities(tables, affinities, 0);
        answers.push(ask_view(&view, question));
    }
    answers
}

/// What a packet may meet on the way from one state of the tables to another.
struct Passage<'t> {
    before: &'t Tables,
    /// Each question with its answers before and after.
    answers: Vec<(Question, Vec<Outcome>, Vec<Outcome>)>,
}

impl<'t> Passage<'t> {
    fn new(before: &'t Tables, after: &Tables) -> Self {
        let questions = questions(before, after).into_iter();
        let answers = questions.map(|question| {
            let were = answers(before, before, &question);
            let will = answers(after, before, &question);
            (question, were, will)
        });
        Self {
            before,
            answers: answers.collect(),
        }
    }

    fn assert_before_or_after(&self, now: &Tables, context: &dyn Fn() -> String) {
        for (question, were, will) in &self.answers {
            let are = answers(now, self.before, question);
            for ((is, was), will) in are.iter().zip(were).zip(will) {
                assert!(
                    is == was || is == will,
                    "{}: {question:?}\n  is     {is:?}\n  before {was:?}\n  after  {will:?}",
                    context()
                );
            }
        }
    }
}

#[test]
fn at_every_write_each_frontend_decides_as_before_or_as_after() {
    for step in steps() {
        let mut planner = plan(step.before);
        let before = planner.tables().clone();
        let delta = planner.apply(step.change, 1);
        let mut now = before.clone();
        let passage = Passage::new(&before, planner.tables());
        for (k, op) in delta.ops().enumerate() {
            now.apply(op);
            passage.assert_before_or_after(&now, &|| {
                format!("{}, after write {k}: {op:?}", step.what)
            });
        }
        assert_eq!(now, *planner.tables(), "{}", step.what);
        let due = planner.due(&BTreeSet::new(), LATER);
        let after = now.clone();
        let passage = Passage::new(&after, &after);
        for op in due.ops() {
            now.apply(op);
            passage.assert_before_or_after(&now, &|| format!("{}, later: {op:?}", step.what));
        }
    }
}

/// Whatever frontends named before the change stays readable: a program may have begun with it.
#[test]
fn nothing_is_overwritten_that_a_program_may_be_reading() {
    for step in steps() {
        let mut planner = plan(step.before);
        let before = planner.tables().clone();
        let delta = planner.apply(step.change, 1);
        for op in delta.ops() {
            assert!(is_harmless(op, &before), "{}: {op:?}", step.what);
        }
    }
}

/// Whether a reader of the old tables sees either the old value or one that means the same to it.
fn is_harmless(op: &Op, before: &Tables) -> bool {
    match op {
        Op::Update(Row::V4(row)) => is_harmless_row(row, before),
        Op::Update(Row::V6(row)) => is_harmless_row(row, before),
        Op::Update(Row::Slot(index, _)) => !before.contains(&RowKey::Slot(*index)),
        Op::Update(Row::Config(_) | Row::Service(..)) => true,
        Op::Delete(RowKey::V4(key)) => is_root(key),
        Op::Delete(RowKey::V6(key)) => is_root(key),
        Op::Delete(RowKey::Service(_) | RowKey::Slot(_)) => false,
    }
}

fn is_harmless_row<A: PerFamily>(row: &FamilyRow<A>, before: &Tables) -> bool {
    match row {
        FamilyRow::Info(..) => !before.contains(&A::key(row.key())),
        FamilyRow::Backend(id, backend) => A::of(before).backends.get(id).is_none_or(|old| {
            let flags = old.flags;
            lb_common::layout::Backend { flags, ..*backend } == *old
        }),
        FamilyRow::Frontend(..) | FamilyRow::Range(_) | FamilyRow::Node(_) => true,
    }
}

/// Whether a program looks this up by itself, so that it is either there or not.
const fn is_root<A: PerFamily>(key: &FamilyRowKey<A>) -> bool {
    matches!(
        key,
        FamilyRowKey::Frontend(_) | FamilyRowKey::Range(_) | FamilyRowKey::Node(_)
    )
}

/// A process dies after each write in turn; the next one adopts what is there and ends where an
/// undisturbed one would have.
#[test]
fn after_a_death_at_any_write_the_next_start_ends_in_the_same_tables() {
    for step in steps() {
        let everything = [step.before.clone(), step.change.clone()].concat();
        let fresh = plan(everything.clone());
        let writes = plan(step.before.clone())
            .apply(step.change.clone(), 1)
            .len();
        for k in 0..=writes {
            let (before, left) = die_after(k, &step);
            let mut next = Reconciler::adopt(Memory::holding(left.clone()), base(), 2).unwrap();
            let (restarted, delta) = restart(left.clone(), everything.clone());
            let mut now = left;
            let passage = Passage::new(&before, restarted.tables());
            for op in delta.ops() {
                now.apply(op);
                passage.assert_before_or_after(&now, &|| {
                    format!("{}, died after {k}, then {op:?}", step.what)
                });
            }
            next.complete(CompleteList(everything.clone()), 2);
            next.tick(LATER);
            assert_eq!(next.problems(), fresh.problems());
            let held = next.dataplane().read().unwrap();
            assert_eq!(text(&held), text(fresh.tables()), "{}, {k}", step.what);
            assert_eq!(held, *next.planner().tables());
        }
    }
}

/// The tables before the step, and what a process left that died after so many writes.
fn die_after(writes: usize, step: &Step) -> (Tables, Tables) {
    let healthy = Faulty::after(usize::MAX, Memory::default());
    let mut reconciler = Reconciler::adopt(healthy, base(), 0).unwrap();
    reconciler.complete(CompleteList(step.before.clone()), 0);
    let before = reconciler.dataplane().read().unwrap();
    reconciler.dataplane_mut().stop_after(writes);
    reconciler.apply(step.change.clone(), 1);
    (before, reconciler.dataplane().read().unwrap())
}

fn restart(found: Tables, everything: Vec<Change>) -> (Planner, TableDelta) {
    let mut planner = Planner::adopt(base(), Capacities::default(), found, 2);
    let delta = planner.complete(CompleteList(everything), 2);
    (planner, delta)
}
