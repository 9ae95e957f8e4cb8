//! What `lb` answers from manifests alone: `check`, `explain`, and `diff` where there is nothing to
//! compare with.

use crate::place::Place;

const KUBIA: &str = "
apiVersion: v1
kind: Service
metadata: {name: kubia}
spec: {clusterIP: 10.43.165.39, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubia-1, labels: {kubernetes.io/service-name: kubia}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.42.0.10]}, {addresses: [10.42.1.9]}]
";

/// A pod that is not ready, and who wants it.
const SICK: &str = "
apiVersion: v1
kind: Service
metadata: {name: sick}
spec: {clusterIP: 10.43.0.3, selector: {app: sick}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: sick-0, labels: {app: sick}}
spec: {nodeName: node-a, containers: [{name: sick}]}
status:
  phase: Running
  podIP: 10.42.0.30
  conditions: [{type: Ready, status: \"False\", lastTransitionTime: 2026-01-02T03:04:05Z}]
";

/// A capture (little-endian, raw IP) of a SYN from 10.42.0.9:40000 to 10.43.165.39:80 and of a packet
/// that is cut off.
fn capture() -> Vec<u8> {
    let syn = [
        &[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0][..],
        &[10, 42, 0, 9, 10, 43, 165, 39],
        &[
            0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
        ],
    ]
    .concat();
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0xffff, 101] {
        file.extend(word.to_le_bytes());
    }
    for packet in [&syn[..], &syn[..8]] {
        let length = u32::try_from(packet.len()).expect("a short packet");
        for word in [1_700_000_000, 0, length, 40] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

#[test]
fn check_tells_sound_manifests_from_others_by_its_exit_code() {
    let place = Place::new("check");
    let good = place.write("good.yaml", KUBIA);
    place
        .lb(&["check", &good])
        .exits(0)
        .says_nothing()
        .remarks("1 Services, 2 endpoints, 0 problems");
    let bad = place.write("bad.yaml", KUBIA.replace("port: 80,", "port: 80000,"));
    place
        .lb(&["check", &bad])
        .exits(1)
        .says("bad.yaml:5")
        .says("spec.ports[0].port");
    let broken = place.write("broken.yaml", "kind: [");
    place
        .lb(&["check", &broken])
        .exits(1)
        .says("not readable as YAML or JSON");
    let nothing = place.write("nothing.yaml", "");
    place
        .lb(&["check", &nothing])
        .exits(1)
        .remarks("nothing to check");
    place
        .lb(&["check", "no-such-directory"])
        .exits(1)
        .remarks("cannot read no-such-directory");
    place
        .lb(&["check"])
        .exits(1)
        .remarks("no manifests are named");
}

#[test]
fn explain_answers_from_manifests_and_says_so() {
    let place = Place::new("explain");
    let file = place.write("kubia.yaml", KUBIA);
    let ask = |words: &[&str]| {
        let flags = [
            "explain",
            "--manifests",
            &file,
            "--cluster-cidr=10.42.0.0/16",
        ];
        place.lb(&[&flags[..], words].concat())
    };
    ask(&["10.42.0.9", "10.43.165.39:80"])
        .exits(0)
        .says("goes to one of 2 backends")
        .says("(by the manifests; --live asks the maps in the kernel)");
    let answer = ask(&[
        "--source=10.42.0.9",
        "--destination=10.43.165.39:80",
        "--protocol=tcp",
        "-ojson",
    ])
    .json();
    for (field, expected) in [
        ("verdict", "forward".into()),
        ("reason", "new-flow".into()),
        ("ground", "manifests".into()),
        ("service", "default/kubia".into()),
        ("backends", vec!["10.42.0.10:8080", "10.42.1.9:8080"].into()),
        ("backend", serde_json::Value::Null),
        ("snat", false.into()),
    ] {
        assert_eq!(answer[field], expected, "{field} in {answer}");
    }
    ask(&["10.42.0.9", "10.43.165.39/icmp"])
        .exits(0)
        .says("that is normal: it exists only with its ports");
    ask(&["10.42.0.9", "10.43.165.39"])
        .exits(2)
        .says_nothing()
        .remarks("without a port");
    ask(&["10.42.0.9", "[fd00::80]:80"])
        .exits(2)
        .remarks("of different families");
    ask(&[]).exits(2).remarks("SOURCE[:PORT]");
    // Nothing is pinned here, which is what the maps are asked for.
    ask(&["--live", "10.42.0.9", "10.43.165.39:80"])
        .exits(1)
        .says_nothing()
        .remarks("was `lb run` started on this node");
}

#[test]
fn explain_says_since_when_nobody_is_ready() {
    let place = Place::new("sick");
    let file = place.write("sick.yaml", SICK);
    place
        .lb(&["explain", "-f", &file, "10.42.0.9", "10.43.0.3:80"])
        .exits(0)
        .says("refused (no-endpoints)")
        .says("1 pod matches the selector, not ready (Pod/sick-0 since 2026-01-02T03:04:05Z)");
}

#[test]
fn explain_answers_for_each_flow_of_a_capture() {
    let place = Place::new("pcap");
    let file = place.write("kubia.yaml", KUBIA);
    let capture = place.write("flows.pcap", capture());
    let flags = [
        "explain",
        "-f",
        &file,
        "--cluster-cidr=10.42.0.0/16",
        "--pcap",
    ];
    let ask = |words: &[&str]| place.lb(&[&flags[..], words].concat());
    ask(&[&capture])
        .exits(0)
        .says("flows.pcap: packets 2, flows 1\n")
        .says("left out: packets 1: cut off before its addresses\n")
        .says(
            "1. packets there 1, back 0\n10.42.0.9:40000 → 10.43.165.39:80/TCP: goes to one of 2",
        );
    let answer = ask(&[&capture, "-ojson"]).json();
    assert_eq!(answer["packets"], 2);
    assert_eq!(answer["leftOut"]["cut off before its addresses"], 1);
    let flow = &answer["flows"][0];
    assert_eq!((&flow["packets"], &flow["replies"]), (&1.into(), &0.into()));
    assert_eq!(flow["verdict"], "forward");
    assert_eq!(flow["sourcePort"], 40_000);
    assert_eq!(flow["backends"][1], "10.42.1.9:8080");
    ask(&[&file])
        .exits(1)
        .says_nothing()
        .remarks("kubia.yaml: it is no capture");
    ask(&["no-such-file"])
        .exits(1)
        .remarks("capture no-such-file");
    ask(&[&capture, "10.42.0.9", "10.43.165.39:80"])
        .exits(2)
        .remarks("cannot be used with");
}

#[test]
fn diff_with_nothing_to_compare_is_neither_alike_nor_different() {
    let place = Place::new("diff");
    let file = place.write("kubia.yaml", KUBIA);
    place
        .lb(&["diff", "-f", &file])
        .exits(2)
        .says_nothing()
        .remarks("was `lb run` started on this node");
}

#[test]
fn explain_knows_whose_a_loopback_is() {
    let place = Place::new("localhost");
    let node_port =
        "spec: {type: NodePort, ports: [{port: 80, nodePort: 30123, targetPort: 8080}],";
    let text = KUBIA.replace(
        "spec: {clusterIP: 10.43.165.39, ports: [{port: 80, targetPort: 8080}]",
        &format!("{node_port} clusterIP: 10.43.165.39"),
    );
    let file = place.write("kubia.yaml", text);
    let ask = |flags: &[&str], source: &str| {
        let words = [
            "explain",
            "-f",
            &file,
            "--cluster-cidr=10.42.0.0/16",
            source,
            "127.0.0.1:30123",
            "-ojson",
        ];
        place.lb(&[&words[..], flags].concat()).json()["verdict"].clone()
    };
    let on = ["--nodeport-localhost"];
    assert_eq!(ask(&on, "127.0.0.1"), "forward");
    assert_eq!(ask(&on, "10.42.0.9"), "pass");
    assert_eq!(ask(&on, "203.0.113.7"), "pass");
    assert_eq!(ask(&[], "127.0.0.1"), "pass");
}
