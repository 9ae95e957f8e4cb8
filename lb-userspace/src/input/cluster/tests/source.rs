//! News in, updates out.

use super::reading;
use crate::input::cluster::Options;
use crate::input::cluster::ended::Trouble;
use crate::input::cluster::follow::News;
use crate::input::cluster::read::{Reading, read};
use crate::input::cluster::source::Source;
use crate::input::declared::Kind;
use crate::input::{Unmapped, UnmappedReason};
use crate::model::{Change, ObjectName};

fn source() -> Source {
    of(Options::default())
}

fn of(options: Options) -> Source {
    let options = Options {
        node_name: "node-a".into(),
        ..options
    };
    Source::new(options, "https://192.0.2.1:6443".into())
}

/// One that has heard every list, with these Services.
fn complete(services: Vec<Reading>) -> Source {
    let mut source = source();
    source.hear(Kind::Service, News::Listed(services));
    source.hear(Kind::EndpointSlice, News::Listed(Vec::new()));
    source.hear(Kind::ServiceCidr, News::Listed(vec![cidr()]));
    source.hear(Kind::Node, News::Listed(vec![node(1, "10.42.0.0/24")]));
    source
}

fn node(version: u32, pods: &str) -> Reading {
    let json = format!(
        r#"{{"metadata":{{"name":"node-a","resourceVersion":"{version}","labels":{{"topology.kubernetes.io/zone":"west"}}}},"spec":{{"podCIDRs":["{pods}"]}},"status":{{"addresses":[{{"type":"InternalIP","address":"172.18.0.2"}}]}}}}"#
    );
    read(Kind::Node, &json).expect("readable")
}

fn cidr() -> Reading {
    let json = r#"{"metadata":{"name":"kubernetes","resourceVersion":"1"},"spec":{"cidrs":["10.96.0.0/16","fd00:96::/112"]}}"#;
    read(Kind::ServiceCidr, json).expect("readable")
}

fn slice(name: &str, version: u32, family: &str, trigger: &str) -> Reading {
    let json = format!(
        r#"{{"metadata":{{"namespace":"default","name":"{name}","resourceVersion":"{version}","labels":{{"kubernetes.io/service-name":"kubia"}},"annotations":{{"endpoints.kubernetes.io/last-change-trigger-time":"{trigger}"}}}},"addressType":"{family}","endpoints":[]}}"#
    );
    read(Kind::EndpointSlice, &json).expect("readable")
}

fn changed(changes: &[Change]) -> Vec<(&str, bool)> {
    let changes = changes.iter();
    changes
        .map(|change| match change {
            Change::Service(name, service) => (&*name.name, service.is_some()),
            Change::Slice(name, slice) => (&*name.name, slice.is_some()),
            Change::Node(_) => panic!("the node is told by itself"),
        })
        .collect()
}

fn trouble(why: &str) -> Trouble {
    Trouble {
        why: why.into(),
        is_forbidden: false,
        is_absent: false,
    }
}

#[test]
fn nothing_is_told_before_every_list_was_heard() {
    let mut source = source();
    for (kind, objects) in [
        (Kind::Service, vec![reading("kubia", 1, 80)]),
        (Kind::EndpointSlice, Vec::new()),
        (Kind::ServiceCidr, vec![cidr()]),
    ] {
        source.hear(kind, News::Listed(objects));
        let update = source.tell();
        assert!(update.changes.is_empty() && !update.complete, "{update:?}");
    }
    source.hear(Kind::Node, News::Listed(vec![node(1, "10.42.0.0/24")]));
    assert!(source.has_news());
    let update = source.tell();
    assert!(update.complete);
    assert_eq!(changed(&update.changes), [("kubia", true)]);
    assert_eq!(update.service_cidrs.len(), 2);
    assert_eq!(update.node.zone, "west");
    assert_eq!(update.node.addresses.len(), 1);
    assert_eq!(update.problems, []);
    assert!(!source.has_news());
}

#[test]
fn a_list_that_is_heard_again_makes_changes_only_where_there_are_any() {
    let services = |last| vec![reading("same", 1, 80), reading("other", last, 80)];
    let mut source = complete([services(2), vec![reading("gone", 3, 80)]].concat());
    source.tell();
    source.hear(Kind::Service, News::Listed(services(2)));
    assert_eq!(changed(&source.tell().changes), [("gone", false)]);
    source.hear(Kind::Service, News::Listed(services(9)));
    assert_eq!(changed(&source.tell().changes), [("other", true)]);
    source.hear(Kind::Service, News::Listed(services(9)));
    assert!(!source.has_news());
}

