//! Who is told that this node serves, and when is that taken back? Over real HTTP, from outside.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::http::{Answer, get};
use lb_tests::lb::Lb;
use lb_tests::manifests::{Health, Manifests, Service};
use lb_tests::peer::{Dial, Transport};
use lb_tests::topology::{Cluster, Family, Node, Pair, on};
use lb_tests::wait;
use serde_json::{Value, json};

/// A change takes far less to arrive.
const SOON: Duration = Duration::from_secs(5);
/// An address that was taken is tried again every five seconds.
const AGAIN: Duration = Duration::from_secs(15);
/// kube-proxy's ports.
const HEALTHZ: u16 = 10_256;
const METRICS: &str = "127.0.0.1:10249";

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

/// A load balancer's Service that is served by endpoints of the node alone.
fn checked(port: u16) -> Value {
    let lb = Pair::new("198.51.100.80", "2001:db8:80::80");
    Service::new("kubia", "kubia")
        .at(&kubia().both())
        .port(80, 8080)
        .load_balancer(&lb.both())
        .with("externalTrafficPolicy", json!("Local"))
        .with("healthCheckNodePort", json!(port))
        .object()
}

fn node_object(node: &Node, taints: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name()},
        "spec": {"taints": taints},
    })
}

fn at(node: &Node, family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(node.place().address(family), port)
}

fn local_endpoints(answer: &Answer) -> Result<Value> {
    Ok(answer.json()?["localEndpoints"].clone())
}

#[test]
fn a_health_check_port_follows_the_ready_endpoints_of_the_node() {
    on(Cluster::routed_veth, |cluster| {
        let here = cluster.here();
        let manifests = Manifests::new()?;
        manifests.write("kubia.yaml", &[checked(30_062)])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(here, "kubia-here")?;
        app.pod(cluster.elsewhere(), "kubia-there")?;
        let lb = Lb::started(here, &manifests, "tc,socket")?;
        for family in Family::ALL {
            let answer = get(cluster.outside(), at(here, family, 30_062), "/healthz")?;
            ensure!(answer.status == 200, "{answer:?}");
            ensure!(answer.header("content-type") == Some("application/json"));
            let weight = answer.header("x-load-balancing-endpoint-weight");
            ensure!(weight == Some("1"), "{answer:?}");
            let expected = json!({
                "service": {"namespace": "default", "name": "kubia"},
                "localEndpoints": 1,
                "serviceProxyHealthy": true,
            });
            ensure!(answer.json()? == expected, "{answer:?}");
        }

        let server = at(here, Family::V4, 30_062);
        app.set_health("kubia-here", Health::Terminating)?;
        wait::until("a terminating endpoint does not count", SOON, || {
            let answer = get(cluster.outside(), server, "/")?;
            Ok(answer.status == 503 && local_endpoints(&answer)? == 0)
        })?;

        manifests.write("kubia.yaml", &[checked(30_063)])?;
        let moved = at(here, Family::V4, 30_063);
        wait::until("the Service's new port is answered", SOON, || {
            Ok(get(cluster.outside(), moved, "/").is_ok())
        })?;
        ensure!(
            get(cluster.outside(), server, "/").is_err(),
            "its old port is still answered"
        );
        lb.uninstall()
    });
}

