//! What `deploy/kustomize/base/rbac.yaml` grants is enough, and all of it is needed.

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::kubernetes::ControlPlane;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::topology::Family;
use serde_json::{Value, json};

use super::events::with_problem;
use super::{SOON, await_answers, await_problems, in_cluster, kubia, tcp, wait};

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/kustomize/base/rbac.yaml"
);
const TOKEN: &str = "/api/v1/namespaces/kube-system/serviceaccounts/lb/token";

const AS: &str = "--as=system:serviceaccount:kube-system:lb";

/// What the service account of the DaemonSet shows, which is made for that with its rights.
pub(super) fn service_account_token(control: &ControlPlane) -> Result<String> {
    control.kubectl(&["apply", "--filename", FILE])?;
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let token = control.api().create(TOKEN, &request)?;
    let token = token["status"]["token"].as_str().context("a token")?;
    Ok(token.to_owned())
}

/// The ClusterRole as it was applied.
fn role(control: &ControlPlane) -> Result<Value> {
    let text = control.kubectl(&["get", "clusterrole", "lb", "--output=json"])?;
    Ok(serde_json::from_str(&text)?)
}

/// Rules without one verb of one resource.
#[derive(Debug)]
struct Lacking {
    verb: String,
    resource: String,
    /// The resource with its API group.
    qualified: String,
    rules: Value,
}

/// Each way to leave one verb of one resource out of the rules.
fn lacking(rules: &Value) -> Result<Vec<Lacking>> {
    let mut all = Vec::new();
    for (i, rule) in rules.as_array().context("rules")?.iter().enumerate() {
        let list = |field: &str| rule[field].as_array().cloned().context("a list");
        for resource in list("resources")? {
            for verb in list("verbs")? {
                let without = |field, what: &Value| -> Result<Vec<Value>> {
                    Ok(list(field)?
                        .into_iter()
                        .filter(|item| item != what)
                        .collect())
                };
                // The rule for the other resources, and one for this one without the verb.
                let mut others = rule.clone();
                others["resources"] = json!(without("resources", &resource)?);
                let mut rest = rule.clone();
                rest["resources"] = json!([resource]);
                rest["verbs"] = json!(without("verbs", &verb)?);
                let mut changed = rules.as_array().context("rules")?.clone();
                changed.remove(i);
                for rule in [others, rest] {
                    let is_empty = |field: &str| rule[field] == json!([]);
                    if !is_empty("resources") && !is_empty("verbs") {
                        changed.push(rule.clone());
                    }
                }
                let text = |value: &Value| value.as_str().map(str::to_owned).context("a word");
                let resource = text(&resource)?;
                let qualified = format!("{resource}.{}", text(&rule["apiGroups"][0])?);
                all.push(Lacking {
                    verb: text(&verb)?,
                    qualified: qualified.trim_end_matches('.').to_owned(),
                    resource,
                    rules: json!(changed),
                });
            }
        }
    }
    Ok(all)
}

/// The server streams no lists here, as Kubernetes before 1.32 does: both verbs are asked for.
#[test]
fn the_rules_are_enough_and_each_is_needed() {
    in_cluster(|cluster, control| {
        control.stop_server()?;
        control.start_server_with(&["--feature-gates=WatchList=false"])?;
        let token = service_account_token(control)?;
        let kubeconfig = control.kubeconfig_for("service-account", &token)?;

        let manifests = Manifests::in_cluster(control)?;
        let service = Service::new("kubia", "kubia")
            .at(&kubia().both())
            .port(80, 8080);
        manifests.write("kubia.yaml", &[service.object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia")?;
        let client = cluster.here().pod("client")?;
        let lb = Lb::new(cluster.here(), &manifests, "tc")?;
        let mut lb = lb.with("LB_KUBECONFIG", &kubeconfig.display().to_string());
        lb.start()?;
        await_answers(&client, tcp(kubia().port(Family::V4, 80)), &["kubia"])?;
        await_problems(&lb, "nothing is wrong", <[_]>::is_empty)?;

        let role = role(control)?;
        let cases = lacking(&role["rules"])?;
        ensure!(cases.len() >= 9, "{cases:?}");
        // Something to tell.
        let odd = Service::new("odd", "odd").port(81, 8080).object();
        manifests.write("odd.yaml", &[with_problem(odd)])?;
        for Lacking {
            verb,
            resource,
            qualified,
            rules,
        } in cases
        {
            lb.stop()?;
            let mut less = role.clone();
            less["rules"] = rules;
            less["metadata"] = json!({"name": "lb"});
            control.api().apply(&[less])?;
            wait::until("the API server knows the rules", SOON, || {
                // It fails where the answer is no.
                let question = ["auth", "can-i", &verb, &qualified, AS];
                Ok(control.kubectl(&question).is_err())
            })?;
            lb.start()?;
            await_problems(&lb, &format!("{verb} {resource} is missed"), |problems| {
                let why = problems
                    .iter()
                    .filter_map(|problem| problem["why"].as_str());
                let mut forbidden = why.filter(|why| why.contains("forbidden"));
                forbidden.any(|why| why.contains(&*verb) && why.contains(&*resource))
            })?;
            // What was there before is served all the same.
            await_answers(&client, tcp(kubia().port(Family::V4, 80)), &["kubia"])?;
        }
        lb.uninstall()
    });
}