#[test]
fn what_happens_meanwhile_is_told_once_as_it_ended() {
    let mut source = complete(Vec::new());
    source.tell();
    for version in 1..100 {
        source.hear(Kind::Service, News::Now(reading("kubia", version, 80)));
    }
    source.hear(Kind::Service, News::Now(reading("short", 100, 80)));
    source.hear(
        Kind::Service,
        News::Gone(ObjectName::new("default", "short")),
    );
    let update = source.tell();
    assert_eq!(
        changed(&update.changes),
        [("kubia", true), ("short", false)]
    );
}

#[test]
fn a_service_that_cannot_be_read_stays_as_it_was() {
    let mut source = complete(vec![reading("kubia", 1, 80)]);
    source.tell();
    source.hear(Kind::Service, News::Now(reading("kubia", 2, 0)));
    let update = source.tell();
    assert_eq!(changed(&update.changes), []);
    assert_eq!(update.problems.len(), 1);
    assert_eq!(update.problems[0].field, "spec.ports[0].port");
    assert_eq!(update.problems[0].place, None);
    source.hear(Kind::Service, News::Now(reading("kubia", 3, 81)));
    let update = source.tell();
    assert_eq!(changed(&update.changes), [("kubia", true)]);
    assert_eq!(update.problems, []);
}

#[test]
fn headless_services_are_named_as_left_to_dns() {
    let json = r#"{"metadata":{"namespace":"default","name":"db","resourceVersion":"1"},"spec":{"clusterIP":"None","clusterIPs":["None"],"ports":[{"port":80}]}}"#;
    let mut source = complete(vec![read(Kind::Service, json).expect("readable")]);
    let name = ObjectName::new("default", "db");
    let left = Unmapped {
        service: name.clone(),
        reason: UnmappedReason::Headless,
    };
    assert_eq!(source.tell().unmapped, [left]);
    source.hear(Kind::Service, News::Gone(name));
    assert_eq!(source.tell().unmapped, []);
}

#[test]
fn slices_say_whom_they_belong_to() {
    let slice = |labels: &str| {
        let json = format!(
            r#"{{"metadata":{{"namespace":"default","name":"kubia-x","resourceVersion":"{}","labels":{{{labels}}}}},"addressType":"IPv4","ports":[{{"port":8080}}],"endpoints":[{{"addresses":["10.42.0.10"],"conditions":{{"ready":true}}}}]}}"#,
            labels.len()
        );
        read(Kind::EndpointSlice, &json).expect("readable")
    };
    let mut source = complete(Vec::new());
    source.tell();
    let of_kubia = r#""kubernetes.io/service-name":"kubia""#;
    source.hear(Kind::EndpointSlice, News::Now(slice(of_kubia)));
    let update = source.tell();
    let [Change::Slice(_, Some(told))] = &*update.changes else {
        panic!("{update:?}");
    };
    assert_eq!(told.service, ObjectName::new("default", "kubia"));
    // Whoever takes the label away takes the endpoints away.
    source.hear(Kind::EndpointSlice, News::Now(slice("")));
    let update = source.tell();
    assert_eq!(changed(&update.changes), [("kubia-x", false)]);
    assert_eq!(update.problems.len(), 1, "{:?}", update.problems);
}

#[test]
fn a_server_that_does_not_answer_is_one_problem_and_takes_nothing_away() {
    let mut source = complete(vec![reading("kubia", 1, 80)]);
    source.tell();
    for kind in [Kind::Service, Kind::EndpointSlice] {
        source.hear(kind, News::Trouble(trouble("connection refused")));
    }
    let update = source.tell();
    assert!(update.changes.is_empty() && update.complete);
    let problems: Vec<_> = update.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "APIServer https://192.0.2.1:6443: services, endpointslices: connection refused; what was known of them stays in force, and it is asked again and again"
        ]
    );
    source.hear(Kind::Service, News::Trouble(trouble("connection refused")));
    assert!(!source.has_news(), "the same again is no news");
    for kind in [Kind::Service, Kind::EndpointSlice] {
        source.hear(kind, News::Answers);
    }
    assert_eq!(source.tell().problems, []);
}

#[test]
fn where_there_are_no_service_cidrs_the_rest_is_served() {
    for (is_absent, problems) in [(true, 0), (false, 1)] {
        let mut source = source();
        let trouble = Trouble {
            is_absent,
            is_forbidden: !is_absent,
            ..trouble("no")
        };
        source.hear(Kind::ServiceCidr, News::Trouble(trouble));
        source.hear(Kind::Service, News::Listed(vec![reading("kubia", 1, 80)]));
        source.hear(Kind::EndpointSlice, News::Listed(Vec::new()));
        source.hear(Kind::Node, News::Listed(vec![node(1, "10.42.0.0/24")]));
        let update = source.tell();
        assert!(update.complete);
        assert_eq!(update.changes.len(), 1);
        assert_eq!(update.problems.len(), problems, "{:?}", update.problems);
    }
}

