//! What do answers say? A small cluster, and a question for each way that a flow can go.

mod cluster;

use cluster::{cluster, name, offline};
use lb_common::Ip4;
use lb_common::layout::{Affinity, AffinityKey, CONFIG_ANSWER_PING, FLOW_REPLY, Flow};

use super::*;

/// Source, destination, verdict, reason, and words that the hints must have.
const FATES: [[&str; 5]; 18] = [
    ["10.42.0.9", "10.43.165.39:80", "forward", "new-flow", ""],
    [
        "10.42.0.10",
        "10.43.165.39:80",
        "forward",
        "new-flow",
        "the client is one of",
    ],
    [
        "203.0.113.7",
        "192.0.2.10:30123",
        "forward",
        "new-flow",
        "externalTrafficPolicy: Local",
    ],
    [
        "192.0.2.10",
        "10.43.0.4:9/sctp",
        "pass",
        "own-sctp",
        "dial a pod instead",
    ],
    ["10.42.0.9", "10.43.0.4:9/sctp", "forward", "new-flow", ""],
    [
        "192.0.2.10",
        "198.51.100.1:9/sctp",
        "pass",
        "no-frontend",
        "routing alone",
    ],
    [
        "10.42.0.9",
        "10.43.165.39:8080",
        "reject",
        "undefined-port",
        "clients dial 80",
    ],
    [
        "10.42.0.9",
        "10.43.165.39:80/udp",
        "reject",
        "undefined-port",
        "there for TCP only",
    ],
    [
        "10.42.0.9",
        "10.43.165.39/icmp",
        "drop",
        "not-a-port",
        "that is normal",
    ],
    [
        "10.42.0.9",
        "10.43.99.99:80",
        "drop",
        "unallocated-address",
        "no Service has it",
    ],
    [
        "10.42.0.9",
        "10.43.0.3:80",
        "reject",
        "no-endpoints",
        "2 pods match the selector, both not ready (Pod/at-10.42.0.30 since 2026-01-01T00:00:00Z, ",
    ],
    [
        "203.0.113.7",
        "146.148.47.155:80",
        "drop",
        "no-local-endpoints",
        "2 elsewhere (on node-b)",
    ],
    [
        "198.51.100.7",
        "146.148.47.155:80",
        "drop",
        "source-range",
        "203.0.113.0/24 only",
    ],
    [
        "203.0.113.7",
        "146.148.47.156:80",
        "pass",
        "no-frontend",
        "left to the cloud's load balancer: Service default/local has it with `ipMode: Proxy`",
    ],
    [
        "10.42.0.9",
        "10.42.1.9:8080",
        "pass",
        "no-frontend",
        "itself an endpoint of default/kubia",
    ],
    [
        "10.42.0.9",
        "192.0.2.11:30123",
        "pass",
        "no-frontend",
        "served on 192.0.2.10 only",
    ],
    [
        "10.42.0.9",
        "192.0.2.11:22",
        "pass",
        "no-frontend",
        "may be the node's own",
    ],
    [
        "10.42.0.9",
        "198.51.100.1:443",
        "pass",
        "no-frontend",
        "routing alone",
    ],
];

#[test]
fn every_fate_has_its_reason_and_its_hint() {
    for [source, destination, verdict, reason, hint] in FATES {
        let answer = offline(source, destination);
        let found = (answer.verdict.name(), answer.reason.name());
        assert_eq!(found, (verdict, reason), "{source} {destination}: {answer}");
        assert!(
            answer.hints.join("\n").contains(hint),
            "{source} {destination}: {answer}"
        );
        assert!(!answer.steps.is_empty(), "{source} {destination}");
    }
}

