//! `cargo xtask kubernetes`: the real programs of Kubernetes that tests run beside `lb`, built once from their Go modules.
//!
//! `tests/kubernetes/go.mod` says which release. What is built lies outside the checkout, under a name that follows from
//! those files: it is made again when they change, and not before.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{digest, paths, process};

/// The Go module whose tools are built, below the top of the checkout.
const MODULE: &str = "tests/kubernetes";
/// What decides the bytes of the programs.
const SOURCES: &[&str] = &["tests/kubernetes/go.mod", "tests/kubernetes/go.sum"];
/// The first Go that can fetch a newer one by itself, as `go.mod` asks for.
const OLDEST_GO: (u32, u32) = (1, 21);

/// Each program and its package, the one that everything waits for first.
const PROGRAMS: &[(&str, &str)] = &[
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("etcd", "go.etcd.io/etcd/server/v3"),
    (
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    ),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
];

/// Build the API server and its companions for the tests, unless they are in the cache (needs Go, takes some minutes)
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(root: &Path, _: &Arguments) -> Result<()> {
    println!("{}", ensure(root)?.display());
    Ok(())
}

/// The directory of the programs; what is missing there is built.
pub(crate) fn ensure(root: &Path) -> Result<PathBuf> {
    let directory = directory(root)?;
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(name, _)| !directory.join(name).is_file())
        .collect();
    if missing.is_empty() {
        return Ok(directory);
    }
    check_go(root)?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let version = version(root)?;
    for (name, package) in missing {
        println!("== {name} of Kubernetes {version}");
        // Whoever builds the same beside us, or is interrupted, leaves no half of a program.
        let beside = directory.join(format!("{name}.{}", std::process::id()));
        process::run(&mut build(root, &version, package, &beside))?;
        fs::rename(&beside, directory.join(name))
            .with_context(|| format!("cannot keep {name} in {}", directory.display()))?;
    }
    Ok(directory)
}

/// The directory of the programs if all of them are there.
pub(crate) fn cached(root: &Path) -> Result<Option<PathBuf>> {
    let directory = directory(root)?;
    let is_complete = PROGRAMS
        .iter()
        .all(|(name, _)| directory.join(name).is_file());
    Ok(is_complete.then_some(directory))
}

fn directory(root: &Path) -> Result<PathBuf> {
    let key = digest::hash(root, SOURCES).context("cannot read tests/kubernetes/go.mod")?;
    Ok(paths::cache()?.join(format!("kubernetes-{key:016x}")))
}

fn build(root: &Path, version: &str, package: &str, output: &Path) -> Command {
    let variable =
        |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    let mut numbers = version.trim_start_matches('v').split('.');
    let flags = [
        "-s -w".to_owned(),
        variable("gitVersion", version),
        variable("gitMajor", numbers.next().unwrap_or_default()),
        variable("gitMinor", numbers.next().unwrap_or_default()),
    ];
    let mut command = process::host("go", &root.join(MODULE));
    command
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags"])
        .arg(flags.join(" "))
        .arg("-o")
        .arg(output)
        .arg(package)
        .env("CGO_ENABLED", "0")
        // Debian's does not fetch a newer one unless it is told to.
        .env("GOTOOLCHAIN", "auto");
    command
}

/// The release of Kubernetes that go.mod requires.
fn version(root: &Path) -> Result<String> {
    let file = root.join(MODULE).join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut words = text.split_whitespace();
    words
        .by_ref()
        .find(|word| *word == "k8s.io/kubernetes")
        .and_then(|_| words.next())
        .map(str::to_owned)
        .with_context(|| format!("{} requires no k8s.io/kubernetes", file.display()))
}

fn check_go(root: &Path) -> Result<()> {
    let remedy = "install Go 1.21 or newer, which fetches the one that go.mod asks for (Debian 13: golang-go; Debian 12: \
                  golang-go of its backports)";
    let Ok(text) = process::output(process::host("go", root).args(["env", "GOVERSION"])) else {
        bail!("the real Kubernetes is built with Go, which is not here: {remedy}");
    };
    if parse_go(text.trim()).is_none_or(|version| version < OLDEST_GO) {
        bail!("{} is too old to build Kubernetes: {remedy}", text.trim());
    }
    Ok(())
}

/// `go1.26.8`, or `go1.27-devel…`.
fn parse_go(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("go")?.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{OLDEST_GO, parse_go, version};
    use crate::paths;

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert_eq!(parse_go("go1.26.8"), Some((1, 26)));
        assert!(parse_go("go1.19.8") < Some(OLDEST_GO));
        assert!(parse_go("go1.100") > Some(OLDEST_GO));
        assert_eq!(parse_go("devel"), None);
    }

    #[test]
    fn go_mod_says_which_kubernetes() {
        let root = paths::root().expect("a checkout");
        let version = version(&root).expect("a version");
        assert!(version.starts_with("v1."), "{version}");
    }
}
