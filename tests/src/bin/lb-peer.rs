//! Opens sockets as a process of a cgroup, for the tests: `lb-peer CGROUP` joins the cgroup and
//! hands the sockets that it is asked for over standard input, a Unix socket, until that ends.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let cgroup = std::env::args_os()
        .nth(1)
        .context("usage: lb-peer CGROUP")?;
    let procs = PathBuf::from(cgroup).join("cgroup.procs");
    std::fs::write(&procs, std::process::id().to_string())
        .with_context(|| procs.display().to_string())?;
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    lb_tests::sockets::serve(UnixStream::from(stdin))
}
