//! Which endpoints serve the clients on this node? One row, one rule.

use std::collections::BTreeSet;

use lb_common::Ip4;
use lb_userspace::model::{Endpoint, Policy, Protocol, Slice};
use lb_userspace::plan::endpoints::{Hints, Judgement, Standing, judge};

use crate::support::build::{
    draining, for_nodes, for_zones, here, node, ready, slice, stopped, unready,
};

/// What is asked of a table's row: who serves under `Cluster` and who under `Local`.
struct Row {
    rule: &'static str,
    endpoints: Vec<Endpoint>,
    cluster: &'static [&'static str],
    local: &'static [&'static str],
}

const A: &str = "10.42.0.1";
const B: &str = "10.42.1.2";
const C: &str = "10.42.2.3";

const fn row(
    rule: &'static str,
    endpoints: Vec<Endpoint>,
    cluster: &'static [&'static str],
    local: &'static [&'static str],
) -> Row {
    Row {
        rule,
        endpoints,
        cluster,
        local,
    }
}

fn conditions() -> Vec<Row> {
    vec![
        row("nobody serves nobody", vec![], &[], &[]),
        row(
            "all ready ones serve",
            vec![ready(A), ready(B)],
            &[A, B],
            &[],
        ),
        row(
            "under Local only those here",
            vec![here(ready(A)), ready(B)],
            &[A, B],
            &[A],
        ),
        row("unready ones do not", vec![ready(A), unready(B)], &[A], &[]),
        row(
            "draining ones do not while others are ready",
            vec![ready(A), draining(B)],
            &[A],
            &[],
        ),
        row(
            "draining ones are the last resort, stopped ones are not",
            vec![draining(A), stopped(B), unready(C)],
            &[A],
            &[],
        ),
        row(
            "the last resort is judged for Local by itself",
            vec![here(draining(A)), here(stopped(B)), ready(C)],
            &[C],
            &[A],
        ),
        row(
            "draining ones elsewhere are no resort for Local",
            vec![draining(A)],
            &[A],
            &[],
        ),
    ]
}

fn hints() -> Vec<Row> {
    let in_zone = |address, zone| for_zones(ready(address), &[zone]);
    vec![
        row(
            "hints for the zone",
            vec![in_zone(A, "zone-a"), in_zone(B, "zone-b")],
            &[A],
            &[],
        ),
        row(
            "hints count only if every ready endpoint has them",
            vec![in_zone(A, "zone-a"), in_zone(B, "zone-b"), ready(C)],
            &[A, B, C],
            &[],
        ),
        row(
            "an endpoint that is not ready needs no hints",
            vec![in_zone(A, "zone-a"), in_zone(B, "zone-b"), unready(C)],
            &[A],
            &[],
        ),
        row(
            "hints count only if one is for us",
            vec![in_zone(A, "zone-b"), in_zone(B, "zone-c")],
            &[A, B],
            &[],
        ),
        row(
            "a hint for the node beats one for the zone",
            vec![
                for_nodes(in_zone(A, "zone-a"), &["this-node"]),
                for_nodes(in_zone(B, "zone-a"), &["other-node"]),
            ],
            &[A],
            &[],
        ),
        row(
            "without a hint for this node those for the zone count",
            vec![
                for_nodes(in_zone(A, "zone-a"), &["node-2"]),
                for_nodes(in_zone(B, "zone-b"), &["node-3"]),
            ],
            &[A],
            &[],
        ),
        row(
            "hints do not apply under Local",
            vec![here(in_zone(A, "zone-b")), in_zone(B, "zone-a")],
            &[B],
            &[A],
        ),
        row(
            "hints do not apply to the last resort",
            vec![for_zones(draining(A), &["zone-b"])],
            &[A],
            &[],
        ),
        row(
            "the other family is another matter",
            vec![ready(A), here(ready("fd00:42::1"))],
            &[A],
            &[],
        ),
    ]
}

fn judge_slices(slices: &[Slice]) -> Judgement<'_, Ip4> {
    judge(slices.iter(), "", Protocol::Tcp, &node())
}

fn serving(judgement: &Judgement<'_, Ip4>, policy: Policy) -> BTreeSet<String> {
    let serving = judgement.endpoints.iter();
    serving
        .filter(|judged| judged.under(policy).takes())
        .map(|judged| judged.address.to_string())
        .collect()
}

#[test]
fn every_rule_of_the_table_holds() {
    for row in conditions().into_iter().chain(hints()) {
        let slices = [slice("kubia", ("", 8080), &row.endpoints)];
        let judgement = judge_slices(&slices);
        for (policy, expected) in [(Policy::Cluster, row.cluster), (Policy::Local, row.local)] {
            let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(
                serving(&judgement, policy),
                expected,
                "{}, under {policy:?}",
                row.rule
            );
        }
    }
}

#[test]
fn an_endpoint_in_two_slices_counts_once_and_as_the_better_one() {
    let slices = [
        slice("kubia", ("", 8080), &[draining(A), unready(B)]),
        slice("kubia", ("", 8080), &[here(ready(A)), unready(B)]),
    ];
    let judgement = judge_slices(&slices);
    let standings: Vec<Standing> = judgement.endpoints.iter().map(|e| e.in_cluster).collect();
    assert_eq!(standings, [Standing::Ready, Standing::NotReady]);
    assert!(judgement.endpoints[0].local);
}

#[test]
fn the_same_address_with_two_ports_is_two_endpoints() {
    let slices = [
        slice("kubia", ("", 8080), &[ready(A)]),
        slice("kubia", ("", 9090), &[ready(A)]),
    ];
    assert_eq!(judge_slices(&slices).endpoints.len(), 2);
}

#[test]
fn ports_of_another_name_or_protocol_or_without_number_are_none() {
    let mut without_number = slice("kubia", ("", 8080), &[ready(A)]);
    without_number.ports[0].port = None;
    let mut other_protocol = slice("kubia", ("", 8080), &[ready(A)]);
    other_protocol.ports[0].protocol = Protocol::Udp;
    let slices = [
        without_number,
        other_protocol,
        slice("kubia", ("https", 8443), &[ready(A)]),
    ];
    assert_eq!(judge_slices(&slices).endpoints, []);
}

#[test]
fn the_reasons_are_told() {
    let endpoints = [
        for_zones(ready("10.42.0.1"), &["zone-a"]),
        for_zones(ready("10.42.0.2"), &["zone-b"]),
        draining("10.42.0.3"),
        unready("10.42.0.4"),
    ];
    let slices = [slice("kubia", ("", 8080), &endpoints)];
    let judgement = judge_slices(&slices);
    assert_eq!(judgement.hints, Hints::SameZone);
    let standings: Vec<Standing> = judgement.endpoints.iter().map(|e| e.in_cluster).collect();
    assert_eq!(
        standings,
        [
            Standing::Ready,
            Standing::HintedElsewhere,
            Standing::Draining,
            Standing::NotReady
        ]
    );
    let in_local: BTreeSet<bool> = judgement
        .endpoints
        .iter()
        .map(|judged| judged.in_local == Standing::OtherNode)
        .collect();
    assert_eq!(in_local, [true].into());
}
