//! What comes out of kustomize? The API server's own client renders it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_tests::{command, need};
use serde_json::Value;

use crate::files::{deploy, documents, of_kind};

/// The objects of a directory of `deploy/kustomize`; none where there is no kubectl.
fn render(directory: &str) -> Result<Option<Vec<Value>>> {
    let kubectl = Command::new("kubectl")
        .args(["version", "--client"])
        .output();
    let missing = kubectl.err().map(|error| format!("kubectl: {error}"));
    if !need::feature("kubectl", missing.as_deref()) {
        return Ok(None);
    }
    let path = deploy().join("kustomize").join(directory);
    let text = command::run(Command::new("kubectl").arg("kustomize").arg(path))?;
    documents(&text).map(Some)
}

fn container(objects: Vec<Value>) -> Result<Value> {
    let daemon_set = of_kind(objects, "DaemonSet")?;
    Ok(daemon_set["spec"]["template"]["spec"]["containers"][0].clone())
}

fn variables(container: &Value) -> Result<Vec<&str>> {
    let variables = container["env"].as_array().context("no env")?;
    Ok(variables
        .iter()
        .filter_map(|v| v["name"].as_str())
        .collect())
}

#[test]
fn the_base_is_privileged_and_complete() -> Result<()> {
    let Some(objects) = render("base")? else {
        return Ok(());
    };
    ensure!(objects.len() == 5, "{objects:?}");
    let container = container(objects)?;
    ensure!(container["securityContext"]["privileged"] == true);
    let image = container["image"].as_str().context("no image")?;
    ensure!(
        image == format!("lb:{}", env!("CARGO_PKG_VERSION")),
        "{image}"
    );
    Ok(())
}

#[test]
fn the_lesser_one_has_capabilities_and_mounts_nothing() -> Result<()> {
    let Some(objects) = render("least-privilege")? else {
        return Ok(());
    };
    let container = container(objects)?;
    let context = &container["securityContext"];
    ensure!(context["privileged"] == false && context["readOnlyRootFilesystem"] == true);
    ensure!(context["capabilities"]["drop"][0] == "ALL", "{context}");
    let variables = variables(&container)?;
    ensure!(
        !variables.contains(&"LB_PREPARE") && variables.contains(&"LB_CGROUP"),
        "{variables:?}"
    );
    let mounts = container["volumeMounts"].to_string();
    ensure!(!mounts.contains("Bidirectional"), "{mounts}");
    Ok(())
}

#[test]
fn kubeadms_settings_are_where_the_flag_says() -> Result<()> {
    let Some(objects) = render("kubeadm")? else {
        return Ok(());
    };
    let container = container(objects)?;
    let flag = container["args"][1].as_str().context("no flag")?;
    let file = flag.strip_prefix("--config=").context("another flag")?;
    let mounts = container["volumeMounts"].as_array().context("no mounts")?;
    let mut places = mounts
        .iter()
        .filter_map(|mount| mount["mountPath"].as_str());
    ensure!(
        places.any(|place| file.starts_with(place)),
        "{file}: {mounts:?}"
    );
    Ok(())
}
