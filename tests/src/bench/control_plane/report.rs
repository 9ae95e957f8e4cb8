//! How is it told, and is it as it should be? A paragraph for each run, with what is wanted beside what is so.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::daemon::{Calls, Memory};
use super::{Burst, Starts};
use crate::bench::float;
use crate::bench::rounds::{Series, Spread};

/// The size of cluster that wishes are about.
const BIG: u32 = 10_000;
/// Seconds from parsed manifests to the last write.
const COLD: f64 = 1.0;
/// Seconds that reading from an API server may take more than asking it for the same.
const BEYOND_LIST: f64 = 0.5;
/// Milliseconds of planning and writing a change, in the middle.
const CHANGE: f64 = 1.0;
/// How much more a change may cost in the big cluster than in the first one.
const GROWTH: f64 = 2.0;
/// Bytes in memory after everything was read.
const RESIDENT: f64 = 120e6;
const MEGABYTE: f64 = 1e6;

/// What one size of cluster from one source came to; times in seconds.
pub(super) struct Run {
    pub(super) source: &'static str,
    pub(super) services: u32,
    /// From the start until everything is served.
    pub(super) starts: Starts,
    /// The same with no Service at all.
    pub(super) empty: Series,
    /// Asking the API server for the same objects; nothing from manifests.
    pub(super) listed: Series,
    /// Planning and writing a change.
    pub(super) written: Series,
    /// From the change to where it shows.
    pub(super) followed: Series,
    /// For each change.
    pub(super) calls: Calls,
    /// Elements written for each change, deletions of what it replaced included.
    pub(super) writes: f64,
    pub(super) burst: Burst,
    /// After the start, and at the end.
    pub(super) memory: [Memory; 2],
    /// Bytes of all maps, as large as they are by default.
    pub(super) maps: u64,
}

/// All runs.
pub(super) struct Report {
    machines: Vec<String>,
    runs: Vec<Run>,
}

