//! `lb version`: which one is this?

use std::process::ExitCode;

use clap::Args;
use lb_common::limits::LAYOUT_VERSION;
use lb_common::names;

use super::error::CliError;
use super::show::write;
use crate::object;

/// Show the version of this program, of its maps' layout, and whether it holds kernel programs
#[derive(Args, Debug)]
pub(super) struct Version {}

impl Version {
    /// Answers.
    pub(super) fn run() -> Result<ExitCode, CliError> {
        let programs = match object::embedded() {
            Ok(object) => format!("{} bytes", object.len()),
            Err(missing) => format!("none: {missing}"),
        };
        write(&format!(
            "{} {}\nlayout of maps   {LAYOUT_VERSION}\nkernel programs  {programs}\n",
            names::NAME,
            env!("CARGO_PKG_VERSION"),
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
