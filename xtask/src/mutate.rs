//! `cargo xtask mutate`: do the tests notice when a line is wrong? Each listed line is changed, and a named test must
//! turn red.

mod list;
mod scratch;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use crate::{
    process,
    report::Outcome,
    suite::{self, Echo},
};
use list::{Mutation, TestName};
use scratch::Scratch;

/// A mutation may make a test wait for what never comes; this is longer than any test takes.
const TEST_TIMEOUT_SECONDS: &str = "300";

/// Change one line at a time in a copy of the sources and see a named test fail (see tests/mutations/README.md)
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The mutations to try; default: all
    names: Vec<String>,
}

/// What became of a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// The test turned red, as it should.
    Killed,
    /// The test stayed green: it does not see what it is there to see.
    Survived,
    /// Nothing was learned.
    Invalid(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("killed"),
            Self::Survived => f.write_str("SURVIVED"),
            Self::Invalid(why) => write!(f, "INVALID: {why}"),
        }
    }
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let mutations = chosen(list::read(root)?, &arguments.names)?;
    let scratch = Scratch::copy(root)?;
    println!(
        "{} mutations, tried in {}",
        mutations.len(),
        scratch.root().display()
    );

    let baseline = baseline(&scratch, &mutations)?;
    let width = mutations
        .iter()
        .map(|mutation| mutation.name.len())
        .max()
        .unwrap_or(0);
    let mut counts = [0_usize; 3];
    for mutation in &mutations {
        let start = Instant::now();
        let verdict = match &baseline[&mutation.test] {
            Verdict::Survived => attempt(&scratch, mutation)?,
            other => other.clone(),
        };
        counts[match verdict {
            Verdict::Killed => 0,
            Verdict::Survived => 1,
            Verdict::Invalid(_) => 2,
        }] += 1;
        println!(
            "{:width$}  {:>6.1} s  {}  {verdict}",
            mutation.name,
            seconds(start.elapsed()),
            mutation.test
        );
    }
    let [killed, survived, invalid] = counts;
    println!("{killed} killed, {survived} survived, {invalid} invalid");
    ensure!(
        killed == mutations.len(),
        "{} mutations were not killed",
        mutations.len() - killed
    );
    Ok(())
}

fn seconds(duration: Duration) -> f32 {
    duration.as_secs_f32()
}

fn chosen(mut mutations: Vec<Mutation>, names: &[String]) -> Result<Vec<Mutation>> {
    for name in names {
        ensure!(
            mutations.iter().any(|mutation| mutation.name == *name),
            "no mutation is named `{name}`"
        );
    }
    if !names.is_empty() {
        mutations.retain(|mutation| names.contains(&mutation.name));
    }
    if mutations.is_empty() {
        bail!("there are no mutations in {}", list::DIR);
    }
    Ok(mutations)
}

/// Runs every named test on the unchanged sources: what is red already proves nothing.
fn baseline(scratch: &Scratch, mutations: &[Mutation]) -> Result<BTreeMap<TestName, Verdict>> {
    let mut verdicts = BTreeMap::new();
    for mutation in mutations {
        if verdicts.contains_key(&mutation.test) {
            continue;
        }
        let verdict = match judge(scratch, &mutation.test)? {
            Verdict::Killed => Verdict::Invalid("the test is red without any mutation".to_owned()),
            other => other,
        };
        verdicts.insert(mutation.test.clone(), verdict);
    }
    Ok(verdicts)
}

/// Changes the line, runs the test and puts the line back.
fn attempt(scratch: &Scratch, mutation: &Mutation) -> Result<Verdict> {
    let original = match scratch.apply(mutation) {
        Ok(original) => original,
        Err(error) => return Ok(Verdict::Invalid(format!("{error:#}"))),
    };
    let verdict = judge(scratch, &mutation.test);
    scratch.restore(mutation, &original)?;
    verdict
}

/// What the test says about the sources as they are in the scratch copy.
fn judge(scratch: &Scratch, test: &TestName) -> Result<Verdict> {
    for mut build in builds(scratch, test) {
        if let Err(error) = process::output(&mut build) {
            return Ok(Verdict::Invalid(format!(
                "does not build: {}",
                last_error(&format!("{error:#}"))
            )));
        }
    }
    Ok(verdict(&suite::run(
        &mut run_test(scratch, test),
        Echo::Nothing,
    )?))
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome { failed: 1.., .. } => Verdict::Killed,
        Outcome { passed: 1.., .. } => Verdict::Survived,
        Outcome { skipped, .. } if !skipped.is_empty() => Verdict::Invalid(skipped[0].clone()),
        _ => Verdict::Invalid("there is no such test".to_owned()),
    }
}

/// The line by which a compiler says what is wrong, out of all it printed.
fn last_error(text: &str) -> &str {
    text.lines()
        .find(|line| line.starts_with("error"))
        .unwrap_or(text)
        .trim()
}

fn builds(scratch: &Scratch, test: &TestName) -> Vec<Command> {
    let mut commands = Vec::new();
    if test.package == "lb-tests" {
        let mut products = scratch.command("cargo");
        products.args(["xtask", "build", "--debug"]);
        commands.push(products);
    }
    let mut binaries = scratch.command("cargo");
    binaries.args(["test", "--locked", "--no-run", "--package", &test.package]);
    commands.push(binaries);
    commands
}

fn run_test(scratch: &Scratch, test: &TestName) -> Command {
    let mut command = scratch.command("timeout");
    command.args(["--kill-after=5", TEST_TIMEOUT_SECONDS]);
    command.args([
        "cargo",
        "test",
        "--locked",
        "--no-fail-fast",
        "--package",
        &test.package,
    ]);
    command.args(["--", "--exact", "--show-output", &test.name]);
    scratch.point_to_products(&mut command);
    command
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Verdict, verdict};

    #[test]
    fn only_a_test_that_ran_and_failed_kills() {
        let outcome = |passed, failed| Outcome {
            passed,
            failed,
            ..Outcome::default()
        };
        assert_eq!(verdict(&outcome(0, 1)), Verdict::Killed);
        assert_eq!(verdict(&outcome(1, 0)), Verdict::Survived);
        assert!(matches!(verdict(&outcome(0, 0)), Verdict::Invalid(_)));
        let skipped = Outcome {
            skipped: vec!["SKIP no SCTP".to_owned()],
            ..Outcome::default()
        };
        assert!(matches!(verdict(&skipped), Verdict::Invalid(why) if why == "SKIP no SCTP"));
    }
}
