//! `lb doctor`: can this machine do what is asked of it?

use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::print::Output;
use super::select::Query;
use super::show::{Answer, show};
use super::view::{Machine, Verdict, doctor};
use crate::loader::probe::probe;
use crate::object;
use crate::settings::Settings;

/// Examine whether this machine can do what the settings ask for, and say what helps if not
///
/// Changes nothing, and needs no `lb run`. The exit code is 1 if something that was asked for does
/// not work here.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    #[command(flatten)]
    output: Output,
}

impl Doctor {
    /// Answers.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        let examine = || Ok::<_, CliError>(doctor(&machine(settings)?, settings));
        let is_well = examine()?
            .iter()
            .all(|finding| finding.verdict != Verdict::Bad);
        show(&Query::default(), &self.output, || {
            Ok(Answer {
                records: examine()?,
                remark: None,
            })
        })?;
        Ok(if is_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// What the machine is like.
fn machine(settings: &Settings) -> Result<Machine, CliError> {
    Ok(Machine {
        object_missing: object::embedded().err().map(|missing| missing.to_string()),
        probe: probe(&settings.pin_dir)?,
    })
}
