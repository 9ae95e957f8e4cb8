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

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if arguments
        .arguments
        .first()
        .is_some_and(|what| what == "latency")
    {
        kubernetes::ensure(root)?;
    }
    build_ebpf::floors(root)?;
    program::run(root, "lb-bench", &arguments.arguments)
}
