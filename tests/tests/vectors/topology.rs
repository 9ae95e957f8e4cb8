//! Who may serve: conditions, policies and hints.

use std::collections::BTreeSet;

use crate::ask::{Node, set};
use crate::cases::{CLUSTER_IP, NODE_PORT, Row, rows};
use crate::none;

#[test]
fn the_endpoints_that_kubernetes_would_choose_are_chosen() {
    let mut failures = Vec::new();
    for row in rows() {
        let flags = [
            format!("--node-name={}", row.node()),
            "--cluster-cidr=10.0.0.0/8".to_owned(),
        ];
        let node = Node::of(&row.manifest(), &flags);
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

fn expected(row: &Row, local: bool) -> BTreeSet<String> {
    let set = if local { &row.local } else { &row.cluster };
    set.clone().unwrap_or_default()
}
