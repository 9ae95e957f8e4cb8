//! `lb completions`: what may follow on the command line?

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use lb_common::names;

use super::Cli;
use super::error::CliError;
use super::show::write;

/// Print a script that completes this program's commands and flags in a shell
///
/// For bash: `source <(lb completions bash)`.
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    /// Answers.
    pub(super) fn run(&self) -> Result<ExitCode, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), names::NAME, &mut script);
        write(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
