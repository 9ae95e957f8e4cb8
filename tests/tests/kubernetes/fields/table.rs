//! Which fields of a Service does a packet meet, and what becomes of it? One Service for each row.

use std::net::IpAddr;

use lb_tests::manifests::Service;
use lb_tests::topology::{Family, Pair, addresses};
use serde_json::{Value, json};

use super::asked::At::{ClusterIp, External, NodePort};
use super::asked::Outcome::{By, Dropped, OneOf, Refused};
use super::asked::{ANYBODY, Ask, BOTH, HERE, INSIDE, OUTSIDE, PACKETS, THERE, Who};

/// A Service, and who is answered how.
pub(super) struct Row {
    pub(super) service: Service,
    /// In which families it has ClusterIPs.
    pub(super) families: &'static [Family],
    /// Endpoints that no controller writes.
    pub(super) beside: Vec<Value>,
    pub(super) asks: &'static [Ask],
}

/// Seconds that the Service `brief` remembers a client.
pub(super) const BRIEF: u64 = 3;

/// The pod called `here`, on the node under test, and the one called `there`.
pub(super) fn pods() -> [Pair; 2] {
    [addresses::pod(0, 20), addresses::pod(1, 20)]
}

/// A dual-stack Service for the pods of both nodes, with these fields besides; null takes one away.
pub(super) fn service(name: &str, fields: &Value) -> Service {
    let dual = Service::new(name, "kubia")
        .port(80, 8080)
        .with("ipFamilyPolicy", json!("RequireDualStack"));
    let fields = fields.as_object().into_iter().flatten();
    fields.fold(dual, |service, (field, value)| {
        service.with(field, value.clone())
    })
}

/// The Service as the API takes it.
pub(super) fn objects(service: &Service) -> Vec<Value> {
    let mut object = service.object();
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
    vec![object]
}

fn row(name: &str, fields: &Value, asks: &'static [Ask]) -> Row {
    of(service(name, fields), asks)
}

/// As type LoadBalancer, whose provider gave it this address.
fn balanced(name: &str, given: u8, fields: &Value, asks: &'static [Ask]) -> Row {
    let service = service(name, fields);
    of(
        service.load_balancer(&addresses::routed(given).both()),
        asks,
    )
}

fn of(service: Service, asks: &'static [Ask]) -> Row {
    Row {
        service,
        families: &Family::ALL,
        beside: Vec::new(),
        asks,
    }
}

impl Row {
    pub(super) fn name(&self) -> &str {
        self.service.name()
    }

    pub(super) fn objects(&self) -> Vec<Value> {
        let mut all = objects(&self.service);
        all.extend(self.beside.iter().cloned());
        all
    }

    fn only(self, families: &'static [Family]) -> Self {
        Self { families, ..self }
    }

    fn beside(self, beside: Vec<Value>) -> Self {
        Self { beside, ..self }
    }
}

/// Every field that has a say in where a packet goes.
pub(super) fn rows(balancer: Pair) -> Vec<Row> {
    let mut rows = types_and_families();
    rows.extend(ports());
    rows.extend(policies());
    rows.extend(load_balancers(balancer));
    rows.extend(endpoints());
    rows
}

fn types_and_families() -> Vec<Row> {
    vec![
        row(
            "cluster-ip",
            &json!({}),
            &[(ANYBODY, ClusterIp(80), By(BOTH))],
        ),
        row(
            "node-port",
            &json!({"type": "NodePort"}),
            &[
                (ANYBODY, NodePort, By(BOTH)),
                (ANYBODY, ClusterIp(80), By(BOTH)),
            ],
        ),
        row(
            "external-ips",
            &json!({"externalIPs": addresses::routed(11).both()}),
            &[(ANYBODY, External, By(BOTH))],
        ),
        row(
            "single-stack",
            &json!({"ipFamilyPolicy": "SingleStack"}),
            &[(ANYBODY, ClusterIp(80), By(BOTH))],
        )
        .only(&[Family::V4]),
        row(
            "ipv6-alone",
            &json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"], "type": "NodePort"}),
            &[
                (ANYBODY, ClusterIp(80), By(BOTH)),
                (ANYBODY, NodePort, By(BOTH)),
            ],
        )
        .only(&[Family::V6]),
        row(
            "prefer-dual-stack",
            &json!({"ipFamilyPolicy": "PreferDualStack"}),
            &[(ANYBODY, ClusterIp(80), By(BOTH))],
        ),
        row("headless", &json!({"clusterIP": "None"}), &[]).only(&[]),
        of(external_name("external-name"), &[]).only(&[]),
    ]
}

