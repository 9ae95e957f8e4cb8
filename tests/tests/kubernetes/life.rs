//! The API server comes and goes, and forgets: forwarding does not notice, and catches up.

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Health, Manifests, Service};
use lb_tests::peer::{Load, Server, Stream};
use lb_tests::topology::{Family, Pair};
use serde_json::json;

use super::{SOON, await_answers, await_problems, in_cluster, kubia, tcp, wait};

/// New connections a second meanwhile.
const RATE: u32 = 20;

fn services() -> [serde_json::Value; 2] {
    let second = Pair::new("10.43.0.7", "fd00:10:43::7");
    [
        Service::new("kubia", "kubia")
            .at(&kubia().both())
            .port(80, 8080)
            .object(),
        Service::new("second", "kubia")
            .at(&second.both())
            .port(80, 8080)
            .object(),
    ]
}

/// What the maps hold of frontends and backends, with the numbers of their elements.
fn tables(lb: &Lb) -> Result<String> {
    let frontends = lb.output(&["get", "frontends", "-A", "-o", "json"])?;
    let backends = lb.output(&["get", "backends", "-A", "-o", "json"])?;
    Ok(frontends + &backends)
}

/// The API server ends, `lb` is started anew without it, and the API server returns with all watches
/// expired. Connections of all ages work all the time.
#[test]
fn an_outage_of_the_api_server_is_not_noticed_by_connections() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        manifests.write("kubia.yaml", &services())?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-here")?;
        app.pod(cluster.elsewhere(), "kubia-there")?;
        let client = cluster.here().pod("client")?;
        let mut lb = Lb::started(cluster.here(), &manifests, "tc,socket")?;
        let dial = tcp(kubia().port(Family::V4, 80));
        let both = ["kubia-here", "kubia-there"];
        await_answers(&client, dial, &both)?;
        let before = tables(&lb)?;
        let stream = Stream::start(&client, kubia().port(Family::V4, 80), 1);
        let load = Load::start(&client, dial, RATE);

        control.stop_server()?;
        await_problems(&lb, "the outage is told", |problems| {
            problems
                .iter()
                .any(|problem| problem["object"]["kind"] == "APIServer")
        })?;
        await_answers(&client, dial, &both)?;
        // A new daemon takes over what is there, and serves pods that come now.
        lb.kill()?;
        lb.start()?;
        let late = cluster.here().pod("late-client")?;
        await_answers(&late, dial, &both)?;
        let shown = lb.output(&["get", "services", "-A", "-o", "wide"])?;
        ensure!(shown.contains("kubia"), "{shown}");
        ensure!(
            tables(&lb)? == before,
            "the tables changed without a word of the API server"
        );

        control.start_server()?;
        await_problems(&lb, "the end of the outage is told", <[_]>::is_empty)?;
        ensure!(
            tables(&lb)? == before,
            "a list that is heard again made changes"
        );
        app.set_health("kubia-here", Health::NotReady)?;
        await_answers(&late, dial, &["kubia-there"])?;

        let report = load.finish();
        ensure!(report.failures.is_empty(), "{report:?}");
        let report = stream.finish();
        ensure!(report.failure.is_none(), "{report:?}");
        lb.uninstall()
    });
}

/// Everything but the last version is forgotten while nobody listens: the watches begin anew.
#[test]
fn what_changed_while_watches_expired_is_caught_up_with() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        manifests.write("kubia.yaml", &services())?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-here")?;
        app.pod(cluster.elsewhere(), "kubia-there")?;
        let client = cluster.here().pod("client")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc,socket")?;
        let dial = tcp(kubia().port(Family::V4, 80));
        await_answers(&client, dial, &["kubia-here", "kubia-there"])?;

        lb.freeze(true)?;
        app.set_health("kubia-here", Health::NotReady)?;
        let [first, _] = services();
        manifests.write("kubia.yaml", &[first])?;
        // An API server that starts knows nothing of the time before, and etcd has forgotten it.
        control.stop_server()?;
        control.compact()?;
        control.start_server()?;
        lb.freeze(false)?;
        await_answers(&client, dial, &["kubia-there"])?;
        wait::until("the second Service is gone", SOON, || {
            let left = lb.output(&["get", "services", "-A", "-o", "name"])?;
            Ok(!left.contains("second"))
        })?;
        await_problems(&lb, "nothing is wrong in the end", <[_]>::is_empty)?;
        ensure!(lb.said().contains("the watch expired"), "{}", lb.said());
        lb.uninstall()
    });
}

/// A node's object is followed: its podCIDRs and zone decide about packets.
#[test]
fn the_node_object_is_followed() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let here = cluster.here().pod("kubia-here")?;
        let there = cluster.elsewhere().pod("kubia-there")?;
        let servers = [(&here, "zone-0"), (&there, "zone-1")];
        let _servers = servers
            .iter()
            .map(|(pod, _)| Server::start(pod, pod.name(), 8080))
            .collect::<Result<Vec<_>>>()?;
        // Written by hand: the controller would move hints along with the nodes, sooner or later.
        let endpoints = servers.map(|(pod, zone)| {
            json!({"addresses": [pod.address(Family::V4)], "hints": {"forZones": [{"name": zone}]}})
        });
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kubia", "namespace": "default"},
            "spec": {"clusterIP": kubia().v4, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubia-x",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubia"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            "endpoints": endpoints,
        });
        manifests.write("kubia.yaml", &[service, slice])?;
        let client = cluster.here().pod("client")?;
        let dial = tcp(kubia().port(Family::V4, 80));
        // Each node is in a zone of its own, until this one moves.
        await_answers(&client, dial, &["kubia-here"])?;
        control.kubectl(&[
            "label",
            "--overwrite",
            "node",
            "node-a",
            "topology.kubernetes.io/zone=zone-1",
        ])?;
        await_answers(&client, dial, &["kubia-there"])?;
        control
            .kubectl(&["delete", "node", "node-a"])
            .context("deleting")?;
        await_problems(&lb, "the node is missed", |problems| {
            problems
                .iter()
                .any(|problem| problem["object"]["kind"] == "Node")
        })?;
        lb.uninstall()
    });
}
