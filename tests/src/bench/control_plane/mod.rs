//! How soon does `lb` know a big cluster, how soon does it follow a change, and what does it need for that?
//! From manifests and from a real API server; its own metrics tell most of it.

mod daemon;
mod objects;
mod report;
mod source;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use self::daemon::{Calls, Daemon};
use self::report::{Report, Run};
use self::source::Source;
use super::rounds::Series;
use crate::kubernetes::programs;
use crate::need;
use crate::topology::Cluster;

/// Endpoints of each Service.
const ENDPOINTS: u32 = 10;
/// Changes during which system calls and writes are counted; and as many are followed.
const COUNTED: u32 = 50;
/// How often: what is done once a minute falls into one of them at most.
const TURNS: u32 = 3;
/// Between two of them: each shall be one of its own.
const APART: Duration = Duration::from_millis(100);
/// What a start needed for itself is given back by then.
const SETTLED: Duration = Duration::from_secs(3);
/// Numbers of what is gone are free again by then, and their elements deleted.
const RELEASED: Duration = Duration::from_secs(3);

/// What `lb-bench control-plane` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many Services there are, one run for each and each source; the first is what others are compared with.
    pub services: Vec<u32>,
    /// How often everything is read anew.
    pub rounds: u32,
    /// How many changes are timed, one after the other.
    pub changes: u32,
    /// How many come at once.
    pub burst: u32,
    /// Changes are timed no longer than this in each run.
    pub at_most: Duration,
    /// Where the figures go, too.
    pub json: Option<PathBuf>,
}

/// Measures everything, and prints it beside what is wanted.
///
/// # Errors
/// Kubernetes is not built, or `lb` does not follow.
pub fn control_plane(options: &Options) -> Result<()> {
    need::root();
    let programs = programs().context("nothing to measure with: `cargo xtask kubernetes`")?;
    let mut report = Report::new(super::machine()?);
    let cluster = Cluster::routed_veth()?;
    for source in [
        Source::manifests()?,
        Source::api_server(&programs, &cluster)?,
    ] {
        // What everything else does at a start: programs are loaded, hooks attached.
        let (empty, daemon) = started(&cluster, &source, options.rounds)?;
        daemon.stop()?;
        for services in &options.services {
            source.fill(*services)?;
            let run = measure(&cluster, &source, *services, &empty.ready, options);
            let run = run.with_context(|| format!("{services} Services from {}", source.name()))?;
            report.add(run);
        }
    }
    report.finish(super::machine()?);
    report.print();
    report.write(options.json.as_deref())
}

/// What starts came to, in seconds each.
#[derive(Clone, Debug, Default)]
struct Starts {
    /// Until everything is served.
    ready: Series,
    /// Planning and writing.
    written: Series,
    /// CPU time of all threads, in the kernel too.
    cpu: Series,
}

impl Starts {
    fn note(&mut self, daemon: &Daemon, took: Duration) -> Result<()> {
        self.ready.push(took.as_secs_f64());
        self.written.push(daemon.wrote()?.seconds);
        self.cpu.push(daemon.cpu()?);
        Ok(())
    }
}

/// Starts it again and again with nothing in the kernel; the last one is still at work.
fn started(cluster: &Cluster, source: &Source, rounds: u32) -> Result<(Starts, Daemon)> {
    let mut starts = Starts::default();
    for _ in 1..rounds {
        let (daemon, took) = Daemon::start(cluster, source)?;
        starts.note(&daemon, took)?;
        daemon.stop()?;
    }
    let (daemon, took) = Daemon::start(cluster, source)?;
    starts.note(&daemon, took)?;
    Ok((starts, daemon))
}

fn measure(
    cluster: &Cluster,
    source: &Source,
    services: u32,
    empty: &Series,
    options: &Options,
) -> Result<Run> {
    let mut listed = Series::default();
    for _ in 0..options.rounds {
        if let Some(seconds) = source.list()? {
            listed.push(seconds);
        }
    }
    let (starts, daemon) = started(cluster, source, options.rounds)?;
    sleep(SETTLED);
    let memory = daemon.memory()?;
    let maps = daemon.maps()?;
    let written = written(source, &daemon, options)?;
    let followed = followed(source, &daemon)?;
    sleep(RELEASED);
    let before = daemon.wrote()?;
    let calls = (0..TURNS)
        .map(|_| called(source, &daemon))
        .collect::<Result<Vec<_>>>()?;
    sleep(RELEASED);
    let writes = daemon.wrote()?.writes - before.writes;
    let burst = burst(source, &daemon, options.burst.min(services))?;
    let after = daemon.memory()?;
    daemon.stop()?;
    Ok(Run {
        source: source.name(),
        services,
        starts,
        empty: empty.clone(),
        listed,
        written,
        followed,
        calls: Calls::medians(&calls).per(COUNTED),
        writes: writes / f64::from(TURNS * COUNTED),
        burst,
        memory: [memory, after],
        maps,
    })
}

/// What some changes call the kernel for, beyond what is called in the same time without.
fn called(source: &Source, daemon: &Daemon) -> Result<Calls> {
    let idle = daemon.calls_during(|| {
        sleep(APART * COUNTED);
        Ok(())
    })?;
    let busy = daemon.calls_during(|| {
        (0..COUNTED).try_for_each(|change| {
            source.change(change)?;
            sleep(APART);
            Ok(())
        })
    })?;
    Ok(busy.minus(&idle))
}

/// Changes one slice again and again: seconds of planning and writing each, with nobody asking meanwhile.
fn written(source: &Source, daemon: &Daemon, options: &Options) -> Result<Series> {
    let began = Instant::now();
    let mut written = Series::default();
    let mut before = daemon.wrote()?;
    for change in 0..options.changes {
        source.change(change)?;
        sleep(APART);
        let after = daemon.await_write(before.times)?;
        written.push((after.seconds - before.seconds) / (after.times - before.times));
        before = after;
        if began.elapsed() >= options.at_most {
            break;
        }
    }
    Ok(written)
}

/// Changes it again: seconds from the change to where it shows in the metrics, which are asked for all the time.
fn followed(source: &Source, daemon: &Daemon) -> Result<Series> {
    let mut followed = Series::default();
    for change in 0..COUNTED {
        let before = daemon.wrote()?;
        let changed = Instant::now();
        source.change(change)?;
        daemon.await_write(before.times)?;
        followed.push(changed.elapsed().as_secs_f64());
    }
    Ok(followed)
}

/// Many changes at once.
#[derive(Clone, Copy, Debug)]
struct Burst {
    changes: u32,
    /// Seconds that the source took to say them.
    said: f64,
    /// Seconds from then on until all of them were written.
    behind: f64,
    /// Seconds of planning and writing.
    written: f64,
    /// How often changes were written, several together.
    times: f64,
    /// Elements that were written.
    writes: f64,
}

fn burst(source: &Source, daemon: &Daemon, changes: u32) -> Result<Burst> {
    let before = daemon.wrote()?;
    let began = Instant::now();
    source.burst(changes)?;
    let said = began.elapsed().as_secs_f64();
    daemon.await_changes(before.changes + f64::from(changes))?;
    let behind = began.elapsed().as_secs_f64() - said;
    let after = daemon.wrote()?;
    Ok(Burst {
        changes,
        said,
        behind,
        written: after.seconds - before.seconds,
        times: after.times - before.times,
        writes: after.writes - before.writes,
    })
}
