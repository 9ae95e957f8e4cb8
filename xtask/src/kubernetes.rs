//! `cargo xtask kubernetes`: the real programs of Kubernetes that tests run beside `lb`, and Helm, built once from their
//! Go modules.
//!
//! `tests/kubernetes/go.mod` and `tests/helm/go.mod` say which releases. What is built lies outside the checkout, under
//! names that follow from those files: it is made again when they change, and not before.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{digest, paths, process};

/// A Go module whose tools are built.
struct Module {
    /// Its directory, below the top of the checkout.
    path: &'static str,
    /// What decides the bytes of the programs: its `go.mod` and `go.sum`.
    sources: [&'static str; 2],
    /// What its directory in the cache begins with.
    name: &'static str,
    /// The variable that tells tests of that directory.
    variable: &'static str,
    /// The module whose version is that of the programs.
    release: &'static str,
    /// Each program and its package, the one that everything waits for first.
    programs: &'static [(&'static str, &'static str)],
}

const MODULES: [Module; 2] = [
    Module {
        path: "tests/kubernetes",
        sources: ["tests/kubernetes/go.mod", "tests/kubernetes/go.sum"],
        name: "kubernetes",
        variable: "LB_KUBERNETES",
        release: "k8s.io/kubernetes",
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("etcd", "go.etcd.io/etcd/server/v3"),
            (
                "kube-controller-manager",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
            ),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        ],
    },
    Module {
        path: "tests/helm",
        sources: ["tests/helm/go.mod", "tests/helm/go.sum"],
        name: "helm",
        variable: "LB_HELM",
        release: "helm.sh/helm/v4",
        programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
    },
];

/// The first Go that can fetch a newer one by itself, as `go.mod` asks for.
const OLDEST_GO: (u32, u32) = (1, 21);

/// Build the API server and its companions for the tests, unless they are in the cache (needs Go, takes some minutes)
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(root: &Path, _: &Arguments) -> Result<()> {
    ensure(root)?;
    for (_, directory) in cached(root)? {
        println!("{}", directory.display());
    }
    Ok(())
}

/// Builds what is missing.
pub(crate) fn ensure(root: &Path) -> Result<()> {
    MODULES.iter().try_for_each(|module| module.ensure(root))
}

/// The directories of the modules whose programs are all there, each with the variable that tells tests of it.
pub(crate) fn cached(root: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut found = Vec::new();
    for module in &MODULES {
        let directory = module.directory(root)?;
        if module.missing(&directory).next().is_none() {
            found.push((module.variable, directory));
        }
    }
    Ok(found)
}

impl Module {
    fn ensure(&self, root: &Path) -> Result<()> {
        let directory = self.directory(root)?;
        for (name, package) in self.missing(&directory) {
            check_go(root)?;
            fs::create_dir_all(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
            let version = self.version(root)?;
            println!("== {name} of {} {version}", self.name);
            // Whoever builds the same beside us, or is interrupted, leaves no half of a program.
            let beside = directory.join(format!("{name}.{}", std::process::id()));
            process::run(&mut self.build(root, &version, package, &beside))?;
            fs::rename(&beside, directory.join(name))
                .with_context(|| format!("cannot keep {name} in {}", directory.display()))?;
        }
        Ok(())
    }

    fn missing(&self, directory: &Path) -> impl Iterator<Item = &(&'static str, &'static str)> {
        self.programs
            .iter()
            .filter(move |(name, _)| !directory.join(name).is_file())
    }

    fn directory(&self, root: &Path) -> Result<PathBuf> {
        let key = digest::hash(root, &self.sources)
            .with_context(|| format!("cannot read {}", self.sources.join(" and ")))?;
        Ok(paths::cache()?.join(format!("{}-{key:016x}", self.name)))
    }

    fn build(&self, root: &Path, version: &str, package: &str, output: &Path) -> Command {
        let variable =
            |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
        let mut numbers = version.trim_start_matches('v').split('.');
        // The linker passes over variables that a program does not have.
        let flags = [
            "-s -w".to_owned(),
            variable("gitVersion", version),
            variable("gitMajor", numbers.next().unwrap_or_default()),
            variable("gitMinor", numbers.next().unwrap_or_default()),
        ];
        let mut command = process::host("go", &root.join(self.path));
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

    /// The release that go.mod requires.
    fn version(&self, root: &Path) -> Result<String> {
        let file = root.join(self.path).join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let mut words = text.split_whitespace();
        words
            .by_ref()
            .find(|word| *word == self.release)
            .and_then(|_| words.next())
            .map(str::to_owned)
            .with_context(|| format!("{} requires no {}", file.display(), self.release))
    }
}

/// Whether Go is here, and new enough.
pub(crate) fn check_go(root: &Path) -> Result<()> {
    let remedy = "`cargo xtask setup` installs Go on Debian; elsewhere install 1.21 or newer, which fetches the one that \
                  go.mod asks for";
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
    use super::{MODULES, OLDEST_GO, parse_go};
    use crate::paths;

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        assert_eq!(parse_go("go1.26.8"), Some((1, 26)));
        assert!(parse_go("go1.19.8") < Some(OLDEST_GO));
        assert!(parse_go("go1.100") > Some(OLDEST_GO));
        assert_eq!(parse_go("devel"), None);
    }

    #[test]
    fn go_mod_says_which_release() {
        let root = paths::root().expect("a checkout");
        let versions = MODULES.map(|module| module.version(&root).expect("a version"));
        let [kubernetes, helm] = &versions;
        assert!(
            kubernetes.starts_with("v1.") && helm.starts_with("v4."),
            "{versions:?}"
        );
    }
}
