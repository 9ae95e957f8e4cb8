//! `cargo xtask lint`: what can be judged without running anything.

mod imports;
mod length;
mod shown_by;
mod traces;
mod words;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build_ebpf::{self, CARGO_DIR},
    machine, process,
    report::Report,
    sources, static_build,
    toolchain::Toolchain,
};

/// A file of the project, in memory.
struct SourceFile {
    /// Relative to the top of the checkout.
    path: PathBuf,
    text: String,
}

/// What a check of ours found, ready to print: `file:line: what, and the remedy`.
type Finding = String;

pub(crate) fn run(root: &Path) -> ExitCode {
    let mut report = Report::default();
    report.check("format", || format(root));
    report.check("clippy, host", || clippy_host(root));
    report.check("clippy, BPF", || clippy_bpf(root));
    report.check("other architecture", || other_architecture(root));
    match read_sources(root) {
        Ok(files) => {
            report.check("imports", || judge(&imports::check(&files)));
            report.check("file length", || judge(&length::check(&files)));
            report.check("traces of one machine", || judge(&traces::check(&files)));
            report.check("tests that documents name", || {
                judge(&shown_by::check(&files))
            });
        }
        Err(error) => report.check("sources", || Err(error)),
    }
    report.close(machine::is_ci())
}

fn format(root: &Path) -> Result<()> {
    process::run(process::host("cargo", root).args(["fmt", "--all", "--check"]))
}

fn clippy_host(root: &Path) -> Result<()> {
    let mut command = process::host("cargo", root);
    command.args(["clippy", "--locked", "--workspace", "--all-targets"]);
    process::run(command.args(["--", "--deny", "warnings"]))
}

/// The code that only exists for the BPF target, which the host's clippy never sees.
fn clippy_bpf(root: &Path) -> Result<()> {
    let arch = std::env::consts::ARCH;
    let mut command = Toolchain::detect(root)?.cargo(root, "clippy", arch);
    command.args([
        "--locked",
        "--package",
        "lb-ebpf",
        "--package",
        "lb-common",
        "--target-dir",
    ]);
    command.arg(root.join(CARGO_DIR).join(arch));
    process::run(command.args(["--", "--deny", "warnings"]))
}

/// The object for the other architecture, and `lb` checked for it.
fn other_architecture(root: &Path) -> Result<()> {
    let arch = static_build::other_architecture();
    build_ebpf::run(
        root,
        &build_ebpf::Arguments {
            arch: Some(arch.to_owned()),
            ..Default::default()
        },
    )?;
    process::run(&mut static_build::cargo(root, "check", arch)?).with_context(|| {
        let target = static_build::target(arch);
        format!("is `rustup target add {target}` done? `cargo xtask setup` does it")
    })
}

/// All files of the project that are text.
fn read_sources(root: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for path in sources::files(root)? {
        let bytes = std::fs::read(root.join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile { path, text });
        }
    }
    Ok(files)
}

fn judge(findings: &[Finding]) -> Result<()> {
    for finding in findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    Ok(())
}