#[test]
fn a_node_that_is_going_to_be_deleted_fails_healthz_and_not_livez() {
    on(Cluster::routed_veth, |cluster| {
        let here = cluster.here();
        let manifests = Manifests::new()?;
        manifests.write("node.yaml", &[node_object(here, &json!([]))])?;
        let lb = Lb::started(here, &manifests, "tc")?;
        let server = at(here, Family::V4, HEALTHZ);
        for path in ["/healthz", "/livez", "/readyz"] {
            let answer = get(cluster.outside(), server, path)?;
            ensure!(answer.status == 200, "{path}: {answer:?}");
        }
        let taint = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
        manifests.write("node.yaml", &[node_object(here, &taint)])?;
        wait::until("healthz fails", SOON, || {
            let answer = get(cluster.outside(), server, "/healthz")?;
            Ok(answer.status == 503 && answer.json()?["nodeEligible"] == false)
        })?;
        ensure!(get(cluster.outside(), server, "/livez")?.status == 200);
        let metrics = get(lb.node(), METRICS.parse()?, "/metrics")?;
        let failed = metrics.metric("kubeproxy_proxy_healthz_total{code=\"503\"}");
        ensure!(failed.is_some_and(|count| count >= 1.0), "{failed:?}");
        manifests.write("node.yaml", &[node_object(here, &json!([]))])?;
        wait::until("healthz is well again", SOON, || {
            Ok(get(cluster.outside(), server, "/healthz")?.status == 200)
        })?;
        lb.uninstall()
    });
}

#[test]
fn metrics_tell_what_the_programs_and_the_daemon_count() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        manifests.write("kubia.yaml", &[checked(30_062)])?;
        let app = App::new(&manifests, "kubia", 8080);
        let client = app.pod(cluster.here(), "kubia-here")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let ask = || get(lb.node(), METRICS.parse()?, "/metrics");
        let refused = "lb_drops_total{hook=\"tc\",reason=\"undefined-port\"}";
        let before = ask()?;
        ensure!(
            before.metric(refused) == Some(0.0),
            "{refused}: {}",
            before.body
        );
        let undefined = Dial::new(Transport::Tcp, kubia().port(Family::V4, 81));
        ensure!(undefined.ask(&client).is_err(), "a port that is none");
        let served = Dial::new(Transport::Tcp, kubia().port(Family::V4, 80));
        served.ask(&client).context("kubia")?;
        let after = ask()?;
        for (metric, expected) in [
            (refused, 1.0),
            ("lb_ready", 1.0),
            ("lb_services", 1.0),
            ("lb_problems{kind=\"Service\"}", 0.0),
            ("lb_map_elements{map=\"services\"}", 2.0),
            ("lb_map_max_elements{map=\"slots\"}", 524_288.0),
            ("lb_flow_map_elements{map=\"flows4\"}", 2.0),
            (
                "lb_service_connections_total{namespace=\"default\",service=\"kubia\",port=\"80\",protocol=\"TCP\"}",
                1.0,
            ),
            ("lb_map_writes_total{result=\"failed\"}", 0.0),
            ("kubeproxy_sync_proxy_rules_service_changes_total", 1.0),
            ("kubeproxy_sync_proxy_rules_service_changes_pending", 0.0),
        ] {
            let value = after.metric(metric);
            ensure!(
                value == Some(expected),
                "{metric}: {value:?}\n{}",
                after.body
            );
        }
        for more in [
            "lb_map_writes_total{result=\"done\"}",
            "lb_service_bytes_total{namespace=\"default\",service=\"kubia\",port=\"80\",protocol=\"TCP\",direction=\"out\"}",
            "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}",
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv6\"}",
            "process_resident_memory_bytes",
        ] {
            let value = after.metric(more);
            ensure!(value.is_some_and(|value| value > 0.0), "{more}: {value:?}");
        }
        lb.uninstall()
    });
}

#[test]
fn an_address_that_somebody_has_is_a_problem_until_it_is_free() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let place = cluster.here().place();
        let holder = place
            .netns()
            .run(|| Ok(TcpListener::bind(("0.0.0.0", HEALTHZ))?))?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let problems =
            || -> Result<String> { Ok(lb.state()?.context("no state")?["problems"].to_string()) };
        wait::until("the problem is told", SOON, || {
            Ok(problems()?.contains("--healthz-bind-address 0.0.0.0:10256"))
        })?;
        drop(holder);
        wait::until("the problem is over", AGAIN, || {
            Ok(!problems()?.contains("--healthz-bind-address"))
        })?;
        let server = at(cluster.here(), Family::V4, HEALTHZ);
        ensure!(get(cluster.outside(), server, "/healthz")?.status == 200);
        lb.uninstall()
    });
}
