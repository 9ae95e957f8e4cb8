//! `lb verify`: is the kernel as the daemon left it?

use std::io::ErrorKind;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::error::CliError;
use super::print::Output;
use super::select::Query;
use super::show::{Answer, show};
use super::view::{FindingRecord, Verdict, Verified, verify};
use crate::dataplane::Dataplane as _;
use crate::dataplane::kernel::KernelTables;
use crate::loader::inspect;
use crate::settings::Settings;
use crate::state::{self, State};

/// The daemon writes its state a moment after the maps: differences that go by themselves are none.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Compare maps, pins and attached programs in the kernel with what `lb run` put there
///
/// Looks at elements of maps, pins and what is behind them, attached programs and their order among
/// others', as `lb run` itself does every --audit-interval, which mends it, too. Changes nothing. Works
/// with `lb run` down: what it wrote last counts. The exit code is 1 if something differs, or if there
/// is nothing to compare with.
#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    output: Output,
}

impl Verify {
    /// Answers.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        let mut findings = look(settings)?;
        let mut waited = Duration::ZERO;
        while !is_well(&findings) && waited < PATIENCE {
            sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
            findings = look(settings)?;
        }
        let verdict = is_well(&findings);
        show(&Query::default(), &self.output, || {
            Ok(Answer {
                records: findings.clone(),
                remark: None,
            })
        })?;
        Ok(if verdict {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn is_well(findings: &[FindingRecord]) -> bool {
    findings
        .iter()
        .all(|finding| finding.verdict != Verdict::Bad)
}

fn look(settings: &Settings) -> Result<Vec<FindingRecord>, CliError> {
    // Before the maps: what is written between the two is seen by the next look.
    let state = State::read(&settings.state_file())?;
    let tables = match KernelTables::open(&settings.pin_dir) {
        // Then nobody can tell what is there.
        Err(error) if error.source.kind() == ErrorKind::PermissionDenied => {
            return Err(error.into());
        }
        tables => tables,
    };
    let amiss = inspect(&settings.pin_dir, tables.as_ref().ok(), &state.placed);
    Ok(verify(&Verified {
        maps: match tables {
            Ok(tables) => Ok(tables.read()?.digests()),
            Err(error) => Err(error.to_string()),
        },
        amiss,
        is_running: state::holder(&settings.state_file()).is_some(),
        state: &state,
        now: SystemTime::now(),
    }))
}
