//! What comes out of kustomize and Helm? The same, where both are asked for the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use lb_common::names;
use lb_tests::{command, kubernetes, leftovers, need};
use serde_json::{Value, json};

use crate::files::{deploy, documents, of_kind};

/// The objects of a directory of `deploy/kustomize`; none where there is no kubectl.
pub(crate) fn render(directory: &str) -> Result<Option<Vec<Value>>> {
    render_at(&deploy().join("kustomize").join(directory))
}

/// The same with a component of `deploy/kustomize` added.
fn render_with(directory: &str, component: &str) -> Result<Option<Vec<Value>>> {
    let copy = leftovers::temporary_dir("kustomize")?;
    let mut copying = Command::new("cp");
    copying.arg("-r").arg(deploy().join("kustomize"));
    command::run(copying.arg(copy.path()))?;
    let directory = copy.path().join("kustomize").join(directory);
    let kustomization = directory.join("kustomization.yaml");
    let text = fs::read_to_string(&kustomization)?;
    fs::write(
        kustomization,
        format!("{text}components:\n  - ../{component}\n"),
    )?;
    render_at(&directory)
}

fn render_at(path: &Path) -> Result<Option<Vec<Value>>> {
    let Some(programs) = kubernetes::programs() else {
        return Ok(None);
    };
    let mut kubectl = Command::new(programs.join("kubectl"));
    let text = command::run(kubectl.arg("kustomize").arg(path))?;
    documents(&text).map(Some)
}

/// What Helm makes of the chart with these values; none where there is no Helm.
fn helm(values: &[&str]) -> Result<Option<Vec<Value>>> {
    let programs = std::env::var_os("LB_HELM").map(PathBuf::from);
    let missing = programs.is_none();
    let why = "it is not built: `cargo xtask kubernetes` does that, or `cargo xtask test` for all";
    let Some(programs) = need::feature("Helm", missing.then_some(why))
        .then_some(programs)
        .flatten()
    else {
        return Ok(None);
    };
    let mut helm = Command::new(programs.join("helm"));
    helm.args(["template", names::NAME, "--namespace=kube-system"]);
    helm.arg(deploy().join("helm").join(names::NAME));
    for value in values {
        helm.args(["--set-json", value]);
    }
    documents(&command::run(&mut helm)?).map(Some)
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
    let daemon_set = of_kind(objects.clone(), "DaemonSet")?["spec"].clone();
    let pod = &daemon_set["template"]["spec"];
    for (what, is_there) in [
        (
            "as urgent as the node",
            pod["priorityClassName"] == "system-node-critical",
        ),
        ("in the node's network", pod["hostNetwork"] == true),
        (
            "on every node",
            pod["tolerations"][0]["operator"] == "Exists",
        ),
        (
            "not on all nodes at once",
            daemon_set["updateStrategy"]["rollingUpdate"]["maxUnavailable"].is_string(),
        ),
    ] {
        ensure!(is_there, "{what}: {daemon_set}");
    }
    let container = container(objects)?;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        ensure!(
            container[probe]["httpGet"]["path"].is_string(),
            "{probe}: {container}"
        );
    }
    // Or what is pinned would go with the container.
    let mounts = container["volumeMounts"].as_array().context("no mounts")?;
    let bpffs = mounts
        .iter()
        .find(|mount| mount["mountPath"] == "/sys/fs/bpf");
    ensure!(
        bpffs.is_some_and(|mount| mount["mountPropagation"] == "Bidirectional"),
        "{mounts:?}"
    );
    ensure!(container["securityContext"]["readOnlyRootFilesystem"] == true);
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

/// What a node runs, but for the order of lists and what only the chart can set.
fn comparable(objects: &[Value]) -> Result<Value> {
    let daemon_set = of_kind(objects.to_vec(), "DaemonSet")?;
    let mut pod = daemon_set["spec"]["template"]["spec"].clone();
    let container = pod["containers"][0].as_object_mut().context("none")?;
    container.remove("imagePullPolicy");
    for list in [
        "/volumes",
        "/containers/0/volumeMounts",
        "/containers/0/env",
    ] {
        let items = pod.pointer_mut(list).and_then(Value::as_array_mut);
        items.context(list)?.sort_by_key(ToString::to_string);
    }
    Ok(pod)
}

