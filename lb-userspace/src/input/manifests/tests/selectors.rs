//! Which Pods serve a Service, and how do they come and go?

use super::{Manifests, read};
use crate::input::Allocations;
use crate::model::ObjectName;

/// `kubia` of the articles: three pods on two nodes.
const KUBIA: &str = "
apiVersion: v1
kind: Service
metadata: {name: kubia}
spec:
  clusterIP: 10.43.165.39
  selector: {app: kubia}
  ports: [{port: 80, targetPort: 8080}]
---
";

fn pod(name: &str, labels: &str, address: &str, more: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{{labels}}}}}
spec: {{nodeName: node-1}}
status: {{podIPs: [{{ip: {address}}}], {more}}}
"
    )
}

fn ready(name: &str, labels: &str, address: &str) -> String {
    pod(name, labels, address, READY)
}

const READY: &str = "phase: Running, conditions: [{type: Ready, status: 'True'}]";

#[test]
fn endpoints_follow_pods_as_they_appear_become_ready_terminate_and_vanish() {
    let mut manifests = read(KUBIA);
    assert_eq!(manifests.endpoints("kubia"), [""; 0]);
    manifests.write("1.yaml", &ready("kubia-vs2kl", "app: kubia", "10.42.0.10"));
    manifests.write(
        "2.yaml",
        &pod("kubia-x7xqz", "app: kubia", "10.42.1.9", "phase: Running"),
    );
    assert_eq!(
        manifests.endpoints("kubia"),
        [
            "10.42.0.10:8080/TCP @node-1 ready serving Pod/kubia-vs2kl",
            "10.42.1.9:8080/TCP @node-1 Pod/kubia-x7xqz",
        ]
    );
    manifests.write("2.yaml", &ready("kubia-x7xqz", "app: kubia", "10.42.1.9"));
    let terminating = ready("kubia-vs2kl", "app: kubia", "10.42.0.10").replace(
        "{name: kubia-vs2kl",
        "{name: kubia-vs2kl, deletionTimestamp: '2025-11-21T12:00:00Z'",
    );
    manifests.write("1.yaml", &terminating);
    assert_eq!(
        manifests.endpoints("kubia"),
        [
            "10.42.0.10:8080/TCP @node-1 serving terminating Pod/kubia-vs2kl",
            "10.42.1.9:8080/TCP @node-1 ready serving Pod/kubia-x7xqz",
        ]
    );
    let changes = manifests.remove("1.yaml");
    assert_eq!(changes.len(), 1);
    assert_eq!(
        manifests.endpoints("kubia"),
        ["10.42.1.9:8080/TCP @node-1 ready serving Pod/kubia-x7xqz"]
    );
    manifests.remove("2.yaml");
    assert_eq!(manifests.endpoints("kubia"), [""; 0]);
    assert_eq!(manifests.problems(), [""; 0]);
}

#[test]
fn a_changed_selector_or_label_moves_traffic() {
    let mut manifests = read(KUBIA);
    manifests.write("1.yaml", &ready("a", "app: kubia", "10.42.0.10"));
    manifests.write("2.yaml", &ready("b", "app: kubia-v2", "10.42.0.11"));
    assert!(manifests.endpoints("kubia")[0].ends_with("Pod/a"));
    manifests.write("test.yaml", &KUBIA.replace("app: kubia}", "app: kubia-v2}"));
    assert!(manifests.endpoints("kubia")[0].ends_with("Pod/b"));
    manifests.write("2.yaml", &ready("b", "app: none", "10.42.0.11"));
    assert_eq!(manifests.endpoints("kubia"), [""; 0]);
}

#[test]
fn pods_count_only_while_they_can_serve_and_in_their_namespace() {
    let mut manifests = read(KUBIA);
    let other =
        ready("d", "app: kubia", "10.42.0.13").replace("{name: d", "{name: d, namespace: x");
    manifests.write(
        "pods.yaml",
        &[
            pod("a", "app: kubia", "10.42.0.10", "phase: Succeeded"),
            pod("b", "app: kubia", "10.42.0.11", "phase: Failed"),
            ready("c", "app: kubia, tier: web", "10.42.0.12"),
            other,
        ]
        .concat(),
    );
    manifests.write(
        "pending.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: e, labels: {app: kubia}}\n",
    );
    assert_eq!(
        manifests.endpoints("kubia"),
        ["10.42.0.12:8080/TCP @node-1 ready serving Pod/c"]
    );
}

#[test]
fn readiness_can_be_published_regardless() {
    let mut manifests =
        read(&KUBIA.replace("spec:\n", "spec:\n  publishNotReadyAddresses: true\n"));
    manifests.write(
        "1.yaml",
        &pod("a", "app: kubia", "10.42.0.10", "phase: Running"),
    );
    assert_eq!(
        manifests.endpoints("kubia"),
        ["10.42.0.10:8080/TCP @node-1 ready Pod/a"]
    );
}

