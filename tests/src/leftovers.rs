//! What would a test leave behind that the kernel does not clean up by itself? Pins, cgroups,
//! directories: each has a guard, and Ctrl-C goes the way that the guards would have gone.
//!
//! Namespaces are not among it, see [`crate::netns`]. What a killed process could not remove, the
//! next one does.

mod orphans;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::command;

/// Where BPF objects are pinned.
const BPFFS: &str = "/sys/fs/bpf";
/// Beginning of the names of everything that tests make outside of namespaces.
const PREFIX: &str = "lb-test";

/// All that is to be removed, the newest last.
static LEFTOVERS: Mutex<Vec<Leftover>> = Mutex::new(Vec::new());

#[derive(Clone, Debug, PartialEq, Eq)]
enum Leftover {
    /// A directory with all that is in it.
    Directory(PathBuf),
    /// A cgroup, which has to be empty.
    Cgroup(PathBuf),
    /// A process that this one started.
    Process(u32),
}

impl Leftover {
    fn remove(&self) {
        let outcome = match self {
            Self::Directory(path) => fs::remove_dir_all(path),
            Self::Cgroup(path) => remove_cgroup(path),
            Self::Process(pid) => {
                let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).map_err(Into::into)
            }
        };
        if let Err(error) = outcome {
            eprintln!("left behind: {self:?}: {error}");
        }
    }
}

/// Its processes have been ended by now, and are gone a moment later.
fn remove_cgroup(path: &Path) -> io::Result<()> {
    let mut tries = 0..50;
    loop {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries.next().is_some() => {
                thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

fn leftovers() -> MutexGuard<'static, Vec<Leftover>> {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(leftover: Leftover) {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        orphans::remove();
        watch_signals();
    });
    leftovers().push(leftover);
}

fn watch_signals() {
    match Signals::new([SIGINT, SIGTERM]) {
        Ok(signals) => drop(thread::spawn(move || remove_all_on(signals))),
        Err(error) => eprintln!("Ctrl-C will leave pins behind: {error}"),
    }
}

fn remove_all_on(mut signals: Signals) {
    if let Some(signal) = signals.forever().next() {
        for leftover in leftovers().drain(..).rev() {
            leftover.remove();
        }
        std::process::exit(128 + signal);
    }
}

/// Forgets it; whether it was still noted.
fn forget(leftover: &Leftover) -> bool {
    let mut all = leftovers();
    let at = all.iter().position(|noted| noted == leftover);
    at.map(|at| all.remove(at)).is_some()
}

/// Removes what it guards when it goes.
#[derive(Debug)]
pub struct Guard(Leftover);

impl Guard {
    /// What it guards, as a path; empty for a process.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.0 {
            Leftover::Directory(path) | Leftover::Cgroup(path) => path,
            Leftover::Process(_) => Path::new(""),
        }
    }

    /// Guards no longer: it has gone in another way.
    pub fn release(self) {
        forget(&self.0);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if forget(&self.0) {
            self.0.remove();
        }
    }
}

/// A name that no other test, process or machine's user has.
fn unique(name: &str) -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{PREFIX}-{}-{count}-{name}", std::process::id())
}

/// A directory for pins, mounting the BPF file system where nobody has.
///
/// # Errors
/// There is no BPF file system and it cannot be mounted.
pub fn pin_dir(name: &str) -> Result<Guard> {
    let is_mounted = || -> Result<bool> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let is_bpffs = |line: &str| line.split(' ').skip(1).take(2).eq([BPFFS, "bpf"]);
        Ok(mounts.lines().any(is_bpffs))
    };
    if !is_mounted()? {
        let mounted = command::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]));
        // Another test may have been quicker.
        if !is_mounted()? {
            mounted.context("mounting the BPF file system")?;
        }
    }
    directory(&Path::new(BPFFS).join(unique(name)))
}

/// A directory for files.
///
/// # Errors
/// It cannot be made.
pub fn temporary_dir(name: &str) -> Result<Guard> {
    directory(&std::env::temp_dir().join(unique(name)))
}

fn directory(path: &Path) -> Result<Guard> {
    fs::create_dir(path).with_context(|| format!("making {}", path.display()))?;
    let leftover = Leftover::Directory(path.to_owned());
    note(leftover.clone());
    Ok(Guard(leftover))
}

/// A cgroup of version 2, wherever that is mounted.
///
/// # Errors
/// There is none.
pub fn cgroup(name: &str) -> Result<Guard> {
    let path = cgroup_root()?.join(unique(name));
    fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
    let leftover = Leftover::Cgroup(path);
    note(leftover.clone());
    Ok(Guard(leftover))
}

fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut fields = mounts.lines().map(|line| line.split(' ').skip(1));
    let root = fields.find_map(|mut fields| {
        let place = fields.next()?;
        (fields.next()? == "cgroup2").then_some(place)
    });
    let Some(root) = root else {
        bail!("no cgroup2 file system is mounted");
    };
    Ok(PathBuf::from(root))
}

/// A process that is killed unless it has ended before and its guard was released.
#[must_use]
pub fn process(pid: u32) -> Guard {
    let leftover = Leftover::Process(pid);
    note(leftover.clone());
    Guard(leftover)
}
