//! Which sources make the BPF object, and in which state: a stamp beside the object tells without building whether it
//! is outdated.
//!
//! Compiled twice: into `xtask`, which writes the object and its stamp, and into the build script of `lb-userspace`,
//! which embeds the object when its stamp still holds. Hence std only.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the object, its stamp and the floors are, below the top of the checkout; nothing else is kept there.
pub(crate) const OBJECT_DIR: &str = "target/bpf";

/// Whatever decides the bytes of the object, below the top of the checkout: files, or directories with all they hold.
pub(crate) const SOURCES: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "lb-common",
    "lb-ebpf",
    "xtask/src/btf.rs",
    "xtask/src/build_ebpf.rs",
    "xtask/src/toolchain.rs",
];

/// The object for that architecture (as in `std::env::consts::ARCH`): `lb.o` for this machine's own, else with its name.
pub(crate) fn object_file(root: &Path, arch: &str) -> PathBuf {
    let name = if arch == std::env::consts::ARCH {
        "lb.o".to_owned()
    } else {
        format!("lb-{arch}.o")
    };
    root.join(OBJECT_DIR).join(name)
}

/// The file beside the object that says what the object was made from.
pub(crate) fn stamp_file(root: &Path, arch: &str) -> PathBuf {
    object_file(root, arch).with_extension("stamp")
}

/// The stamp of an object made from the sources as they are now, with these features (comma-separated).
pub(crate) fn stamp(root: &Path, arch: &str, features: &str) -> io::Result<String> {
    let hash = hash(root, SOURCES)?;
    Ok(format!(
        "arch {arch}\nfeatures {features}\nsources {hash:016x}\n"
    ))
}

/// A number that follows from the names and contents of these files, and of all files in these directories.
pub(crate) fn hash(root: &Path, sources: &[&str]) -> io::Result<u64> {
    let mut hash = Fnv::new();
    for source in sources {
        hash_tree(&mut hash, root, Path::new(source))?;
    }
    Ok(hash.0)
}

fn hash_tree(hash: &mut Fnv, root: &Path, path: &Path) -> io::Result<()> {
    let full = root.join(path);
    if full.is_dir() {
        let mut names = full
            .read_dir()?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        // Hidden files are editors' and never compiled.
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        return names
            .iter()
            .try_for_each(|name| hash_tree(hash, root, &path.join(name)));
    }
    hash.field(path.as_os_str().as_encoded_bytes());
    hash.field(&fs::read(full)?);
    Ok(())
}

/// FNV-1a, 64 bits: std's own hasher may change with the compiler, and the two users of this file may differ in theirs.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Hashes the length first, so that the border between two fields counts.
    fn field(&mut self, bytes: &[u8]) {
        self.bytes(&(bytes.len() as u64).to_le_bytes());
        self.bytes(bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
