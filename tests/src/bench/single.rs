//! Do the wrapper's figures hold? One case is measured the other way, too: each run by itself, on a
//! packet that userspace brought, with the kernel's own clock around the program.

use anyhow::{Result, ensure};
use aya::sys::{Stats, enable_stats};

use super::load::{Objects, program};
use super::rounds::{Series, interleave};
use super::stage;
use super::subject::Subject;

/// Runs in a turn.
const RUNS: u32 = 1_000;
/// Turns of each program.
const ROUNDS: u32 = 30;

/// How much more than the floor a program takes, both net of *empty*, by run-time statistics.
/// Kernel 5.8.
///
/// # Errors
/// A program did something else than its subject says.
pub(super) fn ratio(
    objects: &Objects,
    empty: &Subject,
    floor: &Subject,
    ours: &Subject,
) -> Result<f64> {
    let _counting = enable_stats(Stats::RunTime)?;
    let subjects = [empty, floor, ours];
    let series = interleave(subjects.len(), ROUNDS, |i, _| turn(objects, subjects[i]))?;
    let net = |of: &Series| of.net_of(&series[0]).spread().median;
    Ok(net(&series[2]) / net(&series[1]))
}

fn turn(objects: &Objects, subject: &Subject) -> Result<f64> {
    let program = program(objects.of(subject.whose), subject.program)?;
    let packet = subject.packet.bytes();
    let before = program.info()?;
    for _ in 0..RUNS {
        let (verdict, bytes) = stage::run(program, &packet, 1)?;
        subject.check_one(&subject.packet, verdict, &bytes)?;
    }
    let after = program.info()?;
    let count = after.run_count() - before.run_count();
    ensure!(
        count == u64::from(RUNS),
        "{}: the kernel counted {count} runs",
        subject.program
    );
    let took = after.run_time().saturating_sub(before.run_time());
    Ok(took.as_secs_f64() * 1e9 / f64::from(RUNS))
}
