//! What does a `lb run` say of itself, and what does the kernel say of it?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::source::Source;
use crate::http::get;
use crate::lb::Lb;
use crate::leftovers;
use crate::topology::Cluster;

const METRICS: &str = "127.0.0.1:10249";
/// A slow machine is given time.
const PATIENCE: Duration = Duration::from_mins(3);
/// Between two looks.
const TICK: Duration = Duration::from_micros(500);
/// strace has attached to all threads by then.
const ATTACHED: Duration = Duration::from_millis(500);

/// One that is at work.
pub(super) struct Daemon {
    lb: Lb,
}

/// What its metrics say of its writing so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrote {
    /// How often it wrote.
    pub(super) times: f64,
    /// Seconds of planning and writing.
    pub(super) seconds: f64,
    /// Elements written.
    pub(super) writes: f64,
    /// Changes of slices that came in.
    pub(super) changes: f64,
    /// Those that are not written yet.
    pending: f64,
}

/// Bytes of it that are in memory: now, and most so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) now: u64,
    pub(super) most: u64,
}

/// How often it called the kernel, by call.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(pub(super) BTreeMap<String, f64>);

impl Daemon {
    /// Starts one with nothing in the kernel; how long it took until it served everything.
    pub(super) fn start(cluster: &Cluster, source: &Source) -> Result<(Self, Duration)> {
        let mut lb = Lb::new(cluster.here(), &source.manifests, "tc")?;
        let began = Instant::now();
        lb.start()?;
        let daemon = Self { lb };
        while daemon.metric("lb_ready").ok() != Some(1.0) {
            if began.elapsed() > PATIENCE {
                bail!("not everything is served within {PATIENCE:?}");
            }
            sleep(TICK);
        }
        Ok((daemon, began.elapsed()))
    }

    pub(super) fn stop(self) -> Result<()> {
        self.lb.uninstall()
    }

    fn metric(&self, name: &str) -> Result<f64> {
        let answer = get(self.lb.node(), METRICS.parse()?, "/metrics")?;
        answer
            .metric(name)
            .with_context(|| format!("no metric {name}"))
    }

    /// Seconds of CPU time so far, of all threads, in the kernel too.
    pub(super) fn cpu(&self) -> Result<f64> {
        self.metric("process_cpu_seconds_total")
    }

    pub(super) fn wrote(&self) -> Result<Wrote> {
        let answer = get(self.lb.node(), METRICS.parse()?, "/metrics")?;
        let of = |name: &str| answer.metric(name).unwrap_or(0.0);
        let duration = |what: &str| {
            let name = "kubeproxy_sync_proxy_rules_duration_seconds";
            of(&format!("{name}_{what}{{ip_family=\"IPv4\"}}"))
        };
        Ok(Wrote {
            times: duration("count"),
            seconds: duration("sum"),
            writes: of("lb_map_writes_total{result=\"done\"}"),
            changes: of("kubeproxy_sync_proxy_rules_endpoint_changes_total"),
            pending: of("kubeproxy_sync_proxy_rules_endpoint_changes_pending"),
        })
    }

    /// Waits until it has written once more than so often.
    pub(super) fn await_write(&self, times: f64) -> Result<Wrote> {
        self.await_that("it writes", |wrote| wrote.times > times)
    }

    /// Waits until so many changes have come in, and all are written.
    pub(super) fn await_changes(&self, changes: f64) -> Result<Wrote> {
        let done = |wrote: &Wrote| wrote.changes >= changes && wrote.pending == 0.0;
        self.await_that("it has caught up", done)
    }

