//! `lb takeover`: connections that kube-proxy's rules translated go on as ours.

use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::passage::{Direction, Passing};
use crate::settings::Settings;

/// Take connections over from kube-proxy, so that they outlive its rules
///
/// Moves the connections to Services that nf_conntrack translates on this node into lb's flow table,
/// one by one, while they go on; then lb serves what begins, if it stood by until now. Needs `lb run`
/// beside kube-proxy's rules (nftables or iptables), which may go afterwards.
///
/// What cannot be moved is shown first, with the reason. It stays in nf_conntrack and goes on as long
/// as a chain of type nat is there, kube-proxy's or any other; removing the last one ends it. What
/// IPVS translates stays there.
///
/// The exit code is 0 if all connections pass, 3 if some stay, 1 if it fails: then those that were
/// moved stay moved, and it can be called again.
#[derive(Args, Debug)]
pub(super) struct Takeover {
    #[command(flatten)]
    passing: Passing,
}

impl Takeover {
    /// Takes over.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        self.passing.run(settings, Direction::Take)
    }
}
