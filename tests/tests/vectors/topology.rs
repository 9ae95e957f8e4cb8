//! Who may serve: conditions, policies and hints.

use std::collections::BTreeSet;

use crate::ask::{Node, set};
use crate::cases::{CLUSTER_IP, NODE_PORT, Row, rows};
use crate::none;
use crate::packets::unlike;
use crate::programs::Programs;

#[test]
fn the_endpoints_that_kubernetes_would_choose_are_chosen() {
    let mut failures = Vec::new();
    for row in rows() {
        let node = row.asked();
        let mut check = |source, destination, local| {
            let answer = node.ask(source, destination, "tcp");
            let (found, expected) = (set(&answer, "backends"), expected(&row, local));
            let forwards = answer["verdict"] == "forward";
            if found != expected || forwards == expected.is_empty() {
                failures.push(format!(
                    "{}: {source} to {destination}: {} {found:?}, not {expected:?}{}",
                    row.name,
                    answer["verdict"],
                    node.problems()
                ));
            }
        };
        check("10.244.0.9", CLUSTER_IP, row.internal_policy_local);
        if row.node_port != 0 {
            check("203.0.113.7", NODE_PORT, row.external_policy_local);
        }
    }
    none(&failures);
}

#[test]
fn the_programs_choose_the_endpoints_that_kubernetes_would() {
    let mut programs = Programs::load().expect("programs");
    let mut failures = Vec::new();
    for row in rows() {
        let node = row.asked();
        let mut check = |source, destination| {
            let answer = node.ask(source, destination, "tcp");
            match programs.ask(&node, &answer) {
                Ok(observed) => {
                    assert!(!observed.is_empty(), "{}: {answer}", row.name);
                    let faults = observed.iter().filter_map(|(program, seen)| {
                        unlike(seen, &answer).map(|fault| (program, fault))
                    });
                    failures.extend(
                        faults.map(|(program, fault)| format!("{}: {program}: {fault}", row.name)),
                    );
                }
                Err(why) => failures.push(format!("{}: {why:#}", row.name)),
            }
        };
        check("10.244.0.9", CLUSTER_IP);
        if row.node_port != 0 {
            check("203.0.113.7", NODE_PORT);
        }
    }
    none(&failures);
}

impl Row {
    /// The node, asked as the cases' README says.
    fn asked(&self) -> Node {
        let flags = [
            format!("--node-name={}", self.node()),
            "--cluster-cidr=10.0.0.0/8".to_owned(),
        ];
        Node::of(&self.manifest(), &flags)
    }
}

fn expected(row: &Row, local: bool) -> BTreeSet<String> {
    let set = if local { &row.local } else { &row.cluster };
    set.clone().unwrap_or_default()
}
