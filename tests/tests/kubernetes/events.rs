//! What is wrong with a Service is told where people look at it, once for all nodes.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::kubernetes::ControlPlane;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use serde_json::{Value, json};

use super::{SOON, await_problems, in_cluster, kubia, wait};

/// Each node has told a problem, or found it told, so long after it began.
const SPREAD: Duration = Duration::from_secs(20);

/// The Service, with an annotation that it is served without.
pub(super) fn with_problem(mut service: Value) -> Value {
    service["metadata"]["annotations"] = json!({"lb/algorithm": "fair"});
    service
}

/// The Events there are of problems. The API server has some of its own, when it repairs what it has allocated.
fn events(control: &ControlPlane) -> Result<Vec<Value>> {
    let of_problems = "--field-selector=reason=NotServedAsWritten";
    let text = control.kubectl(&["get", "events", of_problems, "--output=json"])?;
    let list: Value = serde_json::from_str(&text)?;
    list["items"].as_array().cloned().context("a list")
}

#[test]
fn a_problem_of_a_service_is_an_event_on_it_and_other_nodes_add_none() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        let service = Service::new("kubia", "kubia")
            .at(&kubia().both())
            .port(80, 8080);
        manifests.write("kubia.yaml", &[with_problem(service.object())])?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        // A node's daemon beside it, as far as the API can tell.
        let other = Lb::new(cluster.here(), &manifests, "tc")?;
        let mut other = other
            .with("LB_NODE_NAME", cluster.elsewhere().name())
            .with("LB_HEALTHZ_BIND_ADDRESS", "off")
            .with("LB_METRICS_BIND_ADDRESS", "off");
        other.start()?;
        for node in [&lb, &other] {
            await_problems(node, "the annotation is a problem", |problems| {
                problems
                    .iter()
                    .any(|problem| problem["object"]["kind"] == "Service")
            })?;
        }
        wait::until("an Event tells it", SPREAD + SOON, || {
            Ok(!events(control)?.is_empty())
        })?;
        let described = control.kubectl(&["describe", "service", "kubia"])?;
        for part in ["Warning", "NotServedAsWritten", "lb/algorithm", "maglev"] {
            ensure!(described.contains(part), "{part}: {described}");
        }
        // The other one's turn comes, too.
        sleep(SPREAD);
        let all = events(control)?;
        ensure!(all.len() == 1, "{all:#?}");
        ensure!(all[0]["reportingComponent"] == "lb", "{}", all[0]);
        let nodes = [cluster.here().name(), cluster.elsewhere().name()].map(Value::from);
        ensure!(nodes.contains(&all[0]["reportingInstance"]), "{}", all[0]);
        other.uninstall()?;
        lb.uninstall()
    });
}
