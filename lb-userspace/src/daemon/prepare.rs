//! What does the daemon change of the machine where it is asked to? Nothing else of it is changed
//! unasked; `lb doctor` says what lacks.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use tracing::{info, warn};

use super::DaemonError;
use crate::loader::Pins;
use crate::settings::{Preparation, Settings};

/// Where BPF file systems are mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// Does what `--prepare` names.
///
/// # Errors
/// The BPF file system cannot be mounted; a sysctl that cannot be written is said only, as it may
/// be needed by nobody.
pub(super) fn prepare(settings: &Settings) -> Result<(), DaemonError> {
    if settings.prepare.contains(&Preparation::Bpffs) {
        mount_bpffs(&settings.pin_dir).map_err(DaemonError::Mount)?;
    }
    if settings.prepare.contains(&Preparation::Sysctls) {
        for name in Preparation::SYSCTLS {
            switch_on(name);
        }
    }
    Ok(())
}

fn mount_bpffs(pin_dir: &Path) -> io::Result<()> {
    // One that is elsewhere is for the user to mount.
    if !pin_dir.starts_with(BPFFS) || Pins::new(pin_dir).is_on_bpffs() {
        return Ok(());
    }
    mount(
        Some("bpf"),
        BPFFS,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )?;
    info!(at = BPFFS, "BPF file system mounted");
    Ok(())
}

fn switch_on(name: &str) {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    match fs::read_to_string(&path) {
        // A kernel without it, as without IPv6, has nothing to switch on.
        Err(_) => {}
        Ok(value) if value.trim() != "0" => {}
        Ok(_) => match fs::write(&path, "1") {
            Ok(()) => info!(sysctl = name, "switched on"),
            Err(error) => warn!(sysctl = name, %error, "not switched on: set it on the host"),
        },
    }
}
