//! What is in a machine? An archive of files that the kernel unpacks into memory: a shell, the programs and binaries of
//! the tests with their libraries, and the kernel's modules.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    binaries,
    kernels::Kernel,
    selection::{self, Extent},
};
use crate::{digest, paths::Profile, process};

/// The machine's first program.
const INIT: &str = include_str!("init.sh");

/// Programs that tests call, besides those of busybox.
const PROGRAMS: &[&str] = &[
    "bpftool",
    "bridge",
    "conntrack",
    "dash",
    "ethtool",
    "ip",
    "nft",
    "nsenter",
    "tc",
    "wg",
];

/// What busybox stands for. Not `sh`, which would prefer its own `ip` to the one that tests mean.
const BUSYBOX: &[&str] = &[
    "cat", "dmesg", "env", "find", "grep", "head", "ls", "mkdir", "modprobe", "mount", "mv",
    "poweroff", "rmmod", "sleep", "stty", "sysctl", "tail", "umount", "uname",
];

/// The part of the archive that all machines share.
pub(crate) struct UserSpace {
    archive: PathBuf,
    dir: PathBuf,
}

impl UserSpace {
    /// Builds the test binaries and packs everything but the modules.
    pub(super) fn pack(root: &Path) -> Result<Self> {
        let dir = root.join("target").join("vm");
        let files = dir.join("user-space");
        if files.exists() {
            fs::remove_dir_all(&files)?;
        }
        for place in ["bin", "dev", "etc", "proc", "run", "sys", "tests", "tmp"] {
            fs::create_dir_all(files.join(place))?;
        }
        // One directory for programs, by whichever name it is called.
        for (link, to) in [("sbin", "bin"), ("usr", ".")] {
            symlink(to, files.join(link))?;
        }
        let mut libraries = BTreeSet::new();
        let busybox = process::find("busybox").context("there is no busybox")?;
        fs::copy(busybox, files.join("bin/busybox"))?;
        for name in BUSYBOX {
            symlink("busybox", files.join("bin").join(name))?;
        }
        for name in PROGRAMS {
            let program = process::find(name).with_context(|| format!("there is no {name}"))?;
            fs::copy(&program, files.join("bin").join(name))?;
            libraries.extend(libraries_of(&program)?);
        }
        symlink("dash", files.join("bin/sh"))?;
        for (name, binary) in binaries::build(root, &selection::targets())? {
            libraries.extend(libraries_of(&binary)?);
            strip(&binary, &files.join("tests").join(name))?;
        }
        for name in ["lb", "lb-peer"] {
            let program = Profile::Dev.binary(root, name);
            libraries.extend(libraries_of(&program)?);
            strip(&program, &files.join("tests").join(name))?;
        }
        let object = digest::object_file(root, std::env::consts::ARCH);
        fs::copy(&object, files.join("tests/lb.o"))
            .with_context(|| format!("copying {}", object.display()))?;
        for library in libraries {
            copy(&library, &files)?;
        }
        write_executable(&files.join("init"), INIT)?;
        let archive = dir.join("user-space.cpio");
        pack(&files, &archive)?;
        Ok(Self { archive, dir })
    }

    /// The archive for a machine with this kernel and these tests: the kernel unpacks any number of archives that
    /// follow each other.
    pub(super) fn archive(
        &self,
        name: &str,
        kernel: &Kernel,
        extent: Extent<'_>,
    ) -> Result<PathBuf> {
        let own = self.dir.join(format!("{name}.files"));
        fs::create_dir_all(own.join("tests"))?;
        write_executable(&own.join("tests/run"), &selection::script(extent))?;
        let archive = self.dir.join(format!("{name}.cpio"));
        pack(&kernel.modules_root(), &archive)?;
        let tests = self.dir.join(format!("{name}.tests.cpio"));
        pack(&own, &tests)?;
        let mut whole = File::options().append(true).open(&archive)?;
        for part in [&self.archive, &tests] {
            std::io::copy(&mut File::open(part)?, &mut whole)?;
        }
        fs::remove_dir_all(own)?;
        fs::remove_file(tests)?;
        Ok(archive)
    }
}

fn write_executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Copies a program without its debug information, which is most of it.
fn strip(program: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("strip");
    process::output(command.args(["--strip-debug", "-o"]).arg(to).arg(program))?;
    Ok(())
}

/// The libraries that a program is linked to, by the paths at which it looks for them.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = process::output(Command::new("ldd").arg(program))?;
    let paths = output
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|word| PathBuf::from(word.trim_end_matches(':')));
    let paths: Vec<_> = paths.collect();
    ensure!(!paths.is_empty(), "{} has no libraries", program.display());
    Ok(paths)
}

/// Copies a file to the same place below another top directory.
fn copy(file: &Path, top: &Path) -> Result<()> {
    let below = file.strip_prefix("/").context("an absolute path")?;
    let to = top.join(below);
    fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
    fs::copy(file, &to).with_context(|| format!("copying {}", file.display()))?;
    Ok(())
}

/// Writes all that is in a directory into an archive.
fn pack(dir: &Path, archive: &Path) -> Result<()> {
    let mut find = Command::new("find")
        .arg(".")
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `find`")?;
    let names = find.stdout.take().context("the child's output is piped")?;
    let packed = Command::new("cpio")
        .args(["--create", "--format=newc", "--owner=0:0", "--quiet"])
        .current_dir(dir)
        .stdin(names)
        .stdout(File::create(archive)?)
        .status()
        .context("cannot start `cpio`")?;
    if !find.wait()?.success() || !packed.success() {
        bail!("cannot pack {} into {}", dir.display(), archive.display());
    }
    Ok(())
}
