//! What do those see who watch a node: its metrics, and its health?

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use lb_tests::http::{Answer, get};
use lb_tests::lb::Lb;
use lb_tests::manifests::Manifests;
use lb_tests::topology::Family;
use serde_json::{Value, json};

use super::{SOON, in_cluster, wait};

/// kube-proxy's addresses.
const METRICS: &str = "127.0.0.1:10249";
const HEALTHZ: u16 = 10_256;

fn metrics(lb: &Lb) -> Result<Answer> {
    get(lb.node(), METRICS.parse()?, "/metrics")
}

/// How many changes were measured on their way into the maps, of IPv4 and of IPv6.
fn measured(lb: &Lb) -> Result<[Option<f64>; 2]> {
    let name = "kubeproxy_network_programming_duration_seconds_count";
    let metrics = metrics(lb)?;
    let of = |family| metrics.metric(&format!("{name}{{ip_family=\"{family}\"}}"));
    Ok(["IPv4", "IPv6"].map(of))
}

/// A slice as the controllers of the API write it: it says when that happened which it follows.
fn slice(family: Family, node: &str, ready: bool, triggered: Timestamp) -> Value {
    let (name, kind, address) = match family {
        Family::V4 => ("kubia-4", "IPv4", "10.42.0.77"),
        Family::V6 => ("kubia-6", "IPv6", "fd00:10:42::77"),
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubia"},
            "annotations": {
                "endpoints.kubernetes.io/last-change-trigger-time": triggered.to_string(),
            },
        },
        "addressType": kind,
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "nodeName": node, "conditions": {"ready": ready}}],
    })
}

/// Kubernetes' measure of its network: from what a slice says that it follows to the maps, for each
/// family its own, each time once. What was there before the daemon is none of its doing.
#[test]
fn changes_are_measured_from_where_they_happened() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        // Without a selector: no controller writes slices beside ours.
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kubia", "namespace": "default"},
            "spec": {
                "ipFamilyPolicy": "RequireDualStack",
                "internalTrafficPolicy": "Local",
                "ports": [{"port": 80, "targetPort": 8080}],
            },
        });
        manifests.write("service.yaml", &[service])?;
        let (here, there) = (cluster.here().name(), cluster.elsewhere().name());
        let v4 =
            |node, ready, at| manifests.write("v4.yaml", &[slice(Family::V4, node, ready, at)]);
        v4(there, true, Timestamp::now())?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let await_lacking = |expected: f64| {
            let name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
            let labels = "traffic_policy=\"internal\",ip_family=\"IPv4\"";
            let what = format!("{expected} ports lack endpoints on the node");
            wait::until(&what, SOON, || {
                Ok(metrics(&lb)?.metric(&format!("{name}{{{labels}}}")) == Some(expected))
            })
        };
        await_lacking(1.0)?;
        ensure!(measured(&lb)? == [None, None], "what was there is measured");

        let first = Timestamp::now();
        v4(here, true, first)?;
        await_lacking(0.0)?;
        ensure!(measured(&lb)? == [Some(1.0), None], "{:?}", measured(&lb)?);
        // A slice that says the same again, but for what concerns nobody.
        let mut labelled = slice(Family::V4, here, true, Timestamp::now());
        labelled["metadata"]["labels"]["tier"] = json!("backend");
        manifests.write("v4.yaml", &[labelled])?;
        v4(there, true, Timestamp::now())?;
        await_lacking(1.0)?;
        ensure!(measured(&lb)? == [Some(2.0), None], "{:?}", measured(&lb)?);

        let six = slice(Family::V6, here, true, Timestamp::now());
        manifests.write("v6.yaml", &[six])?;
        wait::until("IPv6 is measured by itself", SOON, || {
            Ok(measured(&lb)? == [Some(2.0), Some(1.0)])
        })?;
        // That it goes follows nothing that is written there.
        manifests.write("v4.yaml", &[])?;
        await_lacking(0.0)?;
        ensure!(
            measured(&lb)? == [Some(2.0), Some(1.0)],
            "{:?}",
            measured(&lb)?
        );
        lb.uninstall()
    });
}

/// Load balancers in front of the nodes take away one that the autoscaler is about to delete, and its
/// kubelet does not restart us for it.
#[test]
fn a_node_with_the_taint_of_deletion_fails_healthz_alone() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        let here = cluster.here();
        let lb = Lb::started(here, &manifests, "tc")?;
        let server = SocketAddr::new(here.place().address(Family::V4), HEALTHZ);
        let status = |path| -> Result<u16> { Ok(get(cluster.outside(), server, path)?.status) };
        wait::until("the node is well", SOON, || Ok(status("/healthz")? == 200))?;
        let taint = "ToBeDeletedByClusterAutoscaler";
        let node = here.name();
        control.kubectl(&["taint", "node", node, &format!("{taint}=:NoSchedule")])?;
        wait::until("healthz fails", SOON, || Ok(status("/healthz")? == 503))?;
        ensure!(status("/livez")? == 200, "livez fails");
        let body = get(cluster.outside(), server, "/healthz")?.json()?;
        let eligible = body["nodeEligible"].as_bool().context("nodeEligible")?;
        ensure!(!eligible, "{body}");
        control.kubectl(&["taint", "node", node, &format!("{taint}-")])?;
        wait::until("healthz is well again", SOON, || {
            Ok(status("/healthz")? == 200)
        })?;
        lb.uninstall()
    });
}
