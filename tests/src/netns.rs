//! What is a network namespace to a test? A guard: it lives exactly as long as somebody holds it.
//!
//! It is held open by a file descriptor, not by a name under `/run/netns`. So the kernel removes
//! it when the process ends, in whatever way, with everything in it: nothing can be left behind.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns, unshare};

use crate::command;

/// A network namespace of our own. Only its loopback is in it, and that is up.
#[derive(Debug)]
pub struct Netns {
    name: String,
    handle: File,
}

impl Netns {
    /// Makes a namespace. The name is for people; it need not be unique.
    ///
    /// # Errors
    /// The kernel refuses, which it does unless the caller is root.
    pub fn new(name: &str) -> Result<Self> {
        let make = || -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)
                .context("cannot make a network namespace: run as root")?;
            File::open("/proc/thread-self/ns/net").context("cannot open the new network namespace")
        };
        // In a thread of its own, as it is the thread that moves.
        let handle = in_thread(make)?;
        let netns = Self {
            name: name.to_owned(),
            handle,
        };
        // Addresses serve at once, instead of after a second of looking for duplicates.
        netns.sysctl("net.ipv6.conf.all.accept_dad", "0")?;
        netns.sysctl("net.ipv6.conf.default.accept_dad", "0")?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The name given to it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path by which other programs can open it, while this process lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let (pid, fd) = (std::process::id(), self.handle.as_raw_fd());
        PathBuf::from(format!("/proc/{pid}/fd/{fd}"))
    }

    /// The command that opens a shell in it.
    #[must_use]
    pub fn look_inside(&self) -> String {
        format!("nsenter --net={}", self.path().display())
    }

    /// Does `work` in the namespace, in a thread of its own. What it opens or starts there (a
    /// socket, a child process) stays there.
    ///
    /// # Errors
    /// Those of `work`, or that the namespace could not be entered.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            setns(self.handle.as_fd(), CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter network namespace {}", self.name))?;
            work()
        })
    }

    /// Runs `ip` commands in it, one a line, all in one process.
    ///
    /// # Errors
    /// One of them failed; the later ones were not tried.
    pub fn ip(&self, commands: &str) -> Result<()> {
        self.run(|| command::feed(Command::new("ip").args(["-batch", "-"]), commands))
            .with_context(|| format!("in network namespace {}", self.name))?;
        Ok(())
    }

    /// Runs a program in it to its end and returns its output.
    ///
    /// # Errors
    /// As [`command::run`].
    pub fn output(&self, command: &mut Command) -> Result<String> {
        self.run(|| command::run(command))
            .with_context(|| format!("in network namespace {}", self.name))
    }

    /// Sets a sysctl, written with dots; an interface's name must not contain any.
    ///
    /// # Errors
    /// There is no such sysctl, or it does not take the value.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = PathBuf::from("/proc/sys").join(name.replace('.', "/"));
        self.run(|| {
            // Not `fs::write`: these files can be neither made nor truncated.
            let mut file = File::options().write(true).open(&path)?;
            Ok(file.write_all(value.as_bytes())?)
        })
        .with_context(|| format!("sysctl {name}={value} in network namespace {}", self.name))
    }
}

/// Runs `work` in a thread that ends with it; a panic goes on in the caller.
fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let done = scope.spawn(work).join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::need;

    #[test]
    fn a_namespace_has_a_loopback_of_its_own_and_goes_with_its_guard() -> Result<()> {
        need::root();
        let netns = Netns::new("alone")?;
        let links = netns.output(Command::new("ip").args(["-br", "link"]))?;
        assert_eq!(links.lines().count(), 1, "{links}");
        assert!(links.starts_with("lo "), "{links}");
        let path = netns.path();
        assert!(path.exists());
        drop(netns);
        assert!(!path.exists());
        Ok(())
    }
}