#[test]
fn all_backends_are_named_with_those_that_need_snat() {
    let answer = offline("203.0.113.7", "192.0.2.10:30123");
    let places: Vec<_> = answer
        .candidates
        .iter()
        .map(|one| one.address.to_string())
        .collect();
    assert_eq!(
        places,
        ["10.42.0.10:8080", "10.42.1.9:8080", "10.42.1.10:8080"]
    );
    let snat: Vec<_> = answer.candidates.iter().map(Candidate::snat).collect();
    assert_eq!(snat, [false, true, true]);
    assert!(answer.snat());
    let answer = offline("10.42.0.9", "10.43.165.39:80");
    assert!(!answer.snat());
    let frontend = answer.frontend.expect("a frontend");
    assert_eq!((frontend.kind, frontend.port), ("ClusterIP", 80));
    assert_eq!(answer.served.expect("a Service").service, name("kubia"));
}

#[test]
fn a_source_port_tells_the_backend_only_where_the_key_is_known() {
    let cluster = cluster();
    let traffic = Traffic::default();
    let live = Some(&traffic);
    let ask = |source, traffic| cluster.ask(source, "10.43.165.39:80", traffic).backend;
    assert_eq!(ask("10.42.0.9", live), None);
    assert_eq!(ask("10.42.0.9:40000", None), None);
    assert_eq!(
        ask("192.0.2.10:40000", live),
        None,
        "the node's sockets draw each for itself"
    );
    let question = Question::parse("10.42.0.9:40000", "10.43.165.39:80", None).expect("a question");
    let key = flow_key::<Ip4>(&question).expect("IPv4");
    let slot = hash::slot(hash::draw(&key, cluster.tables.config.hash_key), 3);
    let places = ["10.42.0.10:8080", "10.42.1.9:8080", "10.42.1.10:8080"];
    let drawn = places[slot as usize].parse().expect("an address");
    assert_eq!(ask("10.42.0.9:40000", live), Some(drawn));
}

#[test]
fn a_flow_that_is_there_goes_on_whatever_a_new_one_would_get() {
    let cluster = cluster();
    let question = Question::parse("10.42.0.9:40000", "10.43.0.3:80", None).expect("a question");
    let key = flow_key::<Ip4>(&question).expect("IPv4");
    let flow = Flow {
        source: key.source,
        source_port: key.source_port,
        destination: Ip4::new(10, 42, 0, 30),
        destination_port: 8080,
        service_port: 3,
        ..Flow::default()
    };
    let mut traffic = Traffic::default();
    traffic.v4.flows.insert(key, flow);
    let answer = cluster.ask("10.42.0.9:40000", "10.43.0.3:80", Some(&traffic));
    assert_eq!(
        (answer.verdict, answer.reason),
        (Verdict::Forward, Reason::Flow)
    );
    assert_eq!(
        answer.backend,
        Some("10.42.0.30:8080".parse().expect("an address"))
    );
    assert_eq!(answer.candidates, []);
    let reply = Flow {
        flags: FLOW_REPLY,
        ..flow
    };
    traffic.v4.flows.insert(key, reply);
    let answer = cluster.ask("10.42.0.9:40000", "10.43.0.3:80", Some(&traffic));
    assert_eq!(answer.reason, Reason::Reply);
}

#[test]
fn a_client_with_an_affinity_gets_no_other_backend() {
    let cluster = cluster();
    let answer = cluster.ask("10.42.0.9", "10.43.0.2:80", None);
    assert_eq!(answer.candidates.len(), 2);
    let id = answer.served.expect("a Service").id;
    let (backend, entry) = cluster
        .tables
        .v4
        .backends
        .iter()
        .rfind(|(_, backend)| backend.service_port == id)
        .expect("a backend");
    let mut traffic = Traffic::default();
    let key = AffinityKey {
        client: Ip4::new(10, 42, 0, 9),
        service_port: id,
    };
    let affinity = Affinity {
        backend: *backend,
        generation: entry.generation,
        last_used: 0,
    };
    traffic.v4.affinities.insert(key, affinity);
    let answer = cluster.ask("10.42.0.9", "10.43.0.2:80", Some(&traffic));
    assert_eq!(answer.reason, Reason::Affinity);
    let only = SocketAddr::new(entry.address.to_ip(), entry.port);
    assert_eq!(answer.backend, Some(only));
    assert_eq!(answer.candidates.len(), 1);
}

