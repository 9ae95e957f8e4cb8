//! Why could the datapath not be loaded, attached or removed, and what helps?

use std::io;
use std::path::{Path, PathBuf};

use lb_common::limits::LAYOUT_VERSION;
use lb_common::named;

/// Why the datapath could not be loaded, attached or removed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The pin directory is on another file system.
    #[error(
        "{}: not on bpffs: run `mount -t bpf bpf /sys/fs/bpf`, or give a --pin-dir that is on one",
        dir.display()
    )]
    NoBpffs {
        /// The pin directory.
        dir: PathBuf,
    },
    /// A file under the pin directory could not be made, read or removed.
    #[error("{}: {action}: {source}{}", path.display(), as_root(source))]
    Pin {
        /// The file.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The object in this binary is broken.
    #[error("the BPF object in this binary: {0}: build it again with `cargo xtask build`")]
    Object(String),
    /// The BPF object has no such program.
    #[error("program {0}: not in the BPF object: build it again with `cargo xtask build`")]
    NoProgram(String),
    /// A pinned map is not the map that the programs expect.
    #[error(
        "pinned map {}: its {what} is {pinned}, not {wanted}: {WAY_OUT}",
        path.display()
    )]
    MapDiffers {
        /// Where it is pinned.
        path: PathBuf,
        /// What differs, as `key size`.
        what: &'static str,
        /// What the pinned map has.
        pinned: u32,
        /// What the programs, or the settings, want.
        wanted: u32,
    },
    /// The pinned maps were written by a version with another layout.
    #[error(
        "pinned map {}: its layout has version {pinned}, not {LAYOUT_VERSION}: {WAY_OUT}",
        path.display()
    )]
    LayoutDiffers {
        /// Where map `config` is pinned.
        path: PathBuf,
        /// The version in it.
        pinned: u32,
    },
    /// The maps could not be made.
    #[error("maps: {source}{}", as_root_or_smaller(source))]
    Maps {
        /// What the kernel said.
        source: Box<aya::EbpfError>,
    },
    /// A program was refused.
    #[error("program {program}: {source}")]
    Program {
        /// Its name.
        program: String,
        /// What the verifier said.
        source: Box<aya::programs::ProgramError>,
    },
    /// The maps could not be opened.
    #[error(transparent)]
    Open(#[from] crate::dataplane::kernel::OpenError),
    /// A map could not be written.
    #[error(transparent)]
    Write(#[from] crate::dataplane::DataplaneError),
    /// rtnetlink failed.
    #[error("rtnetlink: {action}: {source}{}", as_root(source))]
    Netlink {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no cgroup2 to attach to.
    #[error(
        "no cgroup2 is mounted, which the socket hook needs: run `mount -t cgroup2 none /sys/fs/cgroup`, or name a directory by --cgroup, or do without by --socket off"
    )]
    NoCgroup,
    /// The cgroup cannot be attached to.
    #[error(
        "cgroup {}: {action}: {source}: name another by --cgroup, or do without by --socket off",
        dir.display()
    )]
    Cgroup {
        /// Its directory.
        dir: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What helps where pinned maps do not fit.
const WAY_OUT: &str = named!(
    "go back to the version and the settings that made it, or run `",
    " uninstall`, which interrupts connections"
);

impl LoadError {
    /// Turns what the system said about a file into our error.
    pub(super) fn pin(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Pin {
            path,
            action,
            source,
        }
    }

    /// Turns what the kernel said over rtnetlink into our error.
    pub(super) fn netlink(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Netlink { action, source }
    }
}

fn as_root(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        ": run as root"
    } else {
        ""
    }
}

fn as_root_or_smaller(error: &aya::EbpfError) -> &'static str {
    match system_error(error).and_then(io::Error::raw_os_error) {
        Some(libc::EPERM) => {
            ": run as root; on kernels before 5.11 also raise the limit of locked memory (LimitMEMLOCK=infinity)"
        }
        Some(libc::ENOMEM | libc::E2BIG) => ": choose smaller maps by --maps",
        _ => "",
    }
}

/// The system's word at the bottom of an error.
fn system_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        next = error.source();
    }
    None
}
