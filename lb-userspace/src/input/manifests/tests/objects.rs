//! Which objects do files hold, and what becomes of them when a file is broken?

use std::fs;
use std::path::Path;

use super::{Manifests, read};
use crate::input::Allocations;

fn service(name: &str, port: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: 10.96.0.{}, ports: [{{port: {port}}}]}}\n",
        name.len()
    )
}

#[test]
fn documents_lists_and_json_hold_objects() {
    for text in [
        format!("{}{}", service("a", "80"), service("bb", "80")),
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [
  {\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"a\"},
   \"spec\": {\"clusterIP\": \"10.96.0.1\", \"ports\": [{\"port\": 80}]}},
  {\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"bb\"},
   \"spec\": {\"clusterIP\": \"10.96.0.2\", \"ports\": [{\"port\": 80}]}}]}"
            .into(),
        // The kind of a list's items is that of the list.
        "apiVersion: v1
kind: ServiceList
metadata: {resourceVersion: '1'}
items:
- {metadata: {name: a}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}
- {metadata: {name: bb}, spec: {clusterIP: 10.96.0.2, ports: [{port: 80}]}}
"
        .into(),
        // Lists of lists, anchors, merges.
        "apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: List
  items:
  - &a {apiVersion: v1, kind: Service, metadata: {name: a}, spec: &spec {ports: [{port: 80}],
      clusterIP: 10.96.0.1}}
- {<<: *a, metadata: {name: bb}, spec: {<<: *spec, clusterIP: 10.96.0.2}}
"
        .into(),
    ] {
        let manifests = read(&text);
        assert_eq!(manifests.problems(), [""; 0], "{text}");
        assert_eq!(manifests.services(), ["default/a", "default/bb"], "{text}");
    }
}

#[test]
fn other_kinds_are_left_out_and_only_what_looks_like_a_slip_is_named() {
    for (head, problem) in [
        ("apiVersion: apps/v1\nkind: Deployment", None),
        ("apiVersion: v1\nkind: ConfigMap", None),
        ("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role", None),
        (
            "apiVersion: v1\nkind: Servce",
            Some("test.yaml:2: File test.yaml: kind: "),
        ),
        (
            "apiVersion: example.com/v1\nkind: Service",
            Some("test.yaml:2: File test.yaml: kind: "),
        ),
        (
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice",
            Some("test.yaml:1: File test.yaml: apiVersion: "),
        ),
        (
            "kind: Service",
            Some("test.yaml:1: File test.yaml: not an object of the API; "),
        ),
        (
            "just a text",
            Some("test.yaml:1: File test.yaml: not an object of the API; "),
        ),
    ] {
        let text = if head.contains(':') {
            format!("{head}\nmetadata: {{name: a}}\n")
        } else {
            head.into()
        };
        let problems = read(&text).problems();
        assert_eq!(problems.len(), problem.iter().len(), "{problems:?}");
        for (found, expected) in problems.iter().zip(problem) {
            assert!(found.starts_with(expected), "{found}");
        }
    }
}

#[test]
fn one_bad_object_never_stops_the_others_and_stays_as_it_was() {
    let mut manifests = Manifests::new(&[], Allocations::default());
    manifests.write(
        "a.yaml",
        &format!("{}{}", service("a", "80"), service("bb", "80")),
    );
    let bad = format!("{}{}", service("a", "81"), service("bb", "http"));
    manifests.write("a.yaml", &bad);
    assert_eq!(manifests.service("a").ports[0].port, 81);
    assert_eq!(manifests.service("bb").ports[0].port, 80);
    let problems = manifests.problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with(
            "a.yaml:10: Service default/bb: spec.ports[0].port: invalid type: string \"http\""
        ),
        "{problems:?}"
    );
    // Mended, it is in force; gone, it is gone.
    manifests.write("a.yaml", &bad.replace("http", "82"));
    assert_eq!(manifests.service("bb").ports[0].port, 82);
    assert_eq!(manifests.problems(), [""; 0]);
    manifests.write("a.yaml", &service("a", "81"));
    assert_eq!(manifests.services(), ["default/a"]);
}

#[test]
fn a_broken_file_leaves_all_of_its_objects_as_they_were() {
    let whole = format!("{}{}", service("a", "80"), service("bb", "80"));
    for broken in [
        // Cut off anywhere.
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.9",
        "---\napiVersion: v1\nkind: Service\nmetadata: {na",
        "---\napiVersion: v1\nkind: Service\nmetadata:",
        "---\napiVersion: v1\nkind: Serv",
        "---\napiVersion: v1\nkind: List\nitems:",
        "---\napiV",
        "{\"apiVersion\": \"v1\", \"kind\": \"Li",
        // A tab, a lost bracket, the same field twice.
        "apiVersion: v1\nkind: Service\nmetadata:\n\tname: a\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nkind: Pod\n",
    ] {
        let mut manifests = Manifests::new(&[], Allocations::default());
        manifests.write("a.yaml", &whole);
        assert_eq!(manifests.write("a.yaml", broken), [], "{broken}");
        let problems = manifests.problems();
        assert!(problems[0].starts_with("a.yaml:"), "{broken}: {problems:?}");
        assert!(
            problems[0].contains("File a.yaml: "),
            "{broken}: {problems:?}"
        );
        assert!(manifests.shelf.is_complete());
        // Even where another object of it is well: what is missing may only be hidden.
        let changed = format!("{}{broken}", service("ccc", "80"));
        assert_eq!(manifests.write("a.yaml", &changed), [], "{broken}");
        assert_eq!(manifests.write("a.yaml", &whole), []);
        assert_eq!(manifests.problems(), [""; 0]);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_the_remedy() {
    for (text, problem) in [
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: 80\n    \
             targetPort: \"8080\"\n",
            "test.yaml:7: Service default/a: spec.ports[0].targetPort: \"8080\" is no name of a \
             port; write the number without quotes",
        ),
        (
            "a: b\nc: [\n",
            "test.yaml:2: File test.yaml: not readable as YAML or JSON: unclosed bracket '['; mend \
             it; until then the objects of this file stay as they were",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: 1\n",
            "test.yaml:4: File test.yaml: metadata.name: this Service has a name that is no text; \
             write it in quotes; until then the objects of this file stay as they were",
        ),
    ] {
        assert_eq!(read(text).problems(), [problem]);
    }
}

#[test]
fn a_file_that_is_broken_from_the_start_gives_what_can_be_read() {
    let mut manifests = Manifests::new(&[], Allocations::default());
    let text = format!(
        "{}---\nkind: [\n{}",
        service("a", "80"),
        service("bb", "80")
    );
    manifests.write("a.yaml", &text);
    assert_eq!(manifests.services(), ["default/a", "default/bb"]);
    assert!(!manifests.shelf.is_complete());
    manifests.write("a.yaml", &service("a", "80"));
    assert!(manifests.shelf.is_complete());
    assert_eq!(manifests.services(), ["default/a"]);
}

#[test]
fn an_object_that_is_written_twice_counts_once() {
    let mut manifests = Manifests::new(&[], Allocations::default());
    manifests.write("b.yaml", &service("a", "80"));
    manifests.write("c.yaml", &service("a", "81"));
    assert_eq!(manifests.service("a").ports[0].port, 80);
    assert_eq!(
        manifests.problems(),
        ["c.yaml:2: Service default/a: it is written in b.yaml too, and that counts; remove one"]
    );
    manifests.write(
        "a.yaml",
        &format!("{}{}", service("a", "82"), service("a", "83")),
    );
    assert_eq!(manifests.service("a").ports[0].port, 82);
    assert_eq!(manifests.problems().len(), 3);
    assert!(manifests.problems()[0].contains(": it is written further up in this file too"));
    manifests.remove("a.yaml");
    manifests.remove("b.yaml");
    assert_eq!(manifests.service("a").ports[0].port, 81);
    assert_eq!(manifests.problems(), [""; 0]);
}

#[test]
fn the_examples_are_read_without_a_problem() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut manifests = Manifests::new(&[], Allocations::default());
    for directory in fs::read_dir(examples).unwrap() {
        let directory = directory.unwrap().path();
        if directory.is_dir() {
            for file in fs::read_dir(directory).unwrap() {
                let file = file.unwrap().path();
                let text = fs::read_to_string(&file).unwrap();
                manifests.write(file.to_str().unwrap(), &text);
            }
        }
    }
    assert_eq!(manifests.problems(), [""; 0]);
    assert!(manifests.endpoints("kubia").len() > 1);
}

#[test]
fn the_node_object_of_this_node_says_where_it_is() {
    let manifests = read(
        "apiVersion: v1
kind: NodeList
items:
- metadata: {name: node-1, labels: {topology.kubernetes.io/zone: a}}
  spec: {podCIDR: 10.42.0.0/24, podCIDRs: [10.42.0.0/24, 'fd00:42::/64']}
  status: {addresses: [{type: Hostname, address: node-1}, {type: InternalIP, address: 192.168.0.1}]}
- metadata: {name: node-2}
",
    );
    assert_eq!(manifests.problems(), [""; 0]);
    let node = manifests.objects.node();
    assert_eq!(node.zone, "a");
    assert_eq!(node.pod_cidrs.len(), 2);
    assert_eq!(
        node.addresses,
        ["192.168.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
}

#[test]
fn the_same_files_in_any_order_amount_to_the_same() {
    let files = [
        ("1.yaml", service("a", "80")),
        ("2.yaml", service("a", "81")),
        ("3.yaml", service("b", "80")),
        (
            "4.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {app: a}}\n\
             status: {podIP: 10.42.0.1}\n"
                .into(),
        ),
        (
            "5.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n\
             spec: {type: NodePort, selector: {app: a}, ports: [{port: 80}]}\n"
                .into(),
        ),
    ];
    let in_order = |order: &[usize]| {
        let mut manifests = Manifests::new(&["10.96.0.0/16"], Allocations::default());
        for i in order {
            manifests.write(files[*i].0, &files[*i].1);
        }
        (manifests.problems(), manifests.world)
    };
    let expected = in_order(&[0, 1, 2, 3, 4]);
    for order in [[4, 3, 2, 1, 0], [2, 4, 0, 3, 1], [1, 0, 3, 4, 2]] {
        assert_eq!(in_order(&order), expected, "{order:?}");
    }
}
