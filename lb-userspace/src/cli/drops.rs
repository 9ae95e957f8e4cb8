//! `lb drops`: how many packets went no further, and why?

use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::print::Output;
use super::select::Query;
use super::show::{Answer, show};
use super::source::Source;
use super::view;
use crate::settings::Settings;

/// Show how many packets were dropped or refused, by reason and hook
///
/// The counters begin with the maps: a restart of `lb run` does not reset them.
#[derive(Args, Debug)]
pub(super) struct Drops {
    /// Also reasons that no packet was dropped for
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    output: Output,
}

impl Drops {
    /// Answers.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        show(&Query::default(), &self.output, || {
            let counters = Source::open(settings)?.kernel().drops()?;
            Ok(Answer {
                records: view::drops(&counters, self.all),
                remark: None,
            })
        })
    }
}
