//! `lb verify`: is the kernel as the daemon left it?

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::error::CliError;
use super::print::Output;
use super::select::Query;
use super::show::{Answer, show};
use super::source::Source;
use super::view::{FindingRecord, Verdict, Verified, verify};
use crate::loader::inspect_pins;
use crate::settings::Settings;
use crate::state::State;

/// The daemon writes its state a moment after the maps: differences that go by themselves are none.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Compare maps, links and pins in the kernel with what `lb run` wrote there
///
/// Changes nothing; `lb run` itself compares and mends every --audit-interval, filters and the order
/// of programs as well. Works with `lb run` down, too: what it wrote last counts. The exit code is 1 if something differs, or if there is
/// nothing to compare with.
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
    let source = Source::open(settings)?;
    Ok(verify(&Verified {
        maps: source.tables()?.digests(),
        amiss: inspect_pins(&settings.pin_dir, &state.attached),
        is_running: source.daemon().is_some(),
        state: &state,
        now: SystemTime::now(),
    }))
}
