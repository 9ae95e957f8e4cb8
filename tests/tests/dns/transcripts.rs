//! What does dig print? The worked names of `examples/`, and all that DNS for Services has; the
//! transcripts are in `tests/dns/`, and `LB_UPDATE_GOLDEN=1` writes them anew.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lb_tests::dig::dig;
use lb_tests::lb::Lb;
use lb_tests::manifests::Manifests;
use lb_tests::topology::{Cluster, on};
use serde_json::{Value, json};

use crate::upstream::Upstream;

/// On the node's loopback.
const LISTEN: &str = "127.0.0.1:5300";
/// Who knows the other names.
const UPSTREAM: &str = "127.0.0.1:5301";
/// So many endpoints do not fit into a datagram.
const MANY: u8 = 40;

/// Each transcript: its file, and what dig is asked.
const TRANSCRIPTS: [(&str, &[&str]); 12] = [
    ("cluster-ip", &["kubia.default.svc.cluster.local"]),
    (
        "cluster-ip-by-tcp",
        &["+tcp", "kubia.default.svc.cluster.local"],
    ),
    (
        "another-namespace",
        &["backend-service.example.svc.cluster.local"],
    ),
    (
        "external-name",
        &["backend-service.default.svc.cluster.local"],
    ),
    ("chain", &["first.default.svc.cluster.local"]),
    ("headless", &["kubia-headless.default.svc.cluster.local"]),
    (
        "srv",
        &[
            "_http._tcp.kubia-two-ports.default.svc.cluster.local",
            "SRV",
            "_https._tcp.kubia-two-ports.default.svc.cluster.local",
            "SRV",
        ],
    ),
    ("ptr", &["-x", "10.43.165.39", "-x", "10.42.1.9"]),
    ("no-such-name", &["nobody.default.svc.cluster.local"]),
    (
        "truncated",
        &["+ignore", "+noedns", "many.default.svc.cluster.local"],
    ),
    (
        "truncated-then-tcp",
        &["+noedns", "many.default.svc.cluster.local"],
    ),
    (
        "elsewhere",
        &["www.example.com", "alias.default.svc.cluster.local"],
    ),
];

#[test]
fn dig_sees_what_its_transcripts_say() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        for example in [
            "backend-service/service.yaml",
            "kubia/service.yaml",
            "kubia/two-ports.yaml",
            "kubia/pods.yaml",
            "headless/service.yaml",
            "external-name/service.yaml",
        ] {
            manifests.copy_example(example)?;
        }
        manifests.write("more.yaml", &more())?;
        let node = cluster.here().place();
        let _upstream = Upstream::start(node, UPSTREAM.parse()?, Ipv4Addr::new(192, 0, 2, 80))?;
        let mut lb = Lb::new(cluster.here(), &manifests, "tc")?
            .with("LB_DNS_LISTEN", LISTEN)
            .with("LB_DNS_UPSTREAM", UPSTREAM);
        lb.start()?;
        let server: SocketAddr = LISTEN.parse()?;
        let mut differences = String::new();
        for (name, words) in TRANSCRIPTS {
            let printed = dig(node.netns(), server, words)?;
            let transcript = format!("$ dig {}\n{}", words.join(" "), tidy(&printed));
            if let Some(difference) = compare(name, &transcript)? {
                writeln!(differences, "{difference}")?;
            }
        }
        ensure!(differences.is_empty(), "{differences}");
        lb.uninstall()
    });
}

/// Columns one space apart, and none of dig's remarks about `.local`: they differ by its version.
fn tidy(printed: &str) -> String {
    let lines = printed.trim().lines();
    let lines = lines.filter(|line| !line.contains("Multicast DNS") && !line.contains("mDNS"));
    lines
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.join(" ") + "\n"
        })
        .collect()
}

/// A chain of names, a name that leads elsewhere, and a headless Service with many endpoints.
fn more() -> Vec<Value> {
    let service = |name: &str, spec: Value| {
        let metadata = json!({"name": name, "namespace": "default"});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    };
    let alias = |name: &str, target: &str| {
        service(
            name,
            json!({"type": "ExternalName", "externalName": target}),
        )
    };
    let endpoints = (1..=MANY).map(
        |host| json!({"addresses": [format!("10.42.200.{host}")], "conditions": {"ready": true}}),
    );
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "many-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "many"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 80}],
        "endpoints": endpoints.collect::<Vec<_>>(),
    });
    vec![
        alias("first", "second.default.svc.cluster.local"),
        alias("second", "kubia.default.svc.cluster.local"),
        alias("alias", "www.example.com"),
        service(
            "many",
            json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        ),
        slice,
    ]
}

/// Compares with the file, or writes it anew.
fn compare(name: &str, transcript: &str) -> Result<Option<String>> {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dns"));
    let file = directory.join(format!("{name}.txt"));
    if std::env::var_os("LB_UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, transcript).with_context(|| file.display().to_string())?;
        return Ok(None);
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    Ok((expected != transcript).then(|| {
        format!(
            "{}: dig printed (LB_UPDATE_GOLDEN=1 writes it)\n{transcript}instead of\n{expected}",
            file.display()
        )
    }))
}
