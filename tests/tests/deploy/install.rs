//! Is the one file for `kubectl apply -f` what the kustomize base says? `LB_UPDATE_GOLDEN=1` writes it anew.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_tests::command;
use serde_json::Value;

use crate::files::{deploy, documents, object, of_kind, text};
use crate::rendered::render;

const FILE: &str = "install.yaml";

const HEAD: &str = "\
# The DaemonSet in place of kube-proxy, and all that it needs, in one file: put in your registry's image and
# the way to the API server (docs/install.md), then `kubectl apply -f deploy/install.yaml`.
#
# Made from deploy/kustomize/base: `LB_UPDATE_GOLDEN=1 cargo test -p lb-tests --test deploy` rewrites it.
";

/// What kustomize does of what the base asks for; it is read here so that what it asks for besides is
/// noticed. The names of namespaces stand in the files themselves.
fn of_base() -> Result<String> {
    let kustomization = object("kustomize/base/kustomization.yaml", "Kustomization")?;
    let keys = kustomization.as_object().context("no mapping")?.keys();
    let known = ["apiVersion", "images", "kind", "namespace", "resources"];
    ensure!(
        keys.clone().all(|key| known.contains(&key.as_str())),
        "{keys:?}: of these only {known:?} are done here"
    );
    let list = |key: &str| kustomization[key].as_array().cloned().context("no list");
    let word = |value: &Value| value.as_str().map(str::to_owned).context("no word");
    let mut parts = Vec::new();
    for resource in list("resources")? {
        parts.push(text(&format!("kustomize/base/{}", word(&resource)?))?);
    }
    let mut all = parts.join("---\n");
    for image in list("images")? {
        let [name, new_name, tag] = ["name", "newName", "newTag"].map(|key| word(&image[key]));
        let line = |image: &str| format!(" image: {image}\n");
        let old = line(&name?);
        ensure!(all.contains(&old), "no `{old}`");
        all = all.replace(&old, &line(&format!("{}:{}", new_name?, tag?)));
    }
    Ok(format!("{HEAD}{all}"))
}

#[test]
fn the_one_file_is_the_base() -> Result<()> {
    let expected = of_base()?;
    if std::env::var_os("LB_UPDATE_GOLDEN").is_some() {
        fs::write(deploy().join(FILE), &expected)?;
    }
    let actual = fs::read_to_string(deploy().join(FILE)).unwrap_or_default();
    ensure!(
        actual == expected,
        "deploy/{FILE} is not the base any more: LB_UPDATE_GOLDEN=1 rewrites it"
    );
    let namespace = &object("kustomize/base/kustomization.yaml", "Kustomization")?["namespace"];
    for object in documents(&actual)? {
        let (kind, of) = (&object["kind"], &object["metadata"]["namespace"]);
        let is_of_cluster = kind
            .as_str()
            .is_some_and(|kind| kind.starts_with("Cluster"));
        ensure!(is_of_cluster || of == namespace, "{kind}: {of}");
    }
    Ok(())
}

/// Kustomize itself is asked, too, where there is one.
#[test]
fn the_one_file_is_what_kustomize_makes_of_the_base() -> Result<()> {
    let Some(mut rendered) = render("base")? else {
        return Ok(());
    };
    let mut ours = documents(&text(FILE)?)?;
    for objects in [&mut rendered, &mut ours] {
        objects.sort_by_key(|object| object["kind"].to_string());
    }
    ensure!(ours == rendered, "deploy/{FILE}:\n{ours:#?}\n{rendered:#?}");
    Ok(())
}

/// What docs/install.md has one put in arrives: the command is run as it stands there.
#[test]
fn the_page_puts_image_and_api_server_into_the_one_file() -> Result<()> {
    let root = deploy().join("..");
    let page = fs::read_to_string(root.join("docs/install.md"))?;
    let line = page.split_once("\nsed ").context("no sed")?.1;
    let (line, _) = line.split_once(" > install.yaml\n").context("no file")?;
    let mut shell = Command::new("sh");
    shell.current_dir(root).args(["-c", &format!("sed {line}")]);
    let objects = documents(&command::run(&mut shell)?)?;
    let config = of_kind(objects.clone(), "ConfigMap")?;
    let config = config["data"]["lb.yaml"].as_str().context("no file")?;
    ensure!(
        config.contains("\napiServer: https://CONTROL-PLANE:6443\n"),
        "{config}"
    );
    let daemon_set = of_kind(objects, "DaemonSet")?;
    let image = &daemon_set["spec"]["template"]["spec"]["containers"][0]["image"];
    let expected = format!("REGISTRY/lb:{}", env!("CARGO_PKG_VERSION"));
    ensure!(*image == expected, "{image}");
    Ok(())
}
