//! How a program of `lb-tests` is built and started: it finds `lb` and the BPF object through the environment.

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Result, ensure};

use crate::{build, digest, kubernetes, paths::Profile, process, setup};

/// Tells a test, the demo or the bench which `lb` and which object to use, and which Kubernetes if one is built.
pub(crate) fn point_to_products(command: &mut Command, root: &Path, profile: Profile) {
    command.env("LB_BIN", profile.binary(root, "lb")).env(
        "LB_OBJECT",
        digest::object_file(root, std::env::consts::ARCH),
    );
    if let Ok(found) = kubernetes::cached(root) {
        command.envs(found);
    }
}

/// Installs what is missing, builds everything and runs that program of `lb-tests` to its end.
pub(crate) fn run(root: &Path, name: &str, arguments: &[OsString]) -> Result<()> {
    setup::ensure(root)?;
    let profile = Profile::Release;
    build::everything(root, profile)?;
    let program = profile.binary(root, name);
    ensure!(
        program.is_file(),
        "lb-tests has no program `{name}` in this checkout: tests/src/bin/{name}.rs would be it"
    );
    let mut command = process::host(program, root);
    command.args(arguments);
    point_to_products(&mut command, root, profile);
    process::run(&mut command)
}
