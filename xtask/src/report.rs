//! How the stages of a long command are timed and summed up in one table.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;

/// What one stage found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Checks or tests that passed.
    pub(crate) passed: u64,
    /// Checks or tests that failed.
    pub(crate) failed: u64,
    /// Tests that the source itself leaves out (`#[ignore]`), and those about what this kernel does not have.
    pub(crate) ignored: u64,
    /// What this kernel is too old for, and figures that tests want to be seen.
    pub(crate) notes: BTreeSet<String>,
    /// Tests that could not run here, each with its reason.
    pub(crate) skipped: Vec<String>,
}

impl Outcome {
    /// A stage that is one check.
    pub(crate) fn of_check(passed: bool) -> Self {
        Self {
            passed: u64::from(passed),
            failed: u64::from(!passed),
            ..Self::default()
        }
    }
}

/// The stages that ran, in order.
#[derive(Default)]
pub(crate) struct Report {
    stages: Vec<(String, Outcome, Duration)>,
}

impl Report {
    /// Runs a stage; an error is printed and counts as one failure, so that the next stage still runs.
    pub(crate) fn stage(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = work().unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Outcome::of_check(false)
        });
        self.add(name.to_owned(), outcome, start.elapsed());
    }

    /// Adds a stage that ran elsewhere.
    pub(crate) fn add(&mut self, name: String, outcome: Outcome, elapsed: Duration) {
        self.stages.push((name, outcome, elapsed));
    }

    /// Runs a stage that is one check.
    pub(crate) fn check(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        self.stage(name, || work().map(|()| Outcome::of_check(true)));
    }

    /// Whether nothing has failed so far.
    pub(crate) fn is_green(&self) -> bool {
        self.stages
            .iter()
            .all(|(_, outcome, _)| outcome.failed == 0)
    }

    /// Prints the table and, as the last line of the run, the counts; says whether something ran and nothing failed.
    ///
    /// With `strict`, as in CI, a skipped test counts as failed.
    pub(crate) fn close(&self, strict: bool) -> ExitCode {
        print!("\n{}", self.table());
        let (passed, failed) = self.totals(strict);
        if strict && self.skipped().next().is_some() {
            println!("CI is set: what is skipped counts as failed.");
        }
        if passed + failed == 0 {
            println!("Nothing ran: does the filter name a test?");
        }
        println!("{passed} passed, {failed} failed");
        if passed > 0 && failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn skipped(&self) -> impl Iterator<Item = &String> {
        self.stages
            .iter()
            .flat_map(|(_, outcome, _)| &outcome.skipped)
    }

    fn totals(&self, strict: bool) -> (u64, u64) {
        let passed = self
            .stages
            .iter()
            .map(|(_, outcome, _)| outcome.passed)
            .sum();
        let failed: u64 = self
            .stages
            .iter()
            .map(|(_, outcome, _)| outcome.failed)
            .sum();
        let skipped = if strict {
            self.skipped().count() as u64
        } else {
            0
        };
        (passed, failed + skipped)
    }

    fn table(&self) -> String {
        let width = self
            .stages
            .iter()
            .map(|(name, _, _)| name.len())
            .max()
            .unwrap_or(0)
            .max("stage".len());
        let mut table = format!(
            "{:width$}  {:>6}  {:>6}  {:>7}  {:>7}  {:>8}\n",
            "stage", "passed", "failed", "skipped", "ignored", "time"
        );
        for (name, outcome, elapsed) in &self.stages {
            let Outcome {
                passed,
                failed,
                ignored,
                skipped,
                ..
            } = outcome;
            let (skipped, seconds) = (skipped.len(), elapsed.as_secs_f32());
            writeln!(table, "{name:width$}  {passed:>6}  {failed:>6}  {skipped:>7}  {ignored:>7}  {seconds:>6.1} s")
                .expect("a String takes every write");
        }
        for reason in self.skipped() {
            writeln!(table, "  {reason}").expect("a String takes every write");
        }
        for (name, outcome, _) in &self.stages {
            for note in &outcome.notes {
                writeln!(table, "  {name}: {note}").expect("a String takes every write");
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use std::{process::ExitCode, time::Duration};

    use super::{Outcome, Report};

    fn report() -> Report {
        let unit = Outcome {
            passed: 7,
            ignored: 1,
            ..Outcome::default()
        };
        let skipped = vec!["SKIP sctp (no SCTP in this kernel)".to_owned()];
        let integration = Outcome {
            passed: 2,
            failed: 1,
            skipped,
            ..Outcome::default()
        };
        let stages = [("unit", unit, 2), ("integration", integration, 90)];
        Report {
            stages: stages
                .into_iter()
                .map(|(name, outcome, seconds)| {
                    (name.to_owned(), outcome, Duration::from_secs(seconds))
                })
                .collect(),
        }
    }

    #[test]
    fn the_table_has_a_row_a_stage_and_names_what_was_skipped() {
        let expected = "\
stage        passed  failed  skipped  ignored      time
unit              7       0        0        1     2.0 s
integration       2       1        1        0    90.0 s
  SKIP sctp (no SCTP in this kernel)
";
        assert_eq!(report().table(), expected);
    }

    #[test]
    fn a_skipped_test_fails_the_run_in_ci_only() {
        assert_eq!(report().totals(false), (9, 1));
        assert_eq!(report().totals(true), (9, 2));
    }

    #[test]
    fn a_failure_or_nothing_at_all_fails_the_run() {
        assert_eq!(report().close(false), ExitCode::FAILURE);
        assert_eq!(Report::default().close(false), ExitCode::FAILURE);
    }
}
