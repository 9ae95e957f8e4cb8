//! Is a daemon there? It holds a lock beside its state file, which the kernel lets go of when it
//! ends, however it ends.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::{StateError, failed};

/// The right to be the one daemon of a pin directory.
#[derive(Debug)]
pub struct Lock {
    /// Locked as long as it is open.
    _file: File,
}

impl Lock {
    /// Takes the lock that belongs to the state file, and leaves our process id in it.
    ///
    /// # Errors
    /// [`StateError::Running`] if another process holds it, [`StateError::Io`] if there can be none.
    pub fn take(state_file: &Path) -> Result<Self, StateError> {
        let path = path_of(state_file);
        let io = |action| {
            let path = path.clone();
            move |error| failed(&path, action, error)
        };
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(io("create its directory"))?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open"))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole())) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => {
                return Err(StateError::Running {
                    pid: written_pid(&mut file),
                });
            }
            Err(error) => return Err(failed(&path, "lock", error.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io("write"))?;
        Ok(Self { _file: file })
    }

    /// Removes the lock's file, and only then lets go of it.
    pub(super) fn remove(self, state_file: &Path) -> Result<(), StateError> {
        let path = path_of(state_file);
        let result = fs::remove_file(&path);
        drop(self);
        result.map_err(|error| failed(&path, "remove", error))
    }
}

/// Process id of the daemon that runs now (0 if it did not say); none if there is none. Only looks:
/// a daemon that starts meanwhile is not disturbed.
#[must_use]
pub fn holder(state_file: &Path) -> Option<u32> {
    let mut file = File::open(path_of(state_file)).ok()?;
    let mut conflict = whole();
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut conflict)).ok()?;
    (i32::from(conflict.l_type) != libc::F_UNLCK).then(|| written_pid(&mut file))
}

/// A write lock on the whole file.
fn whole() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn path_of(state_file: &Path) -> PathBuf {
    state_file.with_extension("lock")
}

fn written_pid(file: &mut File) -> u32 {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}