#[test]
fn the_steps_follow_the_decision() {
    let answer = offline("10.42.0.9", "10.43.165.39:80");
    let steps: Vec<_> = answer
        .steps
        .iter()
        .map(|step| format!("{}: {}: {}", step.lookup, step.found, step.then))
        .collect();
    assert_eq!(
        steps,
        [
            "frontends4 10.43.165.39:80/TCP: default/kubia:http: who may serve it?",
            "frontend_info4 #2: ClusterIP 10.43.165.39:80/TCP of default/kubia:http: go on with it",
            "nodes4 10.42.0.9: nothing: is the client a pod?",
            "config: is 10.42.0.9 in a prefix of pods?: yes: the client is a pod",
            "pool for pods and nodes: policy Cluster, slots 1–3: draw one by addresses and ports",
        ]
    );
}

#[test]
fn the_story_reads_well() {
    assert_eq!(
        offline("203.0.113.7", "192.0.2.10:30123").to_string(),
        "\
203.0.113.7 → 192.0.2.10:30123/TCP: goes to one of 3 backends

192.0.2.10:30123/TCP is a NodePort of Service default/kubia, port 80 (http).
203.0.113.7 is outside the cluster, so endpoints on any node may serve it:
  10.42.0.10:8080  Pod/at-10.42.0.10 on this node
  10.42.1.9:8080   Pod/at-10.42.1.9 on node-b, sees this node's address as its client
  10.42.1.10:8080  Pod/at-10.42.1.10 on node-b, sees this node's address as its client
Each new connection draws one of them.

hint: backends on other nodes see this node's address instead of the client's, or their replies would not come back through here; `externalTrafficPolicy: Local` would keep it

(by the manifests; --live asks the maps in the kernel)
"
    );
    assert_eq!(
        offline("10.42.0.9", "10.43.165.39/icmp").to_string(),
        "\
10.42.0.9 → 10.43.165.39/ICMP: dropped (not-a-port)

10.43.165.39 is the ClusterIP of Service default/kubia.
Dropped: neither TCP, UDP nor SCTP (a ping, say) to a ClusterIP, which exists only together with its ports.

hint: a ping of a VIP gets no answer, that is normal: it exists only with its ports, on no interface; try one of them instead, as with `curl` (`--answer-ping` would answer)

(by the manifests; --live asks the maps in the kernel)
"
    );
}

#[test]
fn a_ping_is_answered_where_that_was_asked_for() {
    let mut cluster = cluster();
    cluster.tables.config.flags |= CONFIG_ANSWER_PING;
    let ping = cluster.ask("10.42.0.9", "10.43.165.39/icmp", None);
    assert_eq!((ping.verdict, ping.reason), (Verdict::Answer, Reason::Ping));
    let step = ping.steps.last().expect("a step");
    assert_eq!(step.then, "answer the ping");
    let dial = cluster.ask("10.42.0.9", "10.43.165.39:80", None);
    let steps: Vec<_> = dial.steps.iter().map(|step| step.then.as_str()).collect();
    assert!(!steps.contains(&"answer the ping"), "{steps:?}");
}

#[test]
fn programs_get_the_same_as_people() {
    let answer = offline("203.0.113.7", "192.0.2.10:30123");
    let document = serde_json::to_value(answer.document()).expect("a document");
    assert_eq!(document["verdict"], "forward");
    assert_eq!(document["ground"], "manifests");
    assert_eq!(document["service"], "default/kubia");
    assert_eq!(document["frontend"]["kind"], "NodePort");
    assert_eq!(document["backends"][0], "10.42.0.10:8080");
    assert_eq!(document["snat"], true);
    assert_eq!(document["snatBackends"][1], "10.42.1.10:8080");
    assert!(document["backend"].is_null());
}
