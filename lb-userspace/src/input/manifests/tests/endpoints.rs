//! What do EndpointSlices and Endpoints say, and when do they count?

use super::read;

/// A Service without a selector.
const MY_SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: my-service}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 9376}]}
---
";

fn slice(more: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: my-service-1, labels: {{kubernetes.io/service-name: my-service}}}}
{more}
"
    )
}

#[test]
fn conditions_that_are_not_written_follow_the_others() {
    for (conditions, expected) in [
        ("", " ready serving"),
        ("ready: true", " ready serving"),
        ("ready: false", ""),
        (
            "ready: false, serving: true, terminating: true",
            " serving terminating",
        ),
        ("serving: false", " ready"),
        ("terminating: true", " ready serving terminating"),
    ] {
        let manifests = read(&format!(
            "{MY_SERVICE}{}",
            slice(&format!(
                "addressType: IPv4\nports: [{{name: http, port: 9376}}]\n\
                 endpoints: [{{addresses: [10.1.2.3], conditions: {{{conditions}}}}}]"
            ))
        ));
        assert_eq!(
            manifests.endpoints("my-service"),
            [format!("10.1.2.3:9376/TCP http{expected}")],
            "{conditions}"
        );
    }
}

#[test]
fn an_endpoint_is_its_first_address_with_all_that_is_said_of_it() {
    let manifests = read(&format!(
        "{MY_SERVICE}{}",
        slice(
            "addressType: IPv6
ports: [{name: http, port: 9376, protocol: UDP}, {name: later}]
endpoints:
- addresses: ['2001:db8::1', '2001:db8::2']
  nodeName: node-2
  targetRef: {kind: Pod, name: my-pod}
  hints: {forZones: [{name: a}, {name: b}], forNodes: [{name: node-2}]}"
        )
    ));
    let common = "@node-2 ready serving zone=a zone=b node=node-2 Pod/my-pod";
    assert_eq!(
        manifests.endpoints("my-service"),
        [
            format!("2001:db8::1:9376/UDP http {common}"),
            format!("2001:db8::1:?/TCP later {common}"),
        ]
    );
}

#[test]
fn slices_that_say_nothing_to_us_are_left_out() {
    let whole =
        slice("addressType: IPv4\nports: [{port: 1}]\nendpoints: [{addresses: [10.1.2.3]}]");
    for (text, problems) in [
        (
            whole.replace("labels: {", "labels: {service.kubernetes.io/headless: '', "),
            0,
        ),
        (
            whole.replace(
                "labels: {",
                "labels: {service.kubernetes.io/service-proxy-name: x, ",
            ),
            0,
        ),
        (
            whole
                .replace("addressType: IPv4", "addressType: FQDN")
                .replace("10.1.2.3", "example.com"),
            0,
        ),
        (whole.replace("kubernetes.io/service-name", "app"), 1),
        (
            whole
                .replace("namespace", "x")
                .replace("name: my-service-1", "name: x, namespace: y"),
            0,
        ),
    ] {
        let manifests = read(&format!("{MY_SERVICE}{text}"));
        assert_eq!(manifests.endpoints("my-service"), [""; 0], "{text}");
        assert_eq!(manifests.problems().len(), problems, "{text}");
    }
}

#[test]
fn slices_for_dns_are_those_of_headless_services_only() {
    let slice =
        slice("addressType: IPv4\nports: [{port: 1}]\nendpoints: [{addresses: [10.1.2.3]}]")
            .replace("labels: {", "labels: {service.kubernetes.io/headless: '', ");
    let headless = MY_SERVICE.replace("10.96.0.1", "None");
    let manifests = read(&format!("{headless}{slice}"));
    assert_eq!(
        manifests.endpoints("my-service"),
        ["10.1.2.3:1/TCP ready serving"]
    );
}

