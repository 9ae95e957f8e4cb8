//! `lb check`: are these manifests sound?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use ipnet::IpNet;

use super::error::CliError;
use super::manifests;
use super::show::write;
use crate::settings::Settings;

/// ClusterIPs are given from here where nobody says otherwise, as kubeadm does: nothing is served,
/// so that any range will do.
const SERVICE_CIDRS: [&str; 2] = ["10.96.0.0/12", "fd00:10:96::/112"];

/// Say whether manifests are sound, without a node and without root
///
/// Reads all files and plans all objects as `lb run` would, prints what would not be served as it is
/// written, and exits with 1 if there is any such thing, or nothing at all: for the CI of
/// repositories with manifests.
/// Without --service-cidr and ServiceCIDR objects, Services are given addresses as kubeadm would.
#[derive(Args, Debug)]
pub(super) struct Check {
    /// Files and directories; the same as --manifests
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Check {
    /// Prints every problem.
    ///
    /// # Errors
    /// The paths cannot be read, or nobody takes the output.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        let mut settings = settings.clone();
        settings.manifests.extend_from_slice(&self.paths);
        if settings.service_cidr.is_empty() {
            let cidrs = SERVICE_CIDRS.iter().filter_map(|cidr| cidr.parse().ok());
            settings.service_cidr = cidrs.collect::<Vec<IpNet>>();
        }
        let state = manifests::plan(&settings, None)?.state;
        for problem in &state.problems {
            write(&format!("{problem}\n"))?;
        }
        eprintln!(
            "{} Services, {} endpoints, {} problems",
            state.services.len(),
            state.targets.len(),
            state.problems.len()
        );
        let is_empty = state.services.is_empty() && state.targets.is_empty();
        if is_empty && state.problems.is_empty() {
            eprintln!("nothing to check: no Service and no endpoint is in these files");
        }
        Ok(if is_empty || !state.problems.is_empty() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}
