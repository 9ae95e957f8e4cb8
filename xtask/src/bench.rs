//! `cargo xtask bench`: what a packet and a change cost.

use std::{ffi::OsString, path::Path};

use anyhow::Result;

use crate::{build_ebpf, kubernetes, program};

/// Build everything and measure (as root), for example `cargo xtask bench datapath`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of lb-bench
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// What is measured with a real API server.
const WITH_KUBERNETES: &[&str] = &["latency", "connections", "control-plane"];

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let what = arguments.arguments.first();
    if what.is_some_and(|what| WITH_KUBERNETES.iter().any(|with| what == with)) {
        kubernetes::ensure(root)?;
    }
    build_ebpf::floors(root)?;
    program::run(root, "lb-bench", &arguments.arguments)
}
