//! `cargo xtask build-ebpf`: how the BPF object is compiled, linked and stamped.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::{
    btf, digest, process,
    toolchain::{TARGET, Toolchain},
};

/// cargo's profile for the object, in the top-level Cargo.toml.
const PROFILE: &str = "bpf";

/// cargo's own directory: apart from the host's, so that the two never wait for each other's lock.
pub(crate) const CARGO_DIR: &str = "target/bpf-build";

/// The floors' file beside the object.
const FLOORS: &str = "floors.o";

/// Compile the kernel programs into target/bpf/lb.o
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Arguments {
    /// The architecture of the kernel that the object is for; default: this machine's
    #[arg(long, value_parser = ["x86_64", "aarch64"])]
    pub(crate) arch: Option<String>,
    /// Features of lb-ebpf, comma-separated
    #[arg(long, value_delimiter = ',')]
    pub(crate) features: Vec<String>,
}

impl Arguments {
    fn arch(&self) -> &str {
        self.arch.as_deref().unwrap_or(std::env::consts::ARCH)
    }
}

/// Builds the object, or leaves it where it is when its sources have not changed.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let arch = arguments.arch();
    let features = arguments.features.join(",");
    let object = digest::object_file(root, arch);
    let stamp_file = digest::stamp_file(root, arch);

    // Taken before the build: what is edited meanwhile makes the object stale.
    let stamp =
        digest::stamp(root, arch, &features).context("cannot read the sources of lb-ebpf")?;
    let shown = object.strip_prefix(root).unwrap_or(&object).display();
    if object.is_file() && fs::read_to_string(&stamp_file).is_ok_and(|written| written == stamp) {
        println!("{shown}: up to date");
        return Ok(());
    }

    let start = Instant::now();
    let toolchain = Toolchain::detect(root)?;
    println!(
        "{shown}: building for {arch} with {}; linker {}",
        toolchain.compiler,
        toolchain.linker.display()
    );
    let compiled = compile(root, &toolchain, arch, &features, "lb-ebpf")?;
    let mut bytes =
        fs::read(&compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
    let has_text = btf::mark_text(&mut bytes)
        .with_context(|| format!("cannot edit the BTF of {}", compiled.display()))?;
    write(&object, &bytes)?;
    write(&stamp_file, stamp.as_bytes())?;
    println!(
        "{shown}: {} bytes, text fields {}, {:.1} s",
        bytes.len(),
        if has_text { "marked" } else { "none" },
        start.elapsed().as_secs_f32()
    );
    Ok(())
}

/// Builds the floors that `cargo xtask bench` measures against, for this machine; cargo knows whether it must.
pub(crate) fn floors(root: &Path) -> Result<()> {
    let arch = std::env::consts::ARCH;
    let compiled = compile(root, &Toolchain::detect(root)?, arch, "", "floors")?;
    let bytes =
        fs::read(&compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
    let object = root.join(digest::OBJECT_DIR).join(FLOORS);
    if fs::read(&object).is_ok_and(|written| written == bytes) {
        return Ok(());
    }
    write(&object, &bytes)
}

/// Compiles one binary target of lb-ebpf.
fn compile(
    root: &Path,
    toolchain: &Toolchain,
    arch: &str,
    features: &str,
    binary: &str,
) -> Result<PathBuf> {
    let target_dir = root.join(CARGO_DIR).join(arch);
    let mut command = toolchain.cargo(root, "build", arch);
    command.args([
        "--locked",
        "--package",
        "lb-ebpf",
        "--bin",
        binary,
        "--profile",
        PROFILE,
        "--target-dir",
    ]);
    command.arg(&target_dir);
    if !features.is_empty() {
        command.args(["--features", features]);
    }
    process::run(&mut command)?;
    Ok(target_dir.join(TARGET).join(PROFILE).join(binary))
}

/// Writes beside the file and renames, so that a build script that reads meanwhile sees a whole file.
fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let beside = file.with_added_extension("new");
    let dir = file.parent().context("a file has a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(&beside, bytes).with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, file).with_context(|| format!("cannot rename to {}", file.display()))
}
