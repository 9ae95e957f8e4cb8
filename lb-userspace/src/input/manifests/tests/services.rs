//! What does a Service say, with the API server's defaults, and what would the API server refuse?

use super::{read, read_with};
use crate::input::UnmappedReason;

#[test]
fn the_articles_services_are_what_they_were() {
    for (name, spec, expected) in [
        (
            "backend-service",
            "clusterIP: 10.96.151.12, ports: [{port: 5000}]",
            "ClusterIP 10.96.151.12\n<unset> 5000/TCP>5000",
        ),
        (
            "kubia",
            "clusterIP: 10.43.165.39, ports: [{port: 80, targetPort: 8080}]",
            "ClusterIP 10.43.165.39\n<unset> 80/TCP>8080",
        ),
        (
            "kubia",
            "clusterIP: 10.104.58.143, ports: [{port: 80, targetPort: 8080, protocol: TCP}]",
            "ClusterIP 10.104.58.143\n<unset> 80/TCP>8080",
        ),
        (
            "kubia",
            "clusterIP: 10.43.7.83, ports: [{name: http, port: 80, targetPort: 8080}, \
             {name: https, port: 443, targetPort: 8443}]",
            "ClusterIP 10.43.7.83\nhttp 80/TCP>8080\nhttps 443/TCP>8443",
        ),
        (
            "kubia-nodeport",
            "type: NodePort, clusterIP: 10.43.254.206, ports: [{port: 80, targetPort: 8080, \
             nodePort: 30123}]",
            "NodePort 10.43.254.206\n<unset> 80/TCP>8080 node=30123",
        ),
        (
            "kubia-loadbalancer",
            "type: LoadBalancer, clusterIP: 10.43.1.1, loadBalancerIP: 78.11.24.19, \
             ports: [{port: 80, targetPort: 8080, nodePort: 30061}]",
            "LoadBalancer 10.43.1.1 balancer 78.11.24.19\n<unset> 80/TCP>8080 node=30061",
        ),
        (
            "named",
            "clusterIP: 10.43.1.2, ports: [{port: 80, targetPort: http}]",
            "ClusterIP 10.43.1.2\n<unset> 80/TCP>http",
        ),
        (
            "dns",
            "clusterIP: 10.43.0.10, ports: [{name: dns, port: 53, protocol: UDP}, \
             {name: dns-tcp, port: 53}, {name: sctp, port: 53, protocol: SCTP}]",
            "ClusterIP 10.43.0.10\ndns 53/UDP>53\ndns-tcp 53/TCP>53\nsctp 53/SCTP>53",
        ),
        (
            "sticky",
            "clusterIP: 10.43.1.3, sessionAffinity: ClientIP, ports: [{port: 80}]",
            "ClusterIP 10.43.1.3 affinity=10800s\n<unset> 80/TCP>80",
        ),
        (
            "stickier",
            "clusterIP: 10.43.1.3, sessionAffinity: ClientIP, ports: [{port: 80}], \
             sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}",
            "ClusterIP 10.43.1.3 affinity=60s\n<unset> 80/TCP>80",
        ),
        (
            "policies",
            "type: NodePort, clusterIP: 10.43.1.4, internalTrafficPolicy: Local, \
             externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30200}]",
            "NodePort 10.43.1.4 internal=Local external=Local\n<unset> 80/TCP>80 node=30200",
        ),
        (
            "external",
            "clusterIP: 10.43.1.5, externalIPs: [198.51.100.1, '2001:db8::1'], ports: [{port: 80}]",
            "ClusterIP 10.43.1.5 external 198.51.100.1 2001:db8::1\n<unset> 80/TCP>80",
        ),
        ("headless", "clusterIP: None", "Headless"),
        (
            "dual",
            "ipFamilyPolicy: RequireDualStack, clusterIPs: ['fd00:96::a', 10.96.0.10], \
             ports: [{port: 80}]",
            "ClusterIP fd00:96::a 10.96.0.10\n<unset> 80/TCP>80",
        ),
        (
            "balanced",
            "type: LoadBalancer, clusterIP: 10.43.1.6, allocateLoadBalancerNodePorts: false, \
             loadBalancerIP: 192.0.2.1, ports: [{port: 80}], \
             loadBalancerSourceRanges: [203.0.113.7/24, ' 2001:db8::/32 ']",
            "LoadBalancer 10.43.1.6 balancer 192.0.2.1 from 203.0.113.0/24 from 2001:db8::/32\n\
             <unset> 80/TCP>80",
        ),
    ] {
        let manifests = read(&service(name, spec));
        assert_eq!(manifests.problems(), [""; 0], "{spec}");
        assert_eq!(manifests.show(name), expected, "{spec}");
    }
}

