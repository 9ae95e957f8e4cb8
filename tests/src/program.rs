//! Where are the programs that cargo built?

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// A program of the same build as the one that runs: beside it, or one directory up for tests.
///
/// # Errors
/// It has not been built.
pub fn find(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut beside = own.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    let found = beside.find(|path| path.is_file());
    found
        .with_context(|| format!("there is no `{name}`: build it with `cargo xtask build --debug`"))
}

/// The `lb` under test: what `LB_BIN` names, or that of the same build.
///
/// # Errors
/// It has not been built.
pub fn lb() -> Result<PathBuf> {
    std::env::var_os("LB_BIN").map_or_else(|| find("lb"), |path| Ok(path.into()))
}
