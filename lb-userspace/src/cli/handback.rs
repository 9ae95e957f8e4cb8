//! `lb handback`: our connections go on as those of kube-proxy's rules.

use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::passage::{Direction, Passing};
use crate::loader::kube_proxy::{leftovers, translates};
use crate::netlink::Facts;
use crate::settings::Settings;

/// Hand connections back to kube-proxy, so that they outlive lb
///
/// Has lb stand by, so that kube-proxy's rules serve what begins, and moves the connections of lb's
/// flow table into nf_conntrack, one by one, while they go on. Needs `lb run`, and kube-proxy's rules
/// (nftables or iptables): start it first, and wait until it is healthy. `lb uninstall` may follow.
///
/// What cannot be moved is shown first, with the reason. It stays in lb's flow table and goes on until
/// `lb uninstall`. Connections of this node's own processes are neither's: they go on by themselves.
///
/// The exit code is 0 if all connections pass, 3 if some stay, 1 if it fails: then those that were
/// moved stay moved, and it can be called again.
#[derive(Args, Debug)]
pub(super) struct Handback {
    #[command(flatten)]
    passing: Passing,
}

impl Handback {
    /// Hands back.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        // By its rules alone: links tell of its IPVS mode.
        let rules = leftovers(&Facts::default()).map_err(CliError::Rules)?;
        if !translates(&rules) {
            return Err(CliError::NoKubeProxy);
        }
        self.passing.run(settings, Direction::Give)
    }
}
