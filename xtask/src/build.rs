//! `cargo xtask build`: the kernel programs first, then everything that embeds or runs them.

use std::path::Path;

use anyhow::Result;

use crate::{build_ebpf, paths::Profile, process};

/// Build lb with its kernel programs, and the demo and bench programs
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Without optimization: quicker to build, slower to run
    #[arg(long)]
    debug: bool,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let profile = if arguments.debug {
        Profile::Dev
    } else {
        Profile::Release
    };
    everything(root, profile)?;
    println!("{}", profile.binary(root, "lb").display());
    Ok(())
}

/// Builds the object and then `lb` and the programs of `lb-tests`.
pub(crate) fn everything(root: &Path, profile: Profile) -> Result<()> {
    build_ebpf::run(root, &build_ebpf::Arguments::default())?;
    let mut command = process::host("cargo", root);
    command.args([
        "build",
        "--locked",
        "--package",
        "lb-userspace",
        "--package",
        "lb-tests",
    ]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    process::run(&mut command)
}