pub(super) fn external_name(name: &str) -> Service {
    let fields = json!({
        "type": "ExternalName",
        "externalName": "kubernetes.io",
        "ipFamilyPolicy": null,
    });
    service(name, &fields)
}

fn ports() -> Vec<Row> {
    vec![
        row(
            "target-ports",
            &json!({"ports": [
                {"name": "by-name", "port": 80, "targetPort": "web"},
                {"name": "by-number", "port": 81, "targetPort": 8090},
                {"name": "the-same", "port": 8080},
            ]}),
            &[
                (ANYBODY, ClusterIp(80), By(&["here", "there-8090"])),
                (ANYBODY, ClusterIp(81), By(&["here-8090", "there-8090"])),
                (ANYBODY, ClusterIp(8080), By(BOTH)),
                (ANYBODY, ClusterIp(8090), Refused),
            ],
        ),
        row(
            "sctp",
            &json!({"ports": [{"name": "sctp", "port": 80, "targetPort": 8080, "protocol": "SCTP"}]}),
            &[(PACKETS, ClusterIp(80), By(BOTH))],
        ),
    ]
}

fn policies() -> Vec<Row> {
    vec![
        row(
            "affinity",
            &json!({"type": "NodePort", "sessionAffinity": "ClientIP"}),
            &[
                (ANYBODY, ClusterIp(80), OneOf(BOTH)),
                (ANYBODY, NodePort, OneOf(BOTH)),
            ],
        ),
        row(
            "brief",
            &json!({
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": BRIEF}},
            }),
            &[(ANYBODY, ClusterIp(80), OneOf(BOTH))],
        ),
        balanced(
            "external-local",
            21,
            &json!({"externalTrafficPolicy": "Local"}),
            &[
                (INSIDE, External, By(BOTH)),
                (INSIDE, NodePort, By(BOTH)),
                (OUTSIDE, External, By(HERE)),
                (OUTSIDE, NodePort, By(HERE)),
                (OUTSIDE, ClusterIp(80), By(BOTH)),
            ],
        ),
        balanced(
            "external-local-elsewhere",
            22,
            &json!({"externalTrafficPolicy": "Local", "selector": {"pod": "there"}}),
            &[
                (INSIDE, External, By(THERE)),
                (INSIDE, NodePort, By(THERE)),
                (OUTSIDE, ClusterIp(80), By(THERE)),
                (OUTSIDE, External, Dropped),
                (OUTSIDE, NodePort, Dropped),
            ],
        ),
        row(
            "external-ips-local",
            &json!({
                "externalIPs": addresses::routed(12).both(),
                "externalTrafficPolicy": "Local",
            }),
            &[(INSIDE, External, By(BOTH)), (OUTSIDE, External, By(HERE))],
        ),
        row(
            "internal-local",
            &json!({"type": "NodePort", "internalTrafficPolicy": "Local"}),
            &[
                (ANYBODY, ClusterIp(80), By(HERE)),
                (ANYBODY, NodePort, By(BOTH)),
            ],
        ),
        row(
            "internal-local-elsewhere",
            &json!({
                "type": "NodePort",
                "internalTrafficPolicy": "Local",
                "selector": {"pod": "there"},
            }),
            &[
                (ANYBODY, NodePort, By(THERE)),
                (INSIDE, ClusterIp(80), Dropped),
            ],
        ),
    ]
}

