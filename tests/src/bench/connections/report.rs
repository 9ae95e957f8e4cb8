//! How are the figures of connections told? The median of the turns with its ends, a table for each number of
//! Services, and as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::bench::rounds::{Series, Spread};

/// What is measured in each turn: its name in JSON, its heading, digits behind the point.
const COLUMNS: [(&str, &str, usize); 7] = [
    ("connections_per_second", "connections/s", 0),
    ("cpu_us_per_connection", "CPU µs each", 0),
    ("p50_us", "p50 µs", 0),
    ("p99_us", "p99 µs", 0),
    ("p999_us", "p99.9 µs", 0),
    ("gbit_per_second", "Gbit/s", 2),
    ("kilopackets_per_second", "kpackets/s", 0),
];

/// Whose figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) services: u32,
    pub(super) way: &'static str,
    pub(super) subject: &'static str,
    pub(super) hook: Option<&'static str>,
}

/// What came of one turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// In the order of [`COLUMNS`].
    pub(super) measured: [f64; COLUMNS.len()],
    pub(super) failed: u64,
    pub(super) retransmitted: u64,
    pub(super) datagrams: u64,
    pub(super) datagrams_lost: u64,
}

/// All turns.
pub(super) struct Report {
    machines: Vec<String>,
    rows: Vec<(Row, Vec<Figures>)>,
}

impl Report {
    pub(super) fn new(machine: String) -> Self {
        Self {
            machines: vec![machine],
            rows: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, row: Row, figures: Figures) {
        match self.rows.iter_mut().find(|(there, _)| *there == row) {
            Some((_, turns)) => turns.push(figures),
            None => self.rows.push((row, vec![figures])),
        }
        // As they are to be read; those of one place stay in the order in which they came.
        self.rows.sort_by_key(|(row, _)| (row.services, row.way));
    }

    /// Notes how the machine is at the end.
    pub(super) fn finish(&mut self, machine: String) {
        self.machines.push(machine);
    }

    pub(super) fn print(&self) {
        println!("{}", self.machines.join("\nat the end: "));
        let mut before = None;
        for (row, turns) in &self.rows {
            if before != Some((row.services, row.way)) {
                before = Some((row.services, row.way));
                let headings = COLUMNS.map(|(_, heading, _)| format!("{heading:>20}"));
                println!(
                    "\n{:>6} Services, {:<20}{}",
                    row.services,
                    row.way,
                    headings.concat()
                );
            }
            let cells = spreads(turns).into_iter().zip(COLUMNS);
            let cells: String = cells
                .map(|(spread, (.., digits))| cell(spread, digits))
                .collect();
            let name = name(row);
            let [failed, again, lost] = totals(turns);
            println!(
                "{name:<36}{cells}  {} turns, {failed} failed, {again} segments again, {lost} % of datagrams lost",
                turns.len()
            );
        }
    }

    pub(super) fn write(&self, file: Option<&Path>) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let rows = self.rows.iter().map(|(row, turns)| {
            let [failed, again, lost] = totals(turns);
            let mut value = json!({
                "services": row.services,
                "from": row.way,
                "subject": row.subject,
                "hook": row.hook,
                "turns": turns.len(),
                "failed": failed,
                "retransmitted": again,
                "datagrams_lost_percent": lost,
            });
            for (spread, (name, ..)) in spreads(turns).into_iter().zip(COLUMNS) {
                value[name] =
                    json!({"median": spread.median, "least": spread.least, "most": spread.most});
            }
            value
        });
        let value = json!({"machine": self.machines, "rows": rows.collect::<Vec<Value>>()});
        fs::write(file, serde_json::to_string_pretty(&value)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn name(row: &Row) -> String {
    match row.hook {
        Some(hook) => format!("  {} ({hook})", row.subject),
        None => format!("  {}", row.subject),
    }
}

fn spreads(turns: &[Figures]) -> Vec<Spread> {
    let column = |i: usize| {
        let mut series = Series::default();
        for turn in turns {
            series.push(turn.measured[i]);
        }
        series.spread()
    };
    (0..COLUMNS.len()).map(column).collect()
}

fn cell(spread: Spread, digits: usize) -> String {
    let Spread {
        median,
        least,
        most,
    } = spread;
    format!(
        "{:>20}",
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    )
}

/// Connections that failed, segments sent again, datagrams lost of a hundred.
fn totals(turns: &[Figures]) -> [u64; 3] {
    let sum = |of: fn(&Figures) -> u64| turns.iter().map(of).sum::<u64>();
    let lost = sum(|turn| turn.datagrams_lost) * 100;
    [
        sum(|turn| turn.failed),
        sum(|turn| turn.retransmitted),
        lost.checked_div(sum(|turn| turn.datagrams)).unwrap_or(0),
    ]
}
