//! Why did the daemon not start, or end?

use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::OpenError;
use crate::loader::LoadError;
use crate::object::ObjectMissing;
use crate::state::StateError;

/// What ends the daemon. What it can live with becomes a Problem instead.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The state file, or another daemon.
    #[error(transparent)]
    State(#[from] StateError),
    /// This binary has no kernel programs.
    #[error(transparent)]
    Object(#[from] ObjectMissing),
    /// They could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Their maps could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Their maps could not be read.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The BPF file system cannot be mounted.
    #[error(
        "mount the BPF file system at /sys/fs/bpf: {0}: mount it on the host, and leave bpffs out of --prepare"
    )]
    Mount(std::io::Error),
    /// The kernel does not tell of links and addresses.
    #[error("netlink: {0}: run in the host's network namespace, as root")]
    Netlink(std::io::Error),
    /// There is nothing to serve, or it cannot be followed.
    #[error(transparent)]
    Input(#[from] crate::input::InputError),
    /// Whoever follows the source ended.
    #[error("the source of Services ended: restart `lb run`; forwarding goes on meanwhile")]
    InputEnded,
}
