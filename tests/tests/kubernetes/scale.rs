//! 1,000 Services and 10,000 endpoints at once.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Failure, Server};
use lb_tests::topology::{Family, Node, POD_LINK};
use lb_tests::wait;
use serde_json::{Value, json};

use super::{await_answers, in_cluster, kubia, tcp};

const SERVICES: u32 = 1_000;
const ENDPOINTS: u32 = 10;
/// One of the Services, whose endpoints somebody has.
const SERVED: u32 = 500;
/// Last part of the address of the pod that has them.
const POD: u8 = 99;
/// Far more than it takes, on a machine that does other things besides.
const PATIENCE: Duration = Duration::from_mins(4);

fn cluster_ip(n: u32) -> String {
    let (high, low) = (n / 250, n % 250 + 1);
    format!("10.43.{}.{low}", 100 + high)
}

fn endpoint(n: u32, i: u32) -> String {
    let number = n * ENDPOINTS + i;
    format!("10.42.{}.{}", 100 + number / 250, number % 250 + 1)
}

fn service(n: u32) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": format!("many-{n}"), "namespace": "default"},
        "spec": {
            "clusterIP": cluster_ip(n),
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    })
}

fn slice(n: u32) -> Value {
    let endpoints =
        (0..ENDPOINTS).map(|i| json!({"addresses": [endpoint(n, i)], "nodeName": "node-b"}));
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("many-{n}-x"),
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": format!("many-{n}")},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn count(lb: &Lb, what: &str) -> Result<usize> {
    let text = lb.output(&["get", what, "-A", "-o", "json"])?;
    let value: Value = serde_json::from_str(&text)?;
    let list = value.as_array().or_else(|| value["items"].as_array());
    Ok(list.context("a list")?.len())
}

/// A pod that has the addresses of all endpoints of one of the Services.
fn serve_one(node: &Node) -> Result<Server> {
    let pod = node.pod_at(POD, "one-of-many")?;
    for address in (0..ENDPOINTS).map(|i| endpoint(SERVED, i)) {
        pod.netns().ip(&format!("addr add {address}/32 dev eth0"))?;
        let link = format!("{POD_LINK}{POD}");
        let route = format!("route add {address}/32 dev {link}");
        node.place().netns().ip(&route)?;
    }
    Server::start(&pod, pod.name(), 8080)
}

/// They come while a Service is in use, are there after a restart, and go again.
#[test]
fn a_thousand_services_with_ten_thousand_endpoints_come_at_once() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        let first = Service::new("kubia", "kubia")
            .at(&kubia().both())
            .port(80, 8080);
        manifests.write("kubia.yaml", &[first.object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia")?;
        let client = cluster.here().pod("client")?;
        let mut lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let dial = tcp(kubia().port(Family::V4, 80));
        await_answers(&client, dial, &["kubia"])?;
        let _server = serve_one(cluster.here())?;
        let one = tcp(SocketAddr::new(cluster_ip(SERVED).parse()?, 80));
        let counts = |lb: &Lb| Ok::<_, Error>([count(lb, "backends")?, count(lb, "frontends")?]);
        let before = counts(&lb)?;

        let many: Vec<_> = (0..SERVICES).flat_map(|n| [service(n), slice(n)]).collect();
        let written = Instant::now();
        manifests.write("many.yaml", &many)?;
        let wrote = written.elapsed();
        let wanted = (SERVICES * ENDPOINTS) as usize;
        wait::until("every endpoint is in the maps", PATIENCE, || {
            Ok(count(&lb, "backends")? >= wanted)
        })?;
        println!(
            "{SERVICES} Services with {wanted} endpoints: written to the API within {wrote:.1?}, in the maps {:.1?} later",
            written.elapsed().saturating_sub(wrote)
        );
        ensure!(count(&lb, "frontends")? >= SERVICES as usize);
        await_answers(&client, one, &["one-of-many"])?;

        lb.kill()?;
        let started = Instant::now();
        lb.start()?;
        println!(
            "a new daemon has read all of it within {:.1?}",
            started.elapsed()
        );
        await_answers(&client, dial, &["kubia"])?;
        await_answers(&client, one, &["one-of-many"])?;
        ensure!(count(&lb, "backends")? >= wanted);

        let deleted = Instant::now();
        manifests.write("many.yaml", &[])?;
        wait::until("none of them is in the maps", PATIENCE, || {
            Ok(counts(&lb)? == before)
        })?;
        println!("they are gone {:.1?} after", deleted.elapsed());
        ensure!(one.ask(&client) == Err(Failure::TimedOut), "still served");
        await_answers(&client, dial, &["kubia"])?;
        lb.uninstall()
    });
}
