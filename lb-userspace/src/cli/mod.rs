//! What can people ask, and how is it answered? One file for each command, whose doc comment is its
//! help; `view` says what there is to show, `print` how it looks.

mod check;
mod completions;
mod diff;
#[cfg(test)]
mod docs;
mod doctor;
mod drops;
mod env;
pub mod error;
mod explain;
mod get;
#[cfg(test)]
mod golden;
mod handback;
mod manifests;
mod passage;
pub mod print;
mod run;
pub mod select;
pub mod show;
pub mod source;
mod status;
mod takeover;
mod uninstall;
mod verify;
mod version;
pub mod view;
pub mod watch;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lb_common::names;

use self::error::CliError;
use crate::daemon::ReadSettings;
use crate::settings::{self, Settings, SettingsError};

/// Exit code of a wrong command line or setting, as clap has it.
const USAGE: u8 = 2;

/// Balance connections to Services by programs in the kernel, in place of kube-proxy
#[derive(Parser, Debug)]
#[command(name = names::NAME, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(run::Run),
    Get(get::Get),
    Status(status::Status),
    Explain(explain::Explain),
    Diff(diff::Diff),
    Check(check::Check),
    Drops(drops::Drops),
    Doctor(doctor::Doctor),
    Verify(verify::Verify),
    Env(env::Env),
    Takeover(takeover::Takeover),
    Handback(handback::Handback),
    // As kube-proxy has it.
    #[command(long_flag = "cleanup")]
    Uninstall(uninstall::Uninstall),
    Version(version::Version),
    Completions(completions::Completions),
}

/// Runs the program as the command line, the environment and the configuration file say.
#[must_use]
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString> + Send + 'static,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parse = move || {
        let (cli, remarks) = settings::parse::<Cli>(arguments.iter().cloned(), &environment)?;
        cli.settings.check()?;
        Ok((cli, remarks))
    };
    match parse() {
        Ok((cli, remarks)) => {
            let read = Box::new(move || Ok(parse()?.0.settings));
            finish(cli.run(&remarks, read))
        }
        Err(SettingsError::Usage(usage)) => usage.exit(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(USAGE)
        }
    }
}

impl Cli {
    /// Does what was asked for; `remarks` are about the settings.
    fn run(&self, remarks: &[String], read: ReadSettings) -> Result<ExitCode, CliError> {
        match &self.command {
            Command::Run(_) => run::Run::run(&self.settings, remarks, read),
            Command::Uninstall(_) => uninstall::Uninstall::run(&self.settings),
            Command::Get(get) => get.run(&self.settings),
            Command::Explain(explain) => explain.run(&self.settings),
            Command::Diff(_) => diff::Diff::run(&self.settings),
            Command::Check(check) => check.run(&self.settings),
            Command::Drops(drops) => drops.run(&self.settings),
            Command::Env(env) => env.run(&self.settings),
            Command::Status(_) => status::Status::run(&self.settings),
            Command::Doctor(doctor) => doctor.run(&self.settings),
            Command::Verify(verify) => verify.run(&self.settings),
            Command::Takeover(takeover) => takeover.run(&self.settings),
            Command::Handback(handback) => handback.run(&self.settings),
            Command::Version(_) => version::Version::run(),
            Command::Completions(completions) => completions.run(),
        }
    }
}

/// Whoever reads our output may stop when it has enough: that is no failure.
fn finish(result: Result<ExitCode, CliError>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