#[test]
fn the_chart_gives_what_kustomize_does() -> Result<()> {
    for (directory, values) in [
        ("base", &[][..]),
        ("least-privilege", &["privileged=false"]),
    ] {
        let (Some(kustomize), Some(chart)) = (render(directory)?, helm(values)?) else {
            return Ok(());
        };
        ensure!(kustomize.len() == chart.len(), "{directory}: {chart:?}");
        for kind in ["ServiceAccount", "ClusterRole", "ClusterRoleBinding"] {
            let ours = of_kind(kustomize.clone(), kind)?;
            let charts = of_kind(chart.clone(), kind)?;
            for field in [
                "/metadata/name",
                "/metadata/namespace",
                "/rules",
                "/roleRef",
                "/subjects",
            ] {
                let (ours, charts) = (ours.pointer(field), charts.pointer(field));
                ensure!(ours == charts, "{directory}, {kind}: {ours:?}, {charts:?}");
            }
        }
        let (ours, charts) = (comparable(&kustomize)?, comparable(&chart)?);
        ensure!(ours == charts, "{directory}:\n{ours:#}\n{charts:#}");
    }
    Ok(())
}

#[test]
fn the_chart_takes_kubeadms_settings() -> Result<()> {
    let (Some(kustomize), Some(chart)) = (
        render("kubeadm")?,
        helm(&[r#"kubeProxyConfigMap="kube-proxy""#])?,
    ) else {
        return Ok(());
    };
    let [ours, charts] = [kustomize, chart].map(container);
    let (ours, charts) = (ours?, charts?);
    for field in ["args", "env"] {
        ensure!(ours[field] == charts[field], "{ours:#}\n{charts:#}");
    }
    Ok(())
}

/// Standing by, with ports of their own, which the probes know: what docs/migrate-from-kube-proxy.md says.
#[test]
fn both_ways_to_install_go_beside_kube_proxy_alike() -> Result<()> {
    let beside = [
        "standby=true",
        r#"healthzBindAddress="0.0.0.0:10266""#,
        r#"metricsBindAddress="127.0.0.1:10259""#,
    ];
    let of_kubeadm = r#"kubeProxyConfigMap="kube-proxy""#;
    for (directory, value) in [
        ("base", None),
        ("least-privilege", Some("privileged=false")),
        ("kubeadm", Some(of_kubeadm)),
    ] {
        let values: Vec<_> = beside.into_iter().chain(value).collect();
        let (Some(kustomize), Some(chart)) =
            (render_with(directory, "beside-kube-proxy")?, helm(&values)?)
        else {
            return Ok(());
        };
        let port = &container(kustomize.clone())?["ports"];
        let expected = [json!({"name": "healthz", "containerPort": 10_266, "hostPort": 10_266})];
        ensure!(*port == json!(expected), "{directory}: {port}");
        let [ours, charts] = [&kustomize, &chart].map(|objects| comparable(objects));
        let (mut ours, mut charts) = (ours?, charts?);
        if value == Some(of_kubeadm) {
            // Kustomize leaves the base's own settings beside those of kube-proxy.
            for pod in [&mut ours, &mut charts] {
                pod["volumes"].take();
                pod["containers"][0]["volumeMounts"].take();
            }
        }
        ensure!(ours == charts, "{directory}:\n{ours:#}\n{charts:#}");
    }
    Ok(())
}

#[test]
fn the_charts_probes_ask_where_it_is_answered() -> Result<()> {
    for (value, port) in [
        (r#"healthzBindAddress="""#, 10_256),
        (r#"healthzBindAddress="192.0.2.1:10300""#, 10_300),
        (r#"healthzBindAddress="[::]:7""#, 7),
    ] {
        let Some(chart) = helm(&[value])? else {
            return Ok(());
        };
        let container = container(chart)?;
        let ports = &container["ports"][0];
        ensure!(
            ports["containerPort"] == port && ports["hostPort"] == port,
            "{value}: {ports}"
        );
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let asked = &container[probe]["httpGet"]["port"];
            ensure!(*asked == ports["name"], "{value}: {probe}: {asked}");
        }
    }
    Ok(())
}

#[test]
fn the_charts_schema_refuses_what_it_does_not_know() -> Result<()> {
    for (value, names) in [
        ("privilegd=false", "privilegd"),
        ("cgroup=1", "cgroup"),
        (r#"healthzBindAddress="0.0.0.0""#, "healthzBindAddress"),
        (r#"metricsBindAddress="127.0.0.1:0""#, "metricsBindAddress"),
        // Where the probes would not know of it.
        (
            r#"config={"healthzBindAddress":"0.0.0.0:7"}"#,
            "healthzBindAddress",
        ),
    ] {
        match helm(&[value]) {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => bail!("{value} is accepted"),
            Err(error) => ensure!(format!("{error:#}").contains(names), "{error:#}"),
        }
    }
    Ok(())
}
