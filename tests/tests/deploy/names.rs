//! Do the files call things as the program does? Its name, its settings, its metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::{Args as _, Command};
use lb_common::names;
use lb_userspace::settings::{self, Settings, settings_of, variable_of};
use serde_json::Value;

use crate::files::{deploy, documents, object, text};

const DAEMON_SET: &str = "kustomize/base/daemonset.yaml";
const CAPABILITIES: &str = "kustomize/least-privilege/capabilities.yaml";
const BESIDE: &str = "kustomize/beside-kube-proxy/addresses.yaml";
const TEMPLATES: [&str; 3] = [
    "helm/lb/templates/rbac.yaml",
    "helm/lb/templates/config.yaml",
    "helm/lb/templates/daemonset.yaml",
];
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn pod(daemon_set: &Value) -> &Value {
    &daemon_set["spec"]["template"]["spec"]
}

fn container(daemon_set: &Value) -> &Value {
    &pod(daemon_set)["containers"][0]
}

fn named<'v>(list: &'v Value, name: &str) -> Result<&'v Value> {
    let mut items = list.as_array().into_iter().flatten();
    let found = items.find(|item| item["name"] == name);
    found.with_context(|| format!("no {name} in {list}"))
}

fn known_settings() -> Command {
    Settings::augment_args(Command::new(names::NAME))
}

#[test]
fn everything_has_the_one_name_and_version() -> Result<()> {
    for (file, kind) in [
        ("kustomize/base/rbac.yaml", "ServiceAccount"),
        ("kustomize/base/rbac.yaml", "ClusterRole"),
        ("kustomize/base/rbac.yaml", "ClusterRoleBinding"),
        ("kustomize/base/config.yaml", "ConfigMap"),
        (DAEMON_SET, "DaemonSet"),
        (CAPABILITIES, "DaemonSet"),
        (BESIDE, "DaemonSet"),
        ("kustomize/kubeadm/kube-proxy-config.yaml", "DaemonSet"),
    ] {
        let name = &object(file, kind)?["metadata"]["name"];
        ensure!(name == names::NAME, "{file}: {kind} {name}");
    }
    let chart = &documents(&text("helm/lb/Chart.yaml")?)?[0];
    ensure!(chart["name"] == names::NAME && deploy().join("helm").join(names::NAME).is_dir());
    for version in ["version", "appVersion"] {
        ensure!(chart[version] == VERSION, "{version}: {}", chart[version]);
    }
    let kustomization = object("kustomize/base/kustomization.yaml", "Kustomization")?;
    let image = &kustomization["images"][0];
    ensure!(
        image["name"] == names::NAME && image["newTag"] == VERSION,
        "{image}"
    );
    Ok(())
}

#[test]
fn places_are_those_of_the_program() -> Result<()> {
    let daemon_set = object(DAEMON_SET, "DaemonSet")?;
    let (container, volumes) = (container(&daemon_set), &pod(&daemon_set)["volumes"]);
    let pins = Path::new(names::PIN_DIR).parent().context("a directory")?;
    let state = Path::new(names::STATE_DIR);
    for (volume, place) in [("bpffs", pins), ("state", state)] {
        let inside = &named(&container["volumeMounts"], volume)?["mountPath"];
        let outside = &named(volumes, volume)?["hostPath"]["path"];
        let place = place.to_str().context("a path")?;
        ensure!(
            inside == place && outside == place,
            "{volume}: {inside} {outside}"
        );
    }
    let cgroup = &named(&container["env"], "LB_CGROUP")?["value"];
    let mounted = &named(&container["volumeMounts"], "cgroup")?["mountPath"];
    ensure!(cgroup == mounted, "{cgroup} {mounted}");
    let settings: Settings = defaults()?;
    let healthz = settings.healthz_bind_address.address().context("off")?;
    let port = &named(&container["ports"], "healthz")?["containerPort"];
    ensure!(*port == healthz.port(), "{port}");
    Ok(())
}

