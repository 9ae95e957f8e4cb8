//! `kubectl get services` and `lb get services` say the same.

use anyhow::{Context as _, Result, ensure};
use lb_tests::lb::Lb;
use lb_tests::manifests::Manifests;
use lb_tests::peer::Server;
use lb_tests::topology::{Family, Node};
use lb_tests::wait;
use serde_json::{Value, json};

use super::{SOON, await_answers, in_cluster, tcp};

/// The columns that both have, row by row.
fn rows(text: &str, columns: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut lines = text.lines();
    let head = lines.next().context("a head")?;
    let starts: Vec<_> = columns
        .iter()
        .map(|column| {
            head.find(column)
                .with_context(|| format!("{column}: {head}"))
        })
        .collect::<Result<_>>()?;
    let word = |line: &str, start: usize| {
        let rest = line.get(start..).unwrap_or_default();
        rest.split("  ")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let rows = lines.map(|line| starts.iter().map(|start| word(line, *start)).collect());
    Ok(rows.collect())
}

/// The objects of an example, as the API takes them.
fn example(control: &lb_tests::kubernetes::ControlPlane, file: &str) -> Result<Vec<Value>> {
    let path = format!("{}/../examples/{file}", env!("CARGO_MANIFEST_DIR"));
    let arguments = [
        "create",
        "--dry-run=client",
        "--output=json",
        "--filename",
        &path,
    ];
    let text = control.kubectl(&arguments)?;
    let objects = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let mut all = Vec::new();
    for object in objects {
        let mut object = object?;
        let containers = object.pointer_mut("/spec/containers");
        if let Some(containers) = containers.and_then(Value::as_array_mut) {
            for container in containers {
                // Nobody pulls it, but the API wants one.
                container["image"] = json!("none");
            }
        }
        match object["items"].as_array() {
            Some(items) => all.extend(items.iter().cloned()),
            None => all.push(object),
        }
    }
    Ok(all)
}

/// The worked cases of the README, in a cluster as they are in manifests.
#[test]
fn kubectl_and_lb_show_the_same_services() {
    in_cluster(|cluster, control| {
        let api = control.api();
        let range = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": "second"},
            "spec": {"cidrs": ["10.96.0.0/16"]},
        });
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "example"}});
        api.apply(&[range, namespace])?;
        let manifests = Manifests::in_cluster(control)?;
        let mut lb = Lb::new(cluster.here(), &manifests, "tc,socket")?;
        lb.start()?;
        let mut last = Ok(());
        let outcome = wait::until("the second range gives addresses", SOON, || {
            last = api.apply(&example(control, "backend-service/service.yaml")?);
            Ok(last.is_ok())
        });
        last.and(outcome)?;
        for file in [
            "kubia/service.yaml",
            "kubia/pods.yaml",
            "backend-service/pods.yaml",
        ] {
            api.apply(&example(control, file)?)?;
        }

        // Their servers.
        let mut servers = Vec::new();
        let mut serve = |node: &Node, host: u8, name: &str, port: u16| -> Result<()> {
            let pod = node.pod_at(host, name)?;
            servers.push(Server::start(&pod, name, port)?);
            Ok(())
        };
        let (here, elsewhere) = (cluster.here(), cluster.elsewhere());
        serve(here, 10, "kubia-vs2kl", 8080)?;
        serve(elsewhere, 9, "kubia-4nj9r", 8080)?;
        serve(elsewhere, 10, "kubia-hk7cm", 8080)?;
        serve(here, 20, "backend-595666f99c-jxpnb", 5000)?;
        serve(elsewhere, 20, "backend-595666f99c-pdxbk", 5000)?;
        let client = here.pod("client")?;
        let kubia = tcp("10.43.165.39:80".parse()?);
        let all = ["kubia-4nj9r", "kubia-hk7cm", "kubia-vs2kl"];
        await_answers(&client, kubia, &all)?;
        let backend = tcp("10.96.151.12:5000".parse()?);
        let all = ["backend-595666f99c-jxpnb", "backend-595666f99c-pdxbk"];
        await_answers(&client, backend, &all)?;
        // A pod may be answered by itself.
        let pods = here.pods();
        let itself = pods.iter().find(|pod| pod.name() == "kubia-vs2kl");
        await_answers(
            itself.context("a pod")?,
            kubia,
            &["kubia-4nj9r", "kubia-hk7cm", "kubia-vs2kl"],
        )?;
        ensure!(client.address(Family::V4).is_ipv4());

        let columns = [
            "NAMESPACE",
            "NAME ",
            "TYPE",
            "CLUSTER-IP",
            "EXTERNAL-IP",
            "PORT(S)",
        ];
        let theirs = control.kubectl(&["get", "services", "--all-namespaces"])?;
        let ours = lb.output(&["get", "services", "-A"])?;
        println!("$ kubectl get services -A\n{theirs}\n$ lb get services -A\n{ours}");
        println!(
            "$ lb get backends -A\n{}",
            lb.output(&["get", "backends", "-A"])?
        );
        ensure!(
            rows(&theirs, &columns)? == rows(&ours, &columns)?,
            "{theirs}\n{ours}"
        );
        lb.uninstall()
    });
}