#[test]
fn what_the_api_server_would_refuse_is_a_problem() {
    for (field, more) in [
        ("addressType", "endpoints: []"),
        ("addressType", "addressType: IPv5"),
        (
            "endpoints[0].addresses[0]",
            "addressType: IPv4\nendpoints: [{addresses: [10.1.2]}]",
        ),
        (
            "endpoints[0].addresses[0]",
            "addressType: IPv4\nendpoints: [{addresses: ['fd00::1']}]",
        ),
        (
            "endpoints[0].addresses[0]",
            "addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]",
        ),
        (
            "endpoints[0].addresses",
            "addressType: IPv4\nendpoints: [{nodeName: a}]",
        ),
        ("ports[0].port", "addressType: IPv4\nports: [{port: 70000}]"),
        (
            "ports[0].protocol",
            "addressType: IPv4\nports: [{protocol: ICMP}]",
        ),
        (
            "ports[1].name",
            "addressType: IPv4\nports: [{name: a, port: 1}, {name: a, port: 2}]",
        ),
    ] {
        let manifests = read(&format!("{MY_SERVICE}{}", slice(more)));
        let problems = manifests.problems();
        let expected = format!("EndpointSlice default/my-service-1: {field}: ");
        assert!(problems[0].contains(&expected), "{more}: {problems:#?}");
        assert_eq!(manifests.endpoints("my-service"), [""; 0]);
    }
}

/// Endpoints of the same name as the Service.
const ENDPOINTS: &str = "
apiVersion: v1
kind: Endpoints
metadata: {name: my-service}
subsets:
- addresses: [{ip: 192.0.2.42}, {ip: '2001:db8::2a', nodeName: node-1}]
  notReadyAddresses: [{ip: 192.0.2.43}]
  ports: [{name: http, port: 9376}]
---
";

#[test]
fn endpoints_of_the_same_name_are_mirrored_where_there_is_no_selector() {
    let mut manifests = read(&format!("{MY_SERVICE}{ENDPOINTS}"));
    assert_eq!(
        manifests.endpoints("my-service"),
        [
            "192.0.2.42:9376/TCP http ready serving",
            "192.0.2.43:9376/TCP http",
            "2001:db8::2a:9376/TCP http @node-1 ready serving",
        ]
    );
    let with_selector = MY_SERVICE.replace("spec: {", "spec: {selector: {app: MyApp}, ");
    manifests.write("test.yaml", &format!("{with_selector}{ENDPOINTS}"));
    assert_eq!(manifests.endpoints("my-service"), [""; 0]);
    for asks_not_to in [
        "labels: {endpointslice.kubernetes.io/skip-mirror: 'true'}",
        "annotations: {control-plane.alpha.kubernetes.io/leader: '{}'}",
    ] {
        let endpoints = ENDPOINTS.replace("my-service}", &format!("my-service, {asks_not_to}}}"));
        manifests.write("test.yaml", &format!("{MY_SERVICE}{endpoints}"));
        assert_eq!(manifests.endpoints("my-service"), [""; 0], "{asks_not_to}");
    }
}

#[test]
fn slices_written_by_hand_serve_beside_a_selector_those_of_the_controller_do_not() {
    let with_selector = MY_SERVICE.replace("spec: {", "spec: {selector: {app: MyApp}, ");
    let by_hand =
        slice("addressType: IPv4\nports: [{port: 1}]\nendpoints: [{addresses: [10.1.2.3]}]");
    let manifests = read(&format!("{with_selector}{by_hand}"));
    assert_eq!(manifests.endpoints("my-service").len(), 1);
    assert_eq!(manifests.problems(), [""; 0]);

    let controlled = by_hand.replace(
        "labels: {",
        "labels: {endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io, ",
    );
    let manifests = read(&format!("{with_selector}{controlled}"));
    assert_eq!(manifests.endpoints("my-service"), [""; 0]);
    let problems = manifests.problems();
    assert!(problems[0].starts_with("test.yaml:5: Service default/my-service: spec.selector: "));
    // Without a selector there is nobody else to say.
    let manifests = read(&format!("{MY_SERVICE}{controlled}"));
    assert_eq!(manifests.endpoints("my-service").len(), 1);
}

#[test]
fn a_slice_that_changes_its_service_serves_the_other_one() {
    let other = MY_SERVICE
        .replace("my-service", "other")
        .replace("10.96.0.1", "10.96.0.2");
    let moved =
        slice("addressType: IPv4\nports: [{port: 1}]\nendpoints: [{addresses: [10.1.2.3]}]");
    let mut manifests = read(&format!("{MY_SERVICE}{other}{moved}"));
    for (target, counts) in [("other", [0, 1]), ("my-service", [1, 0])] {
        let moved = moved.replace(
            "service-name: my-service",
            &format!("service-name: {target}"),
        );
        let changes = manifests.write("test.yaml", &format!("{MY_SERVICE}{other}{moved}"));
        assert_eq!(changes.len(), 1, "{changes:?}");
        let found = ["my-service", "other"].map(|name| manifests.endpoints(name).len());
        assert_eq!(found, counts);
    }
}
