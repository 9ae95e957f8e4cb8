//! Where is cgroup2, which network namespace is the node, and how do programs come to socket calls?

use std::fs;
use std::path::{Path, PathBuf};

use super::hooks::Cgroup;
use super::programs::{Header, Programs};
use super::{Datapath, LoadError, Options};
use crate::bpf::Attachment;
use crate::settings::SocketScope;

/// The programs at socket calls.
const PROGRAMS: [(&str, Attachment); 9] = [
    // Before what it takes back.
    ("sock_release", Attachment::SocketRelease),
    ("sock_connect4", Attachment::Connect4),
    ("sock_connect6", Attachment::Connect6),
    ("sock_sendmsg4", Attachment::Sendmsg4),
    ("sock_sendmsg6", Attachment::Sendmsg6),
    ("sock_recvmsg4", Attachment::Recvmsg4),
    ("sock_recvmsg6", Attachment::Recvmsg6),
    ("sock_getpeer4", Attachment::Getpeername4),
    ("sock_getpeer6", Attachment::Getpeername6),
];

/// Loads what a cgroup needs.
pub(super) fn preload(programs: &mut Programs, cgroup: Option<&Cgroup>) -> Result<(), LoadError> {
    let names = PROGRAMS.iter().filter(|_| cgroup.is_some());
    for (name, _) in names {
        programs.get(Header::Ethernet, name)?;
    }
    Ok(())
}

impl Datapath {
    /// Brings programs to the socket calls of the cgroup, and takes them from every other.
    pub(super) fn attach_sockets(&mut self) -> Result<(), LoadError> {
        self.hooks.clear_sockets(self.cgroup.as_ref())?;
        let Some(cgroup) = &self.cgroup else {
            return Ok(());
        };
        for (name, attachment) in PROGRAMS {
            let program = self.programs.get(Header::Ethernet, name)?;
            self.hooks.set_socket(cgroup, attachment, program)?;
        }
        Ok(())
    }
}

/// The cgroup whose sockets are to be served; none if none are.
pub(super) fn wanted(options: &Options) -> Result<Option<Cgroup>, LoadError> {
    if options.socket == SocketScope::Off {
        return Ok(None);
    }
    let directory = match &options.cgroup {
        Some(directory) => directory.clone(),
        None => root().ok_or(LoadError::NoCgroup)?,
    };
    Cgroup::open(&directory).map(Some)
}

/// Where the root of cgroup2 is mounted.
#[must_use]
pub(super) fn root() -> Option<PathBuf> {
    root_in(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The first mount of the whole cgroup2 file system.
fn root_in(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        // `id parent device root place options ... - type source options`
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let is_root = root == "/" && file_system.starts_with("cgroup2 ");
        is_root.then(|| Path::new(place).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_wherever_it_is_mounted() {
        let hybrid = "\
25 30 0:22 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755
31 25 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 25 0:28 /slice /mnt/part rw,relatime - cgroup2 cgroup2 rw
34 25 0:28 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw";
        let found = root_in(hybrid);
        assert_eq!(found.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(root_in(""), None);
    }
}