#[test]
fn services_without_a_virtual_address_are_left_to_others() {
    let manifests = read(
        "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: headless}, spec: {clusterIP: None}}
- apiVersion: v1
  kind: Service
  metadata: {name: backend-service}
  spec: {type: ExternalName, externalName: backend-service.example.svc.cluster.local}
- apiVersion: v1
  kind: Service
  metadata: {name: mesh, labels: {service.kubernetes.io/service-proxy-name: mesh}}
  spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
",
    );
    assert_eq!(manifests.problems(), [""; 0]);
    assert_eq!(
        manifests.unmapped(),
        [
            (
                "default/backend-service".into(),
                UnmappedReason::ExternalName("backend-service.example.svc.cluster.local".into())
            ),
            ("default/headless".into(), UnmappedReason::Headless),
            (
                "default/mesh".into(),
                UnmappedReason::OtherProxy("mesh".into())
            ),
        ]
    );
    assert_eq!(
        manifests.services(),
        ["default/backend-service", "default/headless"]
    );
}

#[test]
fn a_load_balancer_has_the_addresses_of_its_provider() {
    for (spec, status, expected) in [
        // Here we are the provider: what is asked for is given.
        (
            "loadBalancerIP: 78.11.24.19",
            "ip: 146.148.47.155",
            "78.11.24.19",
        ),
        ("", "ip: 146.148.47.155", "146.148.47.155"),
        ("", "ip: 146.148.47.155, ipMode: VIP", "146.148.47.155"),
        ("", "ip: 146.148.47.155, ipMode: Proxy", ""),
        ("", "hostname: kubia.example", ""),
        // A class is another provider's.
        (
            "loadBalancerClass: example.com/vip, loadBalancerIP: 78.11.24.19",
            "ip: 146.148.47.155",
            "146.148.47.155",
        ),
    ] {
        let manifests = read(&format!(
            "apiVersion: v1
kind: Service
metadata: {{name: kubia-loadbalancer}}
spec:
  {{type: LoadBalancer, clusterIP: 10.43.1.1, ports: [{{port: 80, nodePort: 30061}}], {spec}}}
status: {{loadBalancer: {{ingress: [{{{status}}}]}}}}
"
        ));
        let addresses = &manifests.service("kubia-loadbalancer").load_balancer_ips;
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses.join(" "), expected, "{spec} {status}");
        let has_problem = !manifests.problems().is_empty();
        assert_eq!(has_problem, expected.is_empty(), "{spec} {status}");
    }
}

/// Each of these specs is refused because of that field, and the Service is not there.
#[track_caller]
fn refused(rows: &[(&str, &str)]) {
    for (field, spec) in rows {
        let manifests = read_with(&["10.96.0.0/16"], &service("kubia", spec));
        let problems = manifests.problems();
        let expected = format!("test.yaml:5: Service default/kubia: {field}: ");
        assert!(
            problems
                .iter()
                .any(|problem| problem.starts_with(&expected)),
            "{spec}: {problems:#?}"
        );
        assert_eq!(manifests.services(), [""; 0], "{spec}");
    }
}

#[test]
fn ports_that_the_api_server_would_refuse_are_problems_with_field_and_line() {
    refused(&[
        ("spec.ports", "clusterIP: 10.96.0.1"),
        ("spec.ports[0].port", "ports: [{port: 0}]"),
        ("spec.ports[0].port", "ports: [{name: http}]"),
        ("spec.ports[0].port", "ports: [{port: 65536}]"),
        ("spec.ports[0].port", "ports: [{port: http}]"),
        ("spec.ports[0].name", "ports: [{port: 80, name: Http}]"),
        (
            "spec.ports[0].protocol",
            "ports: [{port: 80, protocol: tcp}]",
        ),
        (
            "spec.ports[0].targetPort",
            "ports: [{port: 80, targetPort: 70000}]",
        ),
        (
            "spec.ports[0].targetPort",
            "ports: [{port: 80, targetPort: '8080'}]",
        ),
        (
            "spec.ports[0].nodePort",
            "ports: [{port: 80, nodePort: 30123}]",
        ),
        (
            "spec.ports[1].name",
            "ports: [{port: 80, name: a}, {port: 81}]",
        ),
        (
            "spec.ports[1].name",
            "ports: [{port: 80, name: a}, {port: 81, name: a}]",
        ),
        (
            "spec.ports[1].port",
            "ports: [{port: 80, name: a}, {port: 80, name: b}]",
        ),
        (
            "spec.ports[1].nodePort",
            "type: NodePort, ports: [{port: 80, name: a, nodePort: 30123}, \
             {port: 81, name: b, nodePort: 30123}]",
        ),
    ]);
}