#[test]
fn named_ports_follow_the_name_also_where_pods_give_it_different_numbers() {
    let mut manifests = read(
        "apiVersion: v1
kind: Service
metadata: {name: kubia}
spec:
  clusterIP: 10.43.7.83
  selector: {app: kubia}
  ports: [{name: http, port: 80, targetPort: http}, {name: https, port: 443, targetPort: https}]
",
    );
    for (name, address, spec) in [
        (
            "a",
            "10.42.0.10",
            "containers: [{name: c, ports: [{name: http, containerPort: 8080}, \
             {name: https, containerPort: 8443}]}]",
        ),
        (
            "b",
            "10.42.0.11",
            "containers: [{name: c, ports: [{name: http, containerPort: 9090}]}, \
             {name: d, ports: [{name: https, containerPort: 9443}, \
             {name: http, containerPort: 1}]}]",
        ),
        // The name counts for its protocol only, and of init containers where they keep running.
        (
            "c",
            "10.42.0.12",
            "containers: [{name: c, ports: [{name: http, containerPort: 53, protocol: UDP}]}], \
             initContainers: [{name: d, restartPolicy: Always, ports: [{name: https, \
             containerPort: 8444}]}, {name: e, ports: [{name: http, containerPort: 2}]}]",
        ),
        ("d", "10.42.0.13", "containers: [{name: c}]"),
    ] {
        let text = ready(name, "app: kubia", address).replace("nodeName: node-1", spec);
        manifests.write(&format!("{name}.yaml"), &text);
    }
    assert_eq!(
        manifests.endpoints("kubia"),
        [
            "10.42.0.10:8080/TCP http ready serving Pod/a",
            "10.42.0.10:8443/TCP https ready serving Pod/a",
            "10.42.0.11:9090/TCP http ready serving Pod/b",
            "10.42.0.11:9443/TCP https ready serving Pod/b",
            "10.42.0.12:8444/TCP https ready serving Pod/c",
        ]
    );
    assert_eq!(manifests.problems(), [""; 0]);
}

#[test]
fn pods_serve_with_their_address_of_each_family_that_the_service_has() {
    let dual = ready("a", "app: kubia", "10.42.0.10").replace("}], ", "}, {ip: 'fd00:42::a'}], ");
    for (spec, expected) in [
        ("clusterIP: 10.43.165.39", vec!["10.42.0.10"]),
        ("clusterIP: 'fd00:43::1'", vec!["fd00:42::a"]),
        (
            "clusterIPs: [10.43.165.39, 'fd00:43::1'], ipFamilyPolicy: RequireDualStack",
            vec!["10.42.0.10", "fd00:42::a"],
        ),
    ] {
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: kubia}}\nspec: {{{spec}, selector: \
             {{app: kubia}}, ports: [{{port: 80}}]}}\n"
        );
        let manifests = read(&(service + &dual));
        let endpoints = manifests.endpoints("kubia");
        let addresses = endpoints
            .iter()
            .map(|text| text.rsplit_once(":80/").unwrap().0);
        assert_eq!(addresses.collect::<Vec<_>>(), expected, "{spec}");
    }
}

#[test]
fn traffic_stays_close_where_the_service_wants_that() {
    let nodes = "---
{apiVersion: v1, kind: Node, metadata: {name: node-1, labels: {topology.kubernetes.io/zone: a}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2, labels: {topology.kubernetes.io/zone: b}}}
";
    for (distribution, expected) in [
        ("", ["", ""]),
        ("trafficDistribution: PreferClose", [" zone=a", " zone=b"]),
        (
            "trafficDistribution: PreferSameZone",
            [" zone=a", " zone=b"],
        ),
        (
            "trafficDistribution: PreferSameNode",
            [" zone=a node=node-1", " zone=b node=node-2"],
        ),
    ] {
        let mut manifests = read(&KUBIA.replace("spec:\n", &format!("spec:\n  {distribution}\n")));
        let second = ready("b", "app: kubia", "10.42.1.9").replace("node-1", "node-2");
        manifests.write(
            "1.yaml",
            &(ready("a", "app: kubia", "10.42.0.10") + &second),
        );
        // The nodes come last: what they say about zones is caught up with.
        manifests.write("nodes.yaml", nodes);
        let [a, b] = expected;
        assert_eq!(
            manifests.endpoints("kubia"),
            [
                format!("10.42.0.10:8080/TCP @node-1 ready serving{a} Pod/a"),
                format!("10.42.1.9:8080/TCP @node-2 ready serving{b} Pod/b"),
            ],
            "{distribution}"
        );
    }
}

#[test]
fn slices_keep_their_names_as_pods_come_and_go() {
    let mut manifests = Manifests::new(&[], Allocations::default());
    manifests.write("service.yaml", KUBIA);
    manifests.write("1.yaml", &ready("a", "app: kubia", "10.42.0.10"));
    let changes = manifests.write("2.yaml", &ready("b", "app: kubia", "10.42.0.11"));
    // One slice is another; none came and none went.
    assert_eq!(changes.len(), 1);
    assert_eq!(manifests.endpoints("kubia").len(), 2);
}

#[test]
fn pods_of_a_headless_service_need_no_port_and_may_have_a_name_below_it() {
    let headless = KUBIA
        .replace("10.43.165.39", "None")
        .replace("  ports: [{port: 80, targetPort: 8080}]\n", "");
    let mut manifests = read(&headless);
    let pod = |file: &str, more: &str| {
        ready(file, "app: kubia", "10.42.0.10")
            .replace("spec: {", &format!("spec: {{hostname: {file}, {more}"))
    };
    for (file, more, expected) in [
        ("kubia-0", "subdomain: kubia, ", Some("kubia-0")),
        ("kubia-1", "subdomain: other, ", None),
        ("kubia-2", "", None),
    ] {
        manifests.write("pod.yaml", &pod(file, more));
        let name = ObjectName::new("default", "kubia");
        let slices = manifests.world.slices(&name);
        let hostnames: Vec<_> = slices
            .flat_map(|slice| &slice.endpoints)
            .map(|endpoint| endpoint.extras.hostname.as_deref())
            .collect();
        assert_eq!(hostnames, [expected], "{file}");
    }
    assert_eq!(manifests.problems(), [""; 0]);
}
