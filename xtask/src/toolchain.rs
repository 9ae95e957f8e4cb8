//! Which compiler and linker build the BPF object on this machine.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{linker, process};

/// The BPF target: little endian, as both supported architectures are.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Where Debian's `rustc-web`, `cargo-web` and `rust-web-clippy` put their programs.
const DEBIAN_BIN: &str = "/usr/bin";

/// A compiler with a bpf-linker that reads its bitcode.
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

/// A Rust compiler that has `core` for the BPF target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// rustup's nightly with the component `rust-src`, from which `core` is compiled.
    Nightly,
    /// Debian's `rustc-web` with `libstd-rust-web-dev-bpf`, which brings `core` compiled.
    Debian,
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nightly => "rustup's nightly, core from rust-src",
            Self::Debian => "Debian's rustc-web, core prebuilt",
        })
    }
}

impl Toolchain {
    /// The first pair that is complete on this machine.
    ///
    /// A linker of the cache is known to have the compiler's LLVM, so such a pair goes before one with a linker of `PATH`.
    pub(crate) fn detect(root: &Path) -> Result<Self> {
        let compilers = Compiler::installed(root);
        if compilers.is_empty() {
            bail!("no Rust compiler here has `core` for the BPF target: run `cargo xtask setup`");
        }
        for compiler in &compilers {
            if let Some(linker) = linker::cached(compiler.llvm_major(root)?)? {
                return Ok(Self {
                    compiler: *compiler,
                    linker,
                });
            }
        }
        let linker = process::find("bpf-linker")
            .context("bpf-linker is neither in the cache nor in PATH: run `cargo xtask setup`")?;
        Ok(Self {
            compiler: compilers[0],
            linker,
        })
    }

    /// A command that runs the compiler's `cargo <subcommand>` for the BPF target, for kernels of that architecture.
    pub(crate) fn cargo(&self, root: &Path, subcommand: &str, arch: &str) -> Command {
        let mut command = match self.compiler {
            Compiler::Nightly => {
                let mut command = nightly(root, "cargo");
                command.args([subcommand, "-Zbuild-std=core"]);
                command
            }
            Compiler::Debian => debian_cargo(root, subcommand),
        };
        command.args(["--target", TARGET]);
        // A wrapper in the user's configuration may know neither this compiler nor this target.
        command
            .env("RUSTC_WRAPPER", "")
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(arch));
        command
    }

    /// The flags that make a BPF object out of a crate, encoded as cargo wants them.
    fn rustflags(&self, arch: &str) -> OsString {
        let mut linker = OsString::from("-Clinker=");
        linker.push(&self.linker);
        let arch = OsString::from(format!("--cfg=bpf_target_arch=\"{arch}\""));
        let flags = [
            linker,
            "-Cdebuginfo=2".into(),
            "-Clink-arg=--btf".into(),
            // Jumps for "less" too (kernel 4.14). Not v3: LLVM then reads registers that nobody wrote,
            // and compares halves of what the verifier knows whole.
            "-Ctarget-cpu=v2".into(),
            // Else LLVM calls a loop, byte by byte, for all that it sets to zero.
            "-Clink-arg=--disable-expand-memcpy-in-order".into(),
            arch,
        ];
        flags.join(OsStr::new("\x1f"))
    }
}

impl Compiler {
    /// Those on this machine, the preferred one first.
    pub(crate) fn installed(root: &Path) -> Vec<Self> {
        let mut compilers = vec![Self::Nightly, Self::Debian];
        compilers.retain(|compiler| compiler.is_complete(root));
        compilers
    }

    fn is_complete(self, root: &Path) -> bool {
        match self {
            Self::Nightly => nightly_has_rust_src(root),
            Self::Debian => debian_has_core(root),
        }
    }

    /// The major version of the LLVM whose bitcode this compiler writes: bpf-linker must be built with the same.
    pub(crate) fn llvm_major(self, root: &Path) -> Result<u32> {
        let mut command = match self {
            Self::Nightly => nightly(root, "rustc"),
            Self::Debian => process::isolated(debian("rustc"), root),
        };
        parse_llvm_major(&process::output(command.arg("-vV"))?)
    }
}

fn debian_cargo(root: &Path, subcommand: &str) -> Command {
    // `cargo clippy` would look for rustup's proxy first: the subcommand is called by its own path.
    let external = debian(&format!("cargo-{subcommand}"));
    let mut command = if external.is_file() {
        process::isolated(external, root)
    } else {
        process::isolated(debian("cargo"), root)
    };
    command
        .arg(subcommand)
        .env("CARGO", debian("cargo"))
        .env("RUSTC", debian("rustc"))
        // Stable refuses unstable features: these crates alone may use them. (`1` would also ask for build-std.)
        .env("RUSTC_BOOTSTRAP", "aya_ebpf,lb_ebpf,floors");
    command
}

fn debian(program: &str) -> PathBuf {
    Path::new(DEBIAN_BIN).join(program)
}

fn debian_has_core(root: &Path) -> bool {
    if !debian("rustc").is_file() || !debian("cargo").is_file() {
        return false;
    }
    let mut command = process::isolated(debian("rustc"), root);
    process::output(command.args(["--print", "target-libdir", "--target", TARGET]))
        .is_ok_and(|libdir| holds_core(Path::new(libdir.trim())))
}

fn holds_core(libdir: &Path) -> bool {
    libdir.read_dir().is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

fn nightly(root: &Path, program: &str) -> Command {
    let mut command = process::isolated("rustup", root);
    command.args(["run", "nightly", program]);
    command
}

fn nightly_has_rust_src(root: &Path) -> bool {
    // The list first: `rustup run` may install a toolchain that is not there.
    let installed = process::output(process::isolated("rustup", root).args(["toolchain", "list"]))
        .is_ok_and(|list| list.lines().any(|line| line.starts_with("nightly")));
    installed
        && process::output(nightly(root, "rustc").args(["--print", "sysroot"])).is_ok_and(
            |sysroot| {
                Path::new(sysroot.trim())
                    .join("lib/rustlib/src/rust/library/core/src/lib.rs")
                    .is_file()
            },
        )
}

/// Reads `LLVM version: 22.1.8` out of `rustc -vV`.
fn parse_llvm_major(verbose_version: &str) -> Result<u32> {
    let version = verbose_version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .context("`rustc -vV` names no LLVM version")?;
    match version.split('.').next().map(str::parse) {
        Some(Ok(major)) => Ok(major),
        _ => bail!("`rustc -vV` names LLVM version `{version}`, which starts with no number"),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_llvm_major;

    #[test]
    fn the_llvm_version_is_the_number_before_the_first_dot() {
        let verbose =
            "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(parse_llvm_major(verbose).unwrap(), 22);
        assert!(parse_llvm_major("rustc 1.96.0").is_err());
    }
}