fn defaults() -> Result<Settings> {
    let mut matches = known_settings().try_get_matches_from([names::NAME])?;
    Ok(clap::FromArgMatches::from_arg_matches_mut(&mut matches)?)
}

#[test]
fn every_variable_and_flag_is_a_setting() -> Result<()> {
    let command = known_settings();
    let variables: BTreeSet<_> = settings_of(&command).map(|s| variable_of(&s)).collect();
    let mut seen = 0;
    let mut files = TEMPLATES.to_vec();
    files.extend([
        DAEMON_SET,
        CAPABILITIES,
        BESIDE,
        "kustomize/kubeadm/kube-proxy-config.yaml",
    ]);
    for file in files {
        let text = text(file)?;
        let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || "_-".contains(char)));
        for word in words {
            if word.starts_with("LB_") {
                ensure!(variables.contains(word), "{file}: {word} is no setting");
                seen += 1;
            } else if let Some(flag) = word
                .strip_prefix("--")
                .filter(|flag| flag.starts_with(char::is_alphabetic))
            {
                let is_known = settings_of(&command).any(|s| s.get_long() == Some(flag));
                ensure!(is_known, "{file}: --{flag} is no setting");
                seen += 1;
            }
        }
    }
    ensure!(seen > 8, "only {seen} were looked at");
    Ok(())
}

#[test]
fn the_configuration_in_the_config_map_is_valid() -> Result<()> {
    let config = object("kustomize/base/config.yaml", "ConfigMap")?;
    let text = config["data"]["lb.yaml"].as_str().context("no lb.yaml")?;
    // What is commented out there is an example, which has to be right as well.
    let examples = text.replace("# apiServer", "apiServer");
    let examples = examples.replace("# nodeportAddresses", "nodeportAddresses");
    for text in [text, &examples] {
        let directory = lb_tests::leftovers::temporary_dir("config")?;
        let file = directory.path().join("lb.yaml");
        fs::write(&file, text)?;
        let flag = format!("--config={}", file.display());
        let arguments = [names::NAME.to_owned(), flag].map(Into::into);
        settings::parse::<Flags>(arguments, |_| None).with_context(|| text.to_owned())?;
    }
    Ok(())
}

#[derive(clap::Parser, Debug)]
struct Flags {
    #[command(flatten)]
    _settings: Settings,
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'));
    let prefixes = [names::METRIC_PREFIX, "kubeproxy_", "process_"];
    words
        .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() -> Result<()> {
    let page = fs::read_to_string(deploy().join("../docs/metrics.md"))?;
    let page = page.replace("{endpoint,service}", "endpoint")
        + &page.replace("{endpoint,service}", "service");
    let known = metrics(&page);
    for file in ["prometheus/alerts.yaml", "grafana/dashboard.json"] {
        let asked = metrics(&text(file)?);
        ensure!(asked.len() > 5, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&known).collect();
        ensure!(
            unknown.is_empty(),
            "{file}: docs/metrics.md has no {unknown:?}"
        );
    }
    Ok(())
}

#[test]
fn both_ways_to_install_give_the_same_rights() -> Result<()> {
    let role = object("kustomize/base/rbac.yaml", "ClusterRole")?;
    let template = text("helm/lb/templates/rbac.yaml")?;
    let rules = template.split_once("\nrules:\n").context("no rules")?.1;
    let rules = rules.split_once("\n---").context("no end")?.0;
    let rules = &documents(rules)?[0];
    ensure!(role["rules"] == *rules, "{rules}");

    let daemon_set = object(CAPABILITIES, "DaemonSet")?;
    let capabilities = &container(&daemon_set)["securityContext"]["capabilities"]["add"];
    let template = text("helm/lb/templates/daemonset.yaml")?;
    let added = template
        .split_once("              add:\n")
        .context("none")?
        .1;
    let added = added
        .split_once("            {{- end }}")
        .context("no end")?
        .0;
    ensure!(*capabilities == documents(added)?[0], "{added}");
    Ok(())
}
