//! What is where under a pin directory? The one place that makes up names on bpffs.
//!
//! ```text
//! <pin-dir>/<map>                     maps, under the names that they have in BTF
//! <pin-dir>/programs/<program>        programs
//! <pin-dir>/programs/<program>-bare   the same for devices without Ethernet header
//! <pin-dir>/attached/tcx-in-2-eth0    links of the kernel's: hook, direction, index, device
//! <pin-dir>/attached/xdp-in-2-eth0
//! <pin-dir>/attached/cgroup-connect4
//! <pin-dir>/qdiscs/2-eth0             a clsact qdisc that we made (an empty directory)
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::LoadError;

/// A pin directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// The pin directory of this path, there or not.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Makes the directories that are missing.
    ///
    /// # Errors
    /// [`LoadError::NoBpffs`] if the place is not on bpffs, [`LoadError::Pin`] otherwise.
    pub(super) fn create(&self) -> Result<(), LoadError> {
        if !self.is_on_bpffs() {
            return Err(LoadError::NoBpffs {
                dir: self.dir.clone(),
            });
        }
        for dir in [
            self.dir.clone(),
            self.programs(),
            self.attached(),
            self.qdiscs(),
        ] {
            fs::create_dir_all(&dir).map_err(LoadError::pin(&dir, "create"))?;
        }
        Ok(())
    }

    /// Whether the directory, or the nearest one above it that is there, is on bpffs.
    #[must_use]
    pub fn is_on_bpffs(&self) -> bool {
        let nearest = self.dir.ancestors().find(|dir| dir.exists());
        nearest.is_some_and(|dir| {
            statfs(dir).is_ok_and(|file_system| file_system.filesystem_type() == BPF_FS_MAGIC)
        })
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a map is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where programs are pinned.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.dir.join("programs")
    }

    /// Where links of the kernel's are pinned; `links` is the name of a map.
    #[must_use]
    pub fn attached(&self) -> PathBuf {
        self.dir.join("attached")
    }

    /// Where it is noted which qdiscs are ours.
    #[must_use]
    pub fn qdiscs(&self) -> PathBuf {
        self.dir.join("qdiscs")
    }

    /// Where the link at a device's hook is pinned.
    pub(super) fn device_link(&self, hook: &str, ifindex: u32, device: &str) -> PathBuf {
        self.attached()
            .join(format!("{hook}-{ifindex}-{}", escape(device)))
    }

    /// Where the note is that the device's clsact qdisc is ours.
    pub(super) fn qdisc(&self, ifindex: u32, device: &str) -> PathBuf {
        self.qdiscs().join(format!("{ifindex}-{}", escape(device)))
    }
}

/// Interface index in the name of a note about a qdisc.
pub(super) fn ifindex_of_qdisc(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.split_once('-')?.0.parse().ok()
}

/// Paths of what is in a directory, sorted; nothing if there is no such directory.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let failed = || LoadError::pin(dir, "list");
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed())?,
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed())?;
    paths.sort();
    Ok(paths)
}

/// A device's name without the dots that bpffs does not allow.
fn escape(device: &str) -> String {
    device.replace('%', "%25").replace('.', "%2e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_hook_direction_and_device() {
        let pins = Pins::new(Path::new("/sys/fs/bpf/lb"));
        assert_eq!(
            pins.device_link("tcx-in", 2, "eth0.100"),
            Path::new("/sys/fs/bpf/lb/attached/tcx-in-2-eth0%2e100")
        );
        let note = pins.qdisc(17, "a-b");
        assert_eq!(note, Path::new("/sys/fs/bpf/lb/qdiscs/17-a-b"));
        assert_eq!(ifindex_of_qdisc(&note), Some(17));
    }
}
