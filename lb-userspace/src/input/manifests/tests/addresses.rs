//! Which addresses and node ports do Services get that ask for none, and who may keep those that
//! several ask for?

use super::{Manifests, read, read_with};
use crate::input::Allocations;
use crate::model::Change;

const RANGES: [&str; 2] = ["10.96.0.0/16", "fd00:96::/112"];

/// A Service of a type with one port.
fn service(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{ports: [{{port: 80}}], {spec}}}\n"
    )
}

#[test]
fn families_follow_policy_and_ranges() {
    const V4: &[&str] = &["10.96.0.0/16"];
    const V6: &[&str] = &["fd00:96::/112"];
    const BOTH: &[&str] = &["10.96.0.0/16", "fd00:96::/112"];
    const TURNED: &[&str] = &["fd00:96::/112", "10.96.0.0/16"];
    for (ranges, spec, expected) in [
        (V4, "", "4"),
        (V6, "", "6"),
        (BOTH, "", "4"),
        (TURNED, "", "6"),
        (BOTH, "ipFamilies: [IPv6]", "6"),
        (BOTH, "ipFamilyPolicy: PreferDualStack", "46"),
        (TURNED, "ipFamilyPolicy: PreferDualStack", "64"),
        (V4, "ipFamilyPolicy: PreferDualStack", "4"),
        (BOTH, "ipFamilyPolicy: RequireDualStack", "46"),
        (V4, "ipFamilyPolicy: RequireDualStack", "4 spec.clusterIP"),
        (V4, "ipFamilies: [IPv6]", " spec.clusterIP"),
        (
            BOTH,
            "ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6, IPv4]",
            "64",
        ),
        (
            BOTH,
            "ipFamilyPolicy: PreferDualStack, clusterIP: 'fd00:96::5'",
            "64",
        ),
        // What is written need not be in any range.
        (&[], "clusterIP: 192.168.7.7", "4"),
        (&[], "", " spec.clusterIP"),
    ] {
        let manifests = read_with(ranges, &service("kubia", spec));
        let addresses = manifests.service("kubia").cluster_ips.iter();
        let mut found: String = addresses
            .map(|address| if address.is_ipv4() { '4' } else { '6' })
            .collect();
        for problem in manifests.problems() {
            let field = problem.split(": ").nth(2).unwrap();
            found.extend([" ", field]);
        }
        assert_eq!(found, expected, "{ranges:?} {spec}");
    }
}

#[test]
fn service_cidrs_are_ranges_as_well() {
    let mut manifests = read(&service("kubia", ""));
    assert_eq!(manifests.problems().len(), 1);
    manifests.write(
        "cidr.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: kubernetes}\n\
         spec: {cidrs: [10.43.0.0/16]}\n",
    );
    assert_eq!(manifests.problems(), [""; 0]);
    let given = manifests.service("kubia").cluster_ips.clone();
    assert!(given[0].to_string().starts_with("10.43."));
    // A range that goes takes no address away.
    manifests.remove("cidr.yaml");
    assert_eq!(manifests.service("kubia").cluster_ips, given);
}

#[test]
fn node_ports_are_given_where_they_are_missing() {
    for (spec, count) in [
        ("type: ClusterIP", 0),
        ("type: NodePort", 1),
        ("type: LoadBalancer, loadBalancerIP: 192.0.2.1", 1),
        (
            "type: LoadBalancer, loadBalancerIP: 192.0.2.1, allocateLoadBalancerNodePorts: false",
            0,
        ),
    ] {
        let manifests = read_with(&RANGES, &service("kubia", spec));
        assert_eq!(manifests.problems(), [""; 0], "{spec}");
        let port = manifests.service("kubia").ports[0].node_port;
        assert_eq!(port.iter().count(), count, "{spec}");
        assert!(port.is_none_or(|port| (30_000..=32_767).contains(&port)));
    }
}

#[test]
fn ports_that_differ_by_their_protocol_only_share_a_node_port() {
    for (written, expected) in [("", None), (", nodePort: 30053", Some(30_053))] {
        let manifests = read_with(
            &RANGES,
            &format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: dns}}\nspec:\n  type: NodePort\n  \
                 ports: [{{name: a, port: 53, protocol: UDP}}, {{name: b, port: 53{written}}}, \
                 {{name: c, port: 9153}}]\n"
            ),
        );
        let ports = &manifests.service("dns").ports;
        assert_eq!(ports[0].node_port, ports[1].node_port);
        assert_ne!(ports[0].node_port, ports[2].node_port);
        assert!(expected.is_none() || ports[0].node_port == expected);
    }
}

#[test]
fn a_health_check_gets_a_port_of_its_own() {
    let manifests = read_with(
        &RANGES,
        &service(
            "kubia",
            "type: LoadBalancer, loadBalancerIP: 192.0.2.1, externalTrafficPolicy: Local",
        ),
    );
    let service = manifests.service("kubia");
    assert!(service.health_check_node_port.is_some());
    assert_ne!(service.health_check_node_port, service.ports[0].node_port);
}

