//! From manifests to tables, case by case: `tests/plan/<case>/` at the top of the checkout.
//!
//! `1.yaml`, `2.yaml`, … hold all objects at successive moments, `expected.txt` what the tables say
//! then, without numbers. Every case is told once as a whole, once moment after moment, and once
//! with each moment's changes one by one and backwards: the tables must end the same.
//! `LB_UPDATE_GOLDEN=1` writes `expected.txt` anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use lb_userspace::model::{Change, ObjectName};
use lb_userspace::plan::{CompleteList, Planner};
use lb_userspace::tables::{Capacities, Tables};

use crate::support::manifests::{directory, read};
use crate::support::text::text;
use crate::support::{LATER, base, plan};

/// What one file holds, and what it gives reason to say.
struct Moment {
    changes: Vec<Change>,
    remarks: BTreeSet<String>,
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(directory("plan")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn moments(case: &Path) -> Vec<Moment> {
    let files = (1..).map(|i| case.join(format!("{i}.yaml")));
    let files = files.take_while(|file| file.exists());
    let moments: Vec<Moment> = files.map(|file| moment(&file)).collect();
    assert!(!moments.is_empty(), "{}: no 1.yaml", case.display());
    moments
}

fn moment(file: &Path) -> Moment {
    let (changes, update) = read(file);
    let mut remarks = BTreeSet::new();
    for mut problem in update.problems {
        problem.place = None;
        remarks.insert(format!("problem: {problem}"));
    }
    for unmapped in update.unmapped {
        let reason = format!("{:?}", unmapped.reason);
        remarks.insert(format!("no entries: {}: {reason}", unmapped.service));
    }
    Moment { changes, remarks }
}

/// What turns one moment into the next.
fn between(before: &[Change], after: &[Change]) -> Vec<Change> {
    let gone = before.iter().filter_map(|change| {
        let gone = match change {
            Change::Service(name, _) => Change::Service(name.clone(), None),
            Change::Slice(name, _) => Change::Slice(name.clone(), None),
            Change::Node(_) => return None,
        };
        (!names(after).contains_key(&name_of(&gone)?)).then_some(gone)
    });
    gone.chain(after.iter().cloned()).collect()
}

fn names(changes: &[Change]) -> BTreeMap<(bool, ObjectName), &Change> {
    let named = changes.iter();
    named
        .filter_map(|change| Some((name_of(change)?, change)))
        .collect()
}

/// Whether it is a Service, and its name.
fn name_of(change: &Change) -> Option<(bool, ObjectName)> {
    match change {
        Change::Service(name, _) => Some((true, name.clone())),
        Change::Slice(name, _) => Some((false, name.clone())),
        Change::Node(_) => None,
    }
}

fn describe(moment: &Moment) -> String {
    let planner = plan(moment.changes.clone());
    let mut described = text(planner.tables());
    let problems = planner.problems();
    let problems = problems.iter().map(|problem| format!("problem: {problem}"));
    for remark in moment.remarks.iter().cloned().chain(problems) {
        writeln!(described, "{remark}").unwrap();
    }
    described
}

fn settled(planner: &mut Planner) -> String {
    planner.due(&BTreeSet::new(), LATER);
    text(planner.tables())
}

/// The tables after all moments, told by `tell`.
fn told(moments: &[Moment], tell: impl Fn(&mut Planner, Vec<Change>)) -> String {
    let mut planner = Planner::adopt(base(), Capacities::default(), Tables::default(), 0);
    planner.complete(CompleteList::default(), 0);
    let mut before: &[Change] = &[];
    for moment in moments {
        tell(&mut planner, between(before, &moment.changes));
        before = &moment.changes;
    }
    settled(&mut planner)
}

#[test]
fn every_case_becomes_the_tables_that_its_folder_shows() {
    let update = std::env::var_os("LB_UPDATE_GOLDEN").is_some_and(|value| value == "1");
    for case in cases() {
        let mut shown = String::new();
        for (i, moment) in moments(&case).iter().enumerate() {
            write!(shown, "== {}.yaml\n{}", i + 1, describe(moment)).unwrap();
        }
        let file = case.join("expected.txt");
        if update {
            fs::write(&file, &shown).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            shown,
            expected,
            "{}: if it is right as it is now, LB_UPDATE_GOLDEN=1 writes it",
            file.display()
        );
    }
}

#[test]
fn every_case_ends_in_the_same_tables_in_whatever_order_it_is_told() {
    for case in cases() {
        let moments = moments(&case);
        let last = moments.last().unwrap();
        let at_once = text(plan(last.changes.clone()).tables());
        let in_turn = told(&moments, |planner, changes| {
            planner.apply(changes, 1);
        });
        assert_eq!(in_turn, at_once, "{}, in turn", case.display());
        let backwards = told(&moments, |planner, changes| {
            for change in changes.into_iter().rev() {
                planner.apply(vec![change], 1);
            }
        });
        assert_eq!(backwards, at_once, "{}, backwards", case.display());
    }
}