fn load_balancers(balancer: Pair) -> Vec<Row> {
    let proxied = balancer
        .both()
        .map(|ip| json!({"ip": ip, "ipMode": "Proxy"}));
    vec![
        balanced(
            "source-ranges",
            31,
            &json!({"loadBalancerSourceRanges": only_the_first_outside()}),
            &[
                (INSIDE, ClusterIp(80), By(BOTH)),
                (OUTSIDE, External, By(BOTH)),
                (&[Who::Stranger], NodePort, By(BOTH)),
                (&[Who::Stranger, Who::Pod, Who::Node], External, Dropped),
            ],
        ),
        of(
            service("proxied", &json!({})).ingress(&proxied),
            &[
                (ANYBODY, NodePort, By(BOTH)),
                (INSIDE, External, By(&["balancer"])),
            ],
        ),
        row(
            "asked-for",
            &json!({"type": "LoadBalancer", "loadBalancerIP": balancer.v4}),
            &[
                (ANYBODY, NodePort, By(BOTH)),
                (INSIDE, External, By(&["balancer"])),
            ],
        ),
        balanced(
            "of-a-class",
            32,
            &json!({"loadBalancerClass": "example.org/any"}),
            &[(ANYBODY, External, By(BOTH)), (ANYBODY, NodePort, By(BOTH))],
        ),
        balanced(
            "without-node-ports",
            33,
            &json!({"allocateLoadBalancerNodePorts": false}),
            &[(ANYBODY, External, By(BOTH)), (ANYBODY, NodePort, Refused)],
        ),
    ]
}

fn only_the_first_outside() -> [String; 2] {
    let Pair { v4, v6 } = addresses::outside(*addresses::OUTSIDE_HOSTS.start());
    [format!("{v4}/32"), format!("{v6}/128")]
}

fn endpoints() -> Vec<Row> {
    let slow = json!({"app": "slow"});
    let distributed = |how| json!({"type": "NodePort", "trafficDistribution": how});
    vec![
        row(
            "unready",
            &json!({"selector": slow}),
            &[(ANYBODY, ClusterIp(80), Refused)],
        ),
        row(
            "unready-published",
            &json!({"selector": slow, "publishNotReadyAddresses": true}),
            &[(ANYBODY, ClusterIp(80), By(&["slow"]))],
        ),
        row(
            "same-node",
            &distributed("PreferSameNode"),
            &[
                (ANYBODY, ClusterIp(80), By(HERE)),
                (ANYBODY, NodePort, By(HERE)),
            ],
        ),
        row(
            "same-node-if-any",
            &json!({"trafficDistribution": "PreferSameNode", "selector": {"pod": "there"}}),
            &[(ANYBODY, ClusterIp(80), By(THERE))],
        ),
        row(
            "same-zone",
            &distributed("PreferSameZone"),
            &[
                (ANYBODY, ClusterIp(80), By(HERE)),
                (ANYBODY, NodePort, By(HERE)),
            ],
        ),
        row(
            "hints",
            &json!({"selector": null}),
            &[(ANYBODY, ClusterIp(80), By(THERE))],
        )
        .beside(Family::ALL.map(hinted).to_vec()),
        row(
            "mirrored",
            &json!({"selector": null}),
            &[(ANYBODY, ClusterIp(80), By(BOTH))],
        )
        .beside(vec![legacy()]),
    ]
}

fn pod_ports() -> Value {
    json!([
        {"name": "tcp-80", "port": 8080, "protocol": "TCP"},
        {"name": "udp-80", "port": 8080, "protocol": "UDP"},
    ])
}

/// A slice that gives each node the pod of the other.
fn hinted(family: Family) -> Value {
    let [here, there] = pods().map(|pod| pod.of(family));
    let endpoint = |address: IpAddr, on: &str, hint: &str| {
        json!({
            "addresses": [address],
            "nodeName": on,
            "hints": {"forNodes": [{"name": hint}]},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("hints-{family}").to_lowercase(),
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "hints"},
        },
        "addressType": family.to_string(),
        "ports": pod_ports(),
        "endpoints": [endpoint(here, "node-a", "node-b"), endpoint(there, "node-b", "node-a")],
    })
}

/// Endpoints as they were before there were slices: a controller mirrors them.
fn legacy() -> Value {
    let nodes = pods().into_iter().zip(["node-a", "node-b"]);
    let addresses = nodes.flat_map(|(pod, node)| {
        let ips = pod.both();
        ips.map(|ip| json!({"ip": ip, "nodeName": node}))
    });
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "mirrored", "namespace": "default"},
        "subsets": [{"addresses": addresses.collect::<Vec<_>>(), "ports": pod_ports()}],
    })
}
