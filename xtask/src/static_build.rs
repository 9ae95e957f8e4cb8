//! How `lb` is built so that it needs no file of the system's: for the container image, and for either architecture.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use crate::process;

/// The architectures that `lb` is built for.
pub(crate) const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// What rustc calls the architecture's targets that are linked statically.
pub(crate) fn target(arch: &str) -> String {
    format!("{arch}-unknown-linux-musl")
}

/// The one of [`ARCHITECTURES`] that this machine is not.
pub(crate) fn other_architecture() -> &'static str {
    let [x86, arm] = ARCHITECTURES;
    if std::env::consts::ARCH == x86 {
        arm
    } else {
        x86
    }
}

/// cargo with `action` on `lb` alone, for `arch`.
///
/// # Errors
/// The C compiler for that architecture is missing.
pub(crate) fn cargo(root: &Path, action: &str, arch: &str) -> Result<Command> {
    let target = target(arch);
    let compiler = c_compiler(arch);
    ensure!(
        process::find(&compiler).is_some(),
        "{compiler} is missing: `cargo xtask setup` installs it"
    );
    let mut command = process::host("cargo", root);
    command.args([action, "--locked", "--package", "lb-userspace"]);
    command.args(["--target", &target]);
    // The little C in TLS calls nothing of a C library's, so that a compiler for another one does.
    let underscored = target.replace('-', "_");
    command.env(format!("CC_{underscored}"), &compiler);
    let linker = format!("CARGO_TARGET_{}_LINKER", underscored.to_uppercase());
    command.env(linker, &compiler);
    Ok(command)
}

/// Where cargo puts the binary that it builds with the profile whose directory is `profile`.
pub(crate) fn binary(root: &Path, arch: &str, profile: &str) -> PathBuf {
    let target_dir = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |dir| root.join(dir));
    target_dir.join(target(arch)).join(profile).join("lb")
}

fn c_compiler(arch: &str) -> String {
    if arch == std::env::consts::ARCH {
        "cc".to_owned()
    } else {
        format!("{arch}-linux-gnu-gcc")
    }
}