    fn await_that(&self, what: &str, holds: impl Fn(&Wrote) -> bool) -> Result<Wrote> {
        let began = Instant::now();
        loop {
            let wrote = self.wrote()?;
            if holds(&wrote) {
                return Ok(wrote);
            }
            if began.elapsed() > PATIENCE {
                bail!("not within {PATIENCE:?}: {what}: {wrote:?}");
            }
            sleep(TICK);
        }
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.lb.pid()?))?;
        let of = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
            let kib: Option<u64> = lines.next().and_then(|rest| {
                let mut words = rest.trim_start_matches(':').split_whitespace();
                words.next()?.parse().ok()
            });
            kib.map(|kib| kib * 1_024)
                .with_context(|| format!("no {name}"))
        };
        Ok(Memory {
            now: of("VmRSS")?,
            most: of("VmHWM")?,
        })
    }

    /// Bytes of the maps in the kernel, together.
    pub(super) fn maps(&self) -> Result<u64> {
        self.lb.map_bytes()
    }

    /// What it calls while something is done, by strace; nothing where that is not installed.
    pub(super) fn calls_during(&self, work: impl FnOnce() -> Result<()>) -> Result<Calls> {
        let files = leftovers::temporary_dir("calls")?;
        let summary = files.path().join("summary");
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-c", "-U", "calls,name", "-p"])
            .arg(self.lb.pid()?.to_string())
            .arg("-o")
            .arg(&summary)
            .stderr(Stdio::null());
        let mut strace = match strace.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                work()?;
                return Ok(Calls::default());
            }
            spawned => spawned.context("starting strace")?,
        };
        let guard = leftovers::process(strace.id());
        sleep(ATTACHED);
        let done = work();
        kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT)?;
        strace.wait()?;
        guard.release();
        done?;
        Ok(Calls::read(&fs::read_to_string(summary)?))
    }
}

impl Calls {
    /// strace's summary: lines of a number and a name, between two rules.
    fn read(summary: &str) -> Self {
        let calls = summary.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (count, name) = (words.next()?.parse().ok()?, words.next()?);
            (name != "total").then(|| (name.to_owned(), count))
        });
        Self(calls.collect())
    }

    /// Those that another time of the same length did not have.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let less = self.0.iter().map(|(name, count)| {
            let other = other.0.get(name).copied().unwrap_or(0.0);
            (name.clone(), (count - other).max(0.0))
        });
        Self(less.collect())
    }

    /// Each of so many times.
    pub(super) fn per(&self, times: u32) -> Self {
        let each = self
            .0
            .iter()
            .map(|(name, count)| (name.clone(), count / f64::from(times)));
        Self(each.collect())
    }

    fn total(&self) -> f64 {
        self.0.values().sum()
    }

    /// Of each call the median of these.
    pub(super) fn medians(of: &[Self]) -> Self {
        let names: BTreeSet<&String> = of.iter().flat_map(|calls| calls.0.keys()).collect();
        let median = |name: &String| {
            let count = |calls: &Self| calls.0.get(name).copied().unwrap_or(0.0);
            let mut counts: Vec<f64> = of.iter().map(count).collect();
            counts.sort_by(f64::total_cmp);
            counts[counts.len() / 2]
        };
        let medians = names.into_iter().map(|name| (name.clone(), median(name)));
        Self(medians.collect())
    }

    /// The sum, and what most of it is.
    pub(super) fn told(&self) -> String {
        if self.0.is_empty() {
            return "nobody counts system calls: strace is not installed".to_owned();
        }
        let mut calls: Vec<_> = self.0.iter().filter(|(_, count)| **count >= 0.1).collect();
        calls.sort_by(|one, other| other.1.total_cmp(one.1));
        let calls = calls
            .iter()
            .map(|(name, count)| format!("{name} {count:.1}"));
        let calls = calls.collect::<Vec<_>>().join(", ");
        format!("the kernel is called {:.0} times ({calls})", self.total())
    }
}

#[cfg(test)]
mod tests {
    use super::Calls;

    #[test]
    fn straces_summary_is_read() {
        let calls = Calls::read(
            "    calls syscall\n--------- ----------\n      120 bpf\n        6 futex\n--------- ----------\n      126 total\n",
        );
        let idle = Calls::read("        8 futex\n        1 write\n");
        let net = calls.minus(&idle).per(2);
        assert_eq!(net.0.get("bpf"), Some(&60.0));
        assert_eq!(net.0.get("futex"), Some(&0.0));
        assert!((net.total() - 60.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_called_once_in_a_while_is_in_no_median() {
        let turns = ["5 bpf\n", "7 bpf\n", "900 bpf\n 4 mmap\n"].map(Calls::read);
        let medians = Calls::medians(&turns);
        assert_eq!(medians.0.get("bpf"), Some(&7.0));
        assert_eq!(medians.0.get("mmap"), Some(&0.0));
    }
}
