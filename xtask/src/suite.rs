//! What a test run prints, line by line, as counts: how many passed, failed, were left out, and why.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{process, report::Outcome};

/// The beginning of the line by which a test says that it could not run here.
const SKIP: &str = "SKIP";

/// The beginning of the line by which a test says that this kernel is too old for what it is about.
const ABSENT: &str = "ABSENT";

/// Whether a person wants to read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// What the tests print, but for the output of those that pass.
    Lines,
    /// The counts will do.
    Nothing,
}

/// How such a line ends where `cargo xtask vm` has what the test needs, and runs it.
const ELSEWHERE: &str = "`cargo xtask vm` runs it";

/// The beginning of the line by which a test says what belongs into the summary.
const NOTE: &str = "NOTE";

/// Runs a `cargo test` command to its end and counts; the output of passing tests is read for their reasons to skip.
pub(crate) fn run(command: &mut Command, echo: Echo) -> Result<Outcome> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    if echo == Echo::Nothing {
        command.stderr(Stdio::null());
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::show(command)))?;
    let stdout = child.stdout.take().context("the child's output is piped")?;
    let mut suite = Suite::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read what the tests print")?;
        let line = String::from_utf8_lossy(&line);
        if suite.read(&line) && echo == Echo::Lines {
            println!("{line}");
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{}`", process::show(command)))?;
    let mut outcome = suite.finish();
    if !status.success() && outcome.failed == 0 {
        if echo == Echo::Lines {
            eprintln!("`{}` failed: {status}", process::show(command));
        }
        outcome.failed = 1;
    }
    Ok(outcome)
}

/// Where in a test binary's output the next line stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Running,
    Successes,
    Failures,
}

/// Reads the output of any number of test binaries, one after the other.
#[derive(Default)]
pub(crate) struct Suite {
    outcome: Outcome,
    part: Part,
    /// The test whose output follows; empty once it has said that it skips.
    test: String,
    /// How many tests of the present binary skipped: libtest counts them as passed.
    skips: u64,
}

impl Suite {
    /// Takes one line; says whether a person wants to see it.
    pub(crate) fn read(&mut self, line: &str) -> bool {
        if line == "successes:" {
            self.part = Part::Successes;
        } else if line == "failures:" {
            self.part = Part::Failures;
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.finish_binary(counts);
        } else if let Some(test) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            test.clone_into(&mut self.test);
        } else if self.part == Part::Successes && !self.test.is_empty() {
            self.read_reason(line);
        }
        self.part != Part::Successes
    }

    /// What all of them said.
    pub(crate) fn finish(self) -> Outcome {
        self.outcome
    }

    /// Takes a line of what a test printed that did not fail.
    fn read_reason(&mut self, line: &str) {
        if line.starts_with(SKIP) && line.ends_with(ELSEWHERE) {
            self.test.clear();
            self.outcome.ignored += 1;
            self.skips += 1;
        } else if line.starts_with(SKIP) {
            let test = std::mem::take(&mut self.test);
            self.outcome.skipped.push(format!("{line} ({test})"));
            self.skips += 1;
        } else if let Some(feature) = line.strip_prefix(ABSENT) {
            self.test.clear();
            self.outcome.notes.insert(feature.trim().to_owned());
            self.outcome.ignored += 1;
            self.skips += 1;
        } else if let Some(note) = line.strip_prefix(NOTE) {
            self.outcome.notes.insert(note.trim().to_owned());
        }
    }

    fn finish_binary(&mut self, counts: &str) {
        self.part = Part::Running;
        self.outcome.passed +=
            count(counts, "passed").saturating_sub(std::mem::take(&mut self.skips));
        self.outcome.failed += count(counts, "failed");
        self.outcome.ignored += count(counts, "ignored");
    }
}

/// The number before ` passed`, ` failed` or ` ignored` in libtest's last line.
fn count(counts: &str, what: &str) -> u64 {
    counts
        .split([';', '.'])
        .find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Suite;

    const TWO_BINARIES: &str = "
running 3 tests
test fine ... ok
test quiet ... ok
test wrong ... FAILED

successes:

---- fine stdout ----
SKIP no SCTP in this kernel
SKIP said twice

---- quiet stdout ----
the word SKIP inside a line

successes:
    fine
    quiet

failures:

---- wrong stdout ----
SKIP is of no use to a failure

failures:
    wrong

test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test
test other ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn read(text: &str) -> (Suite, Vec<&str>) {
        let mut suite = Suite::default();
        let shown = text.lines().filter(|line| suite.read(line)).collect();
        (suite, shown)
    }

    #[test]
    fn counts_add_up_over_binaries_and_a_skipped_test_is_not_passed() {
        let outcome = read(TWO_BINARIES).0.outcome;
        assert_eq!((outcome.passed, outcome.failed, outcome.ignored), (2, 1, 4));
        assert_eq!(outcome.skipped, ["SKIP no SCTP in this kernel (fine)"]);
    }

    #[test]
    fn the_output_of_failures_is_shown_and_that_of_successes_not() {
        let shown = read(TWO_BINARIES).1;
        assert!(shown.contains(&"---- wrong stdout ----"));
        assert!(shown.contains(&"test fine ... ok"));
        assert!(!shown.contains(&"---- quiet stdout ----"));
    }
}