#[test]
fn the_node_is_followed_and_stays_when_its_object_goes() {
    let mut source = complete(Vec::new());
    source.tell();
    source.hear(Kind::Node, News::Now(node(2, "10.42.7.0/24")));
    let update = source.tell();
    assert_eq!(update.node.pod_cidrs, ["10.42.7.0/24".parse().unwrap()]);
    // A heartbeat changes nothing that is told.
    source.hear(Kind::Node, News::Now(node(3, "10.42.7.0/24")));
    assert!(!source.has_news());
    source.hear(Kind::Node, News::Gone(ObjectName::new("", "node-a")));
    let update = source.tell();
    assert_eq!(update.node.pod_cidrs, ["10.42.7.0/24".parse().unwrap()]);
    assert!(
        update.problems[0].to_string().contains("--node-name"),
        "{:?}",
        update.problems
    );
}

/// Kubernetes' measure of how long its changes take to arrive counts each of them once.
#[test]
fn what_slices_follow_is_told_once_and_not_before_everything_is_known() {
    let told = |source: &mut Source| -> Vec<_> {
        let triggers = source.tell().triggers.into_iter();
        triggers
            .map(|trigger| {
                let at = jiff::Timestamp::try_from(trigger.at).expect("a time");
                (
                    trigger.slice.name.to_string(),
                    trigger.is_ipv6,
                    at.to_string(),
                )
            })
            .collect()
    };
    let (first, second) = ("2025-11-21T12:00:00Z", "2025-11-21T12:00:07.25Z");
    let mut source = source();
    let now = |source: &mut Source, reading| source.hear(Kind::EndpointSlice, News::Now(reading));
    now(&mut source, slice("four", 1, "IPv4", first));
    assert_eq!(told(&mut source), []);
    source.hear(Kind::Service, News::Listed(Vec::new()));
    let slices = vec![slice("four", 1, "IPv4", first)];
    source.hear(Kind::EndpointSlice, News::Listed(slices.clone()));
    source.hear(Kind::ServiceCidr, News::Listed(vec![cidr()]));
    source.hear(Kind::Node, News::Listed(vec![node(1, "10.42.0.0/24")]));
    let four = |at: &str| ("four".to_owned(), false, at.to_owned());
    assert_eq!(told(&mut source), [four(first)]);
    source.hear(Kind::EndpointSlice, News::Listed(slices));
    assert_eq!(told(&mut source), []);

    // Two of one slice before anybody listens are two.
    now(&mut source, slice("four", 2, "IPv4", first));
    now(&mut source, slice("four", 3, "IPv4", second));
    now(&mut source, slice("six", 1, "IPv6", second));
    let six = ("six".to_owned(), true, second.to_owned());
    assert_eq!(told(&mut source), [four(first), four(second), six]);

    // What went follows nothing, and what is no time is none.
    now(&mut source, slice("four", 4, "IPv4", second));
    let name = ObjectName::new("default", "four");
    source.hear(Kind::EndpointSlice, News::Gone(name));
    now(&mut source, slice("six", 2, "IPv6", "yesterday"));
    assert_eq!(told(&mut source), []);
}

#[test]
fn a_server_behind_its_own_cluster_ip_is_to_be_named_while_nothing_is_known() {
    let of_bootstrap = |source: &mut Source| {
        let problems = source.tell().problems;
        let texts = problems.iter().map(ToString::to_string);
        texts.filter(|text| text.contains("--api-server")).count()
    };
    let mut source = source();
    source.hear(
        Kind::Service,
        News::Trouble(Trouble {
            is_forbidden: true,
            ..trouble("forbidden")
        }),
    );
    assert_eq!(of_bootstrap(&mut source), 0, "it was reached");
    for kind in [Kind::Service, Kind::EndpointSlice] {
        source.hear(kind, News::Trouble(trouble("connection refused")));
    }
    assert_eq!(of_bootstrap(&mut source), 1);
    let mut known = complete(vec![reading("kubia", 1, 80)]);
    known.hear(Kind::Service, News::Trouble(trouble("connection refused")));
    assert_eq!(of_bootstrap(&mut known), 0, "it was known");
    let mut source = of(Options {
        api_server: Some("https://192.0.2.1:6443".parse().expect("an address")),
        ..Options::default()
    });
    source.hear(Kind::Service, News::Trouble(trouble("connection refused")));
    assert_eq!(of_bootstrap(&mut source), 0, "it was named");
}
