//! Where bpf-linker is kept: it must be built with the LLVM of the compiler, so it is cached by LLVM version.

use std::path::PathBuf;

use anyhow::Result;

use crate::paths;

/// The version that `setup` installs.
pub(crate) const VERSION: &str = "0.13.0";

/// The directory that holds a bpf-linker for that LLVM, as `cargo install --root` lays it out.
pub(crate) fn cached_root(llvm_major: u32) -> Result<PathBuf> {
    Ok(paths::cache()?.join(format!("bpf-linker-{VERSION}-llvm{llvm_major}")))
}

/// The cached bpf-linker for that LLVM, if it is there.
pub(crate) fn cached(llvm_major: u32) -> Result<Option<PathBuf>> {
    let program = cached_root(llvm_major)?.join("bin/bpf-linker");
    Ok(program.is_file().then_some(program))
}

/// Debian's package of what bpf-linker is built with.
pub(crate) fn llvm_package(llvm_major: u32) -> String {
    format!("llvm-{llvm_major}-dev")
}

/// Where Debian keeps the files of that LLVM.
pub(crate) fn llvm_prefix(llvm_major: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{llvm_major}"))
}