#[test]
fn an_address_asked_for_twice_belongs_to_the_first_by_name() {
    let b = service("b", "type: NodePort, clusterIP: 10.96.0.7");
    let a = service("a", "type: NodePort, clusterIP: 10.96.0.7");
    for order in [["1.yaml", "2.yaml"], ["2.yaml", "1.yaml"]] {
        let mut manifests = Manifests::new(&RANGES, Allocations::default());
        for file in order {
            manifests.write(file, if file == "1.yaml" { &b } else { &a });
        }
        assert_eq!(manifests.service("a").cluster_ips.len(), 1);
        assert_eq!(manifests.service("b").cluster_ips.len(), 0);
        assert_eq!(
            manifests.problems(),
            [
                "1.yaml:5: Service default/b: spec.clusterIP: 10.96.0.7 belongs to Service \
                 default/a and is not served for this one; write another one"
            ]
        );
        // Once it is free, the other one has it.
        manifests.remove("2.yaml");
        assert_eq!(manifests.service("b").cluster_ips.len(), 1);
        assert_eq!(manifests.problems(), [""; 0]);
    }
}

#[test]
fn a_node_port_asked_for_twice_belongs_to_the_first_by_name() {
    let port = |name: &str, protocol: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
             type: NodePort\n  ports:\n  - {{port: 80, nodePort: 30123, protocol: {protocol}}}\n"
        )
    };
    let manifests = read_with(
        &RANGES,
        &(port("a", "TCP") + &port("b", "TCP") + &port("c", "UDP")),
    );
    let node_port = |name| manifests.service(name).ports[0].node_port;
    assert_eq!(
        ["a", "b", "c"].map(node_port),
        [Some(30_123), None, Some(30_123)]
    );
    let problems = manifests.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with(
        "test.yaml:16: Service default/b: spec.ports[0].nodePort: TCP 30123 belongs to Service \
         default/a "
    ));
}

#[test]
fn who_asks_by_name_displaces_who_was_given() {
    let mut manifests = Manifests::new(&RANGES, Allocations::default());
    manifests.write("a.yaml", &service("kubia", "type: NodePort"));
    let before = manifests.service("kubia").clone();
    let (address, port) = (before.cluster_ips[0], before.ports[0].node_port.unwrap());
    let changes = manifests.write(
        "b.yaml",
        &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: explicit}}\nspec: {{type: NodePort, \
             clusterIP: {address}, ports: [{{port: 80, nodePort: {port}}}]}}\n"
        ),
    );
    assert_eq!(changes.len(), 2);
    let after = manifests.service("kubia");
    assert_ne!(after.cluster_ips, before.cluster_ips);
    assert_ne!(after.ports[0].node_port, before.ports[0].node_port);
    assert_eq!(manifests.service("explicit").cluster_ips, [address]);
    assert_eq!(manifests.problems(), [""; 0]);
}

#[test]
fn what_was_given_stays_over_a_restart_and_beside_others() {
    // So small a range that places collide.
    let ranges = ["10.96.0.0/29"];
    let text: String = ["a", "b", "c", "d", "e"]
        .map(|name| service(name, ""))
        .concat();
    let mut first = Manifests::new(&ranges, Allocations::default());
    first.write("1.yaml", &text);
    let before: Vec<_> = first
        .world
        .services()
        .map(|(_, service)| service.clone())
        .collect();
    let allocations = first.objects.allocations().clone();

    let mut second = Manifests::new(&ranges, allocations);
    second.write("0.yaml", &service("aa", ""));
    second.write("1.yaml", &text);
    second.objects.forget_absent();
    for (service, name) in before.iter().zip(["a", "b", "c", "d", "e"]) {
        assert_eq!(second.service(name), &**service, "{name}");
    }
    // Six places, six Services; the next one waits until one goes.
    let full = second.write("2.yaml", &service("z", ""));
    assert_eq!(full.len(), 1);
    assert_eq!(second.problems().len(), 1);
    let freed = second.remove("0.yaml");
    assert_eq!(freed.len(), 2, "{freed:?}");
    assert_eq!(second.problems(), [""; 0]);
    assert_eq!(second.service("z").cluster_ips.len(), 1);
}

#[test]
fn a_change_of_one_service_is_a_change_of_one_service() {
    let mut manifests = Manifests::new(&RANGES, Allocations::default());
    let text: String = (0..50)
        .map(|i| service(&format!("service-{i}"), ""))
        .collect();
    assert_eq!(manifests.write("a.yaml", &text).len(), 50);
    // Everything moves down a line, and one becomes another.
    let text = format!("# a line more\n{text}").replace(
        "{name: service-7}\nspec: {",
        "{name: service-7}\nspec: {sessionAffinity: ClientIP, ",
    );
    let changes = manifests.write("a.yaml", &text);
    assert!(
        matches!(&changes[..], [Change::Service(name, Some(_))] if name.name == "service-7"),
        "{changes:?}"
    );
    assert_eq!(manifests.write("a.yaml", &text), []);
}
