//! Where bpf-linker is: it must be built with the LLVM of the compiler, so it is cached by LLVM version.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{paths, process};

/// The version that `setup` installs.
pub(crate) const VERSION: &str = "0.13.0";

/// The directory that holds a bpf-linker for that LLVM, as `cargo install --root` lays it out.
pub(crate) fn cached_root(llvm_major: u32) -> Result<PathBuf> {
    Ok(paths::cache()?.join(format!("bpf-linker-{VERSION}-llvm{llvm_major}")))
}

/// The cached bpf-linker for that LLVM, else the one in `PATH`, whose LLVM is its installer's business.
pub(crate) fn find(llvm_major: u32) -> Result<PathBuf> {
    let cached = cached_root(llvm_major)?.join("bin/bpf-linker");
    if cached.is_file() {
        return Ok(cached);
    }
    process::find("bpf-linker").with_context(|| {
        format!(
            "bpf-linker is neither {} nor in PATH: run `cargo xtask setup`",
            cached.display()
        )
    })
}