#[test]
fn what_else_the_api_server_would_refuse_is_a_problem_with_field_and_line() {
    refused(&[
        ("spec.type", "type: Nodeport, ports: [{port: 80}]"),
        (
            "spec.clusterIP",
            "clusterIP: 10.96.0.256, ports: [{port: 80}]",
        ),
        (
            "spec.clusterIP",
            "clusterIP: None, type: NodePort, ports: [{port: 80}]",
        ),
        (
            "spec.clusterIPs[0]",
            "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.2], ports: [{port: 80}]",
        ),
        (
            "spec.clusterIPs",
            "ipFamilyPolicy: RequireDualStack, clusterIPs: [10.96.0.1, 10.96.0.2], \
             ports: [{port: 80}]",
        ),
        (
            "spec.ipFamilyPolicy",
            "clusterIPs: [10.96.0.1, 'fd00:96::1'], ports: [{port: 80}]",
        ),
        (
            "spec.ipFamilies[0]",
            "clusterIP: 10.96.0.1, ipFamilies: [IPv6], ports: [{port: 80}]",
        ),
        (
            "spec.ipFamilies[0]",
            "ipFamilies: [v4], ports: [{port: 80}]",
        ),
        (
            "spec.externalIPs[0]",
            "externalIPs: [127.0.0.1], ports: [{port: 80}]",
        ),
        ("spec.externalName", "type: ExternalName"),
        (
            "spec.sessionAffinity",
            "sessionAffinity: Client, ports: [{port: 80}]",
        ),
        (
            "spec.sessionAffinityConfig",
            "sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}, ports: [{port: 80}]",
        ),
        (
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "sessionAffinity: ClientIP, ports: [{port: 80}], \
             sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}",
        ),
        (
            "spec.internalTrafficPolicy",
            "internalTrafficPolicy: local, ports: [{port: 80}]",
        ),
        (
            "spec.loadBalancerSourceRanges",
            "loadBalancerSourceRanges: [10.0.0.0/8], ports: [{port: 80}]",
        ),
        (
            "spec.loadBalancerSourceRanges[0]",
            "type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0], ports: [{port: 80}]",
        ),
        (
            "spec.trafficDistribution",
            "trafficDistribution: PreferFar, ports: [{port: 80}]",
        ),
    ]);
}

#[test]
fn a_slip_of_the_pen_is_named_and_the_rest_serves() {
    let manifests = read(&service(
        "kubia",
        "clusterIP: 10.43.165.39, ports: [{port: 80, targetport: 8080}]",
    ));
    assert_eq!(
        manifests.problems(),
        [
            "test.yaml:5: Service default/kubia: spec.ports[0].targetport: the API has no such \
             field, so it has no effect; check how it is written"
        ]
    );
    assert_eq!(
        manifests.show("kubia"),
        "ClusterIP 10.43.165.39\n<unset> 80/TCP>80"
    );
}

/// The API server would refuse these, kube-proxy serves without them; nobody is harmed by that.
#[test]
fn a_field_without_effect_is_named_and_the_service_serves() {
    for (field, spec) in [
        ("spec.healthCheckNodePort", "healthCheckNodePort: 30500"),
        ("spec.externalTrafficPolicy", "externalTrafficPolicy: Local"),
    ] {
        let spec = format!("clusterIP: 10.43.165.39, ports: [{{port: 80}}], {spec}");
        let manifests = read(&service("kubia", &spec));
        let problems = manifests.problems();
        assert!(
            problems.len() == 1 && problems[0].contains(field),
            "{problems:?}"
        );
        assert_eq!(
            manifests.show("kubia"),
            "ClusterIP 10.43.165.39\n<unset> 80/TCP>80"
        );
    }
}

/// A Service whose spec is on line 5.
fn service(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec: {{{spec}}}\n")
}