impl Report {
    pub(super) fn new(machine: String) -> Self {
        Self {
            machines: vec![machine],
            runs: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    pub(super) fn finish(&mut self, machine: String) {
        self.machines.push(machine);
    }

    /// The first run from the same source, if that was of a smaller cluster.
    fn first(&self, run: &Run) -> Option<&Run> {
        let first = self.runs.iter().find(|first| first.source == run.source);
        first.filter(|first| first.services < run.services)
    }

    pub(super) fn print(&self) {
        println!("{}", self.machines.join("\nat the end: "));
        for run in &self.runs {
            println!("\n{} Services from {}", run.services, run.source);
            let lines = [run.start(), run.change(self.first(run)), run.resources()].concat();
            for line in lines {
                println!("  {line}");
            }
        }
    }

    pub(super) fn write(&self, file: Option<&Path>) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let runs: Vec<_> = self.runs.iter().map(Run::value).collect();
        let value = json!({"machine": self.machines, "runs": runs});
        fs::write(file, serde_json::to_string_pretty(&value)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

impl Run {
    const fn is_big(&self) -> bool {
        self.services >= BIG
    }

    fn start(&self) -> Vec<String> {
        let cold = self.starts.written.spread().median;
        let from_manifests = self.beyond_list().is_none();
        let mut lines = vec![
            format!(
                "served after {}, by when it had {} of CPU time; with no Service after {}",
                seconds(&self.starts.ready),
                seconds(&self.starts.cpu),
                seconds(&self.empty)
            ),
            format!(
                "of it planned and written in {}{}",
                seconds(&self.starts.written),
                wanted(self.is_big() && from_manifests, cold, COLD, "s")
            ),
        ];
        if let Some(beyond) = self.beyond_list() {
            lines.push(format!(
                "a bare list takes {}; {beyond:.2} s beyond it and an empty start{}",
                seconds(&self.listed),
                wanted(self.is_big(), beyond, BEYOND_LIST, "s")
            ));
        }
        lines
    }

    fn change(&self, first: Option<&Self>) -> Vec<String> {
        let median = self.written.spread().median * 1e3;
        let mut lines = vec![
            format!(
                "a change of one endpoint is planned and written in {}{}",
                milliseconds(&self.written),
                wanted(self.is_big(), median, CHANGE, "ms p50")
            ),
            format!(
                "from the change to where it shows {}",
                milliseconds(&self.followed)
            ),
        ];
        if let Some(first) = first {
            let [p50, p99] = [50, 99].map(|at| self.written.at(at) / first.written.at(at));
            lines.push(format!(
                "that is p50 {p50:.2} ×, p99 {p99:.2} × what it takes with {} Services{}",
                first.services,
                wanted(self.is_big(), p50.max(p99), GROWTH, "×")
            ));
        }
        lines
    }

    fn resources(&self) -> Vec<String> {
        let megabytes = |bytes: u64| float(bytes) / MEGABYTE;
        let [start, end] = self
            .memory
            .map(|memory| [memory.now, memory.most].map(megabytes));
        let Burst {
            changes,
            said,
            behind,
            written,
            times,
            writes,
        } = self.burst;
        vec![
            format!(
                "for a change {:.1} map elements are written, and {}",
                self.writes,
                self.calls.told()
            ),
            format!(
                "{changes} changes at once: said within {said:.2} s, written {behind:.3} s after the last, in {times} \
                 turns of {written:.2} s together, {writes} elements"
            ),
            format!(
                "memory {:.0} MB, at most {:.0}{}; at the end {:.0} MB, at most {:.0}; maps {:.0} MB",
                start[0],
                start[1],
                wanted(self.is_big(), start[0], RESIDENT / MEGABYTE, "MB"),
                end[0],
                end[1],
                megabytes(self.maps)
            ),
        ]
    }

    /// Seconds until everything is served, without what a start takes anyway and what the list does.
    fn beyond_list(&self) -> Option<f64> {
        let median = |series: &Series| series.spread().median;
        let beyond = median(&self.starts.ready) - median(&self.empty) - median(&self.listed);
        (!beyond.is_nan()).then_some(beyond)
    }

    fn value(&self) -> Value {
        let spread = |series: &Series| {
            let Spread {
                median,
                least,
                most,
            } = series.spread();
            json!({"median": median, "p99": series.at(99), "least": least, "most": most})
        };
        json!({
            "source": self.source,
            "services": self.services,
            "ready_s": spread(&self.starts.ready),
            "start_cpu_s": spread(&self.starts.cpu),
            "empty_s": spread(&self.empty),
            "cold_write_s": spread(&self.starts.written),
            "list_s": spread(&self.listed),
            "beyond_list_s": self.beyond_list(),
            "change_written_s": spread(&self.written),
            "change_shown_s": spread(&self.followed),
            "calls_per_change": self.calls.0,
            "writes_per_change": self.writes,
            "burst": {
                "changes": self.burst.changes,
                "said_s": self.burst.said,
                "behind_s": self.burst.behind,
                "written_s": self.burst.written,
                "turns": self.burst.times,
                "writes": self.burst.writes,
            },
            "resident_bytes": self.memory.map(|memory| memory.now),
            "most_resident_bytes": self.memory.map(|memory| memory.most),
            "map_bytes": self.maps,
        })
    }
}

fn wanted(applies: bool, is: f64, at_most: f64, unit: &str) -> String {
    if !applies {
        return String::new();
    }
    let met = if is <= at_most { "met" } else { "NOT MET" };
    format!(" (at most {at_most} {unit}: {met})")
}

fn seconds(series: &Series) -> String {
    let Spread {
        median,
        least,
        most,
    } = series.spread();
    format!("{median:.2} s ({least:.2}–{most:.2})")
}

fn milliseconds(series: &Series) -> String {
    let Spread {
        median,
        least,
        most,
    } = series.spread();
    let [median, least, most, p99] =
        [median, least, most, series.at(99)].map(|seconds| seconds * 1e3);
    format!("p50 {median:.2} ms, p99 {p99:.2} ms ({least:.2}–{most:.2})")
}
