//! `lb uninstall`: leave no trace.

use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::show::write;
use crate::loader;
use crate::settings::Settings;
use crate::state::{Lock, State};

/// Remove every program, map and file of ours from this node; what is not ours stays
///
/// Connections through Services end, and no new ones begin. `lb run` must be stopped before. With
/// nothing to remove, it is done.
#[derive(Args, Debug)]
pub(super) struct Uninstall {}

impl Uninstall {
    /// Removes everything.
    pub(super) fn run(settings: &Settings) -> Result<ExitCode, CliError> {
        let state_file = settings.state_file();
        let lock = Lock::take(&state_file)?;
        let removed = loader::uninstall(&settings.pin_dir)?;
        State::remove(&state_file, lock)?;
        write(&format!(
            "removed from {}: {} attached programs, {} qdiscs, {} pinned programs, {} maps\n",
            settings.pin_dir.display(),
            removed.attached,
            removed.qdiscs,
            removed.programs,
            removed.maps,
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
