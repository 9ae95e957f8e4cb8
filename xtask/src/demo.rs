//! `cargo xtask demo`: the load balancer at work, in network namespaces of its own.

use std::{ffi::OsString, path::Path};

use anyhow::Result;

use crate::program;

/// Build everything and watch connections being balanced (as root, in namespaces of its own)
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of lb-demo
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    program::run(root, "lb-demo", &arguments.arguments)
}
