//! What if the maps refuse a write?

use lb_common::Ip4;
use lb_common::limits::REUSE_AFTER_MILLIS;
use lb_userspace::dataplane::{Dataplane, DataplaneError, Faulty, Memory};
use lb_userspace::model::{Change, Endpoint};
use lb_userspace::plan::CompleteList;
use lb_userspace::reconcile::Reconciler;
use lb_userspace::tables::{FamilyRow, Full, Op, Row, Tables};

use crate::support::ask::{ask, tcp as dial};
use crate::support::build::{node, ready, service, set_service, set_slice, slice, tcp};
use crate::support::text::text;
use crate::support::{LATER, base, plan};

const VIP: &str = "10.43.165.39:80";

fn kubia(endpoints: &[Endpoint]) -> Vec<Change> {
    vec![
        Change::Node(node()),
        set_service("kubia", service(&["10.43.165.39"], &[tcp("", 80)])),
        set_slice("kubia-1", slice("kubia", ("", 8080), endpoints)),
    ]
}

fn started(changes: Vec<Change>) -> Reconciler<Faulty<Memory>> {
    let healthy = Faulty::after(usize::MAX, Memory::default());
    let mut reconciler = Reconciler::adopt(healthy, base(), 0).unwrap();
    reconciler.complete(CompleteList(changes), 0);
    reconciler
}

#[test]
fn a_refused_write_is_a_problem_and_is_tried_again() {
    let mut reconciler = started(kubia(&[ready("10.42.1.9")]));
    let old = reconciler.dataplane().read().unwrap();
    let after = kubia(&[ready("10.42.1.10")]);
    reconciler.dataplane_mut().stop_after(2);
    reconciler.apply(after.clone(), 1);

    let held = reconciler.dataplane().read().unwrap();
    let question = dial("10.42.0.9", VIP);
    assert_eq!(ask(&held, &question), ask(&old, &question));
    let problems: Vec<String> = reconciler
        .problems()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        problems,
        [
            "Service default/kubia: map frontend_info4: update: the test says so; the maps keep what they had of it, and it is tried again"
        ]
    );

    reconciler.dataplane_mut().heal();
    let retry = reconciler.next_tick().unwrap();
    reconciler.tick(retry);
    assert_eq!(reconciler.problems(), []);
    reconciler.tick(LATER);
    let held = reconciler.dataplane().read().unwrap();
    assert_eq!(text(&held), text(plan(after).tables()));
}

#[test]
fn what_is_still_seen_is_not_deleted_while_its_successor_cannot_be_written() {
    let mut reconciler = started(kubia(&[ready("10.42.1.9")]));
    let question = dial("10.42.0.9", VIP);
    let old = ask(&reconciler.dataplane().read().unwrap(), &question);
    reconciler.dataplane_mut().stop_after(0);
    reconciler.apply(kubia(&[ready("10.42.1.10")]), 1);
    for second in 1..100 {
        reconciler.tick(second * REUSE_AFTER_MILLIS);
        let held = reconciler.dataplane().read().unwrap();
        assert_eq!(ask(&held, &question), old, "after {second} s");
    }
    reconciler.dataplane_mut().heal();
    reconciler.tick(LATER);
    let held = reconciler.dataplane().read().unwrap();
    assert_ne!(ask(&held, &question), old);
    reconciler.tick(2 * LATER);
    let held = reconciler.dataplane().read().unwrap();
    assert_eq!(held, *reconciler.planner().tables());
    assert_eq!(held.v4.backends.len(), 1);
}

#[test]
fn the_tries_get_rarer_but_do_not_end() {
    let mut reconciler = started(vec![]);
    reconciler.dataplane_mut().stop_after(0);
    reconciler.apply(kubia(&[]), 0);
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let next = reconciler.next_tick().unwrap();
        pauses.push((next - now) / 1_000);
        now = next;
        reconciler.tick(now);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn an_audit_mends_what_somebody_else_wrote() {
    let changes = kubia(&[ready("10.42.1.9")]);
    let mut reconciler = started(changes.clone());
    let tables = reconciler.planner().tables().clone();
    let dataplane = reconciler.dataplane_mut();
    let (key, reference) = tables.v4.frontends.first_key_value().unwrap();
    let foreign = lb_common::layout::FrontendRef {
        info: 77,
        ..*reference
    };
    let row = lb_userspace::tables::FamilyRow::Frontend(*key, foreign);
    dataplane.apply(&Op::Update(Row::V4(row))).unwrap();
    dataplane.apply(&Op::Update(Row::Slot(1_000, 7))).unwrap();

    let drift = reconciler.audit(1);
    assert_eq!(drift, [("frontends4", 1), ("slots", 1)].into());
    assert!(reconciler.next_tick().is_some(), "leftovers wait");
    reconciler.tick(LATER);
    assert_eq!(reconciler.dataplane().read().unwrap(), tables);
    assert_eq!(reconciler.next_tick(), None);
    assert_eq!(reconciler.audit(LATER + 1), [].into());
}

/// Memory that refuses whatever belongs to one endpoint.
struct Refusing {
    memory: Memory,
    endpoint: Ip4,
}

impl Dataplane for Refusing {
    fn apply(&mut self, op: &Op) -> Result<(), DataplaneError> {
        match op {
            Op::Update(Row::V4(FamilyRow::Backend(_, backend)))
                if backend.address == self.endpoint =>
            {
                Err(Full::new("backends4", 1).into())
            }
            _ => self.memory.apply(op),
        }
    }

    fn read(&self) -> Result<Tables, DataplaneError> {
        self.memory.read()
    }
}

/// Maps are written as wholes, for all Services together.
#[test]
fn a_write_that_fails_amid_those_of_others_stops_nobody_else() {
    let services: Vec<u8> = (1..=9).collect();
    let vip = |i: u8| format!("10.43.0.{i}");
    let changes = services.iter().flat_map(|i| {
        let (name, pod) = (format!("service-{i}"), format!("10.42.1.{i}"));
        [
            set_service(&name, service(&[&vip(*i)], &[tcp("", 80)])),
            set_slice(&name, slice(&name, ("", 8080), &[ready(&pod)])),
        ]
    });
    let changes: Vec<_> = [Change::Node(node())].into_iter().chain(changes).collect();
    let refusing = Refusing {
        memory: Memory::default(),
        endpoint: Ip4::new(10, 42, 1, 5),
    };
    let mut reconciler = Reconciler::adopt(refusing, base(), 0).unwrap();
    reconciler.complete(CompleteList(changes.clone()), 0);

    let held = reconciler.dataplane().read().unwrap();
    let everything = plan(changes);
    for i in services {
        let question = dial("10.42.0.9", &format!("{}:80", vip(i)));
        let served = ask(&held, &question) == ask(everything.tables(), &question);
        assert_eq!(served, i != 5, "Service {i}");
    }
    let problems = reconciler.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].object.name.name, "service-5");
    let writes = reconciler.writes();
    assert_eq!(writes.failed, 1);
    // Its port and the mark of its address; what nobody finds is there.
    let missing = everything.tables().v4.frontends.len() - held.v4.frontends.len();
    assert_eq!(missing, 2);
    assert_eq!(held.services, everything.tables().services);

    reconciler.dataplane_mut().endpoint = Ip4::default();
    reconciler.tick(reconciler.next_tick().unwrap());
    assert_eq!(reconciler.problems(), []);
    let held = reconciler.dataplane().read().unwrap();
    assert_eq!(text(&held), text(everything.tables()));
}
