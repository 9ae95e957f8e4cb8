//! Where things are: the checkout, what host builds leave in it, and the cache that outlives it.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The top directory of the checkout whose `cargo xtask` runs.
pub(crate) fn root() -> Result<PathBuf> {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: run this program as `cargo xtask`")?;
    PathBuf::from(manifest_dir)
        .parent()
        .map(PathBuf::from)
        .context("CARGO_MANIFEST_DIR has no parent: xtask must be a member of the workspace")
}

/// cargo's profile for host builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// Quick to run.
    Release,
}

impl Profile {
    /// The file that a host build with this profile makes of a binary target.
    pub(crate) fn binary(self, root: &Path, name: &str) -> PathBuf {
        let dir = match self {
            Self::Dev => "debug",
            Self::Release => "release",
        };
        let target_dir = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| root.join(dir));
        target_dir.join(dir).join(name)
    }
}

/// The directory for what is costly to make and does not belong to one checkout: `$XDG_CACHE_HOME/lb`, else
/// `~/.cache/lb`.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => env::home_dir()
            .context("neither XDG_CACHE_HOME nor HOME is set: set one of them")?
            .join(".cache"),
    };
    Ok(base.join("lb"))
}
