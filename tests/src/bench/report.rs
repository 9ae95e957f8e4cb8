//! How is a result shown? As a table for people and as rows of JSON for programs.

use std::fmt::Write as _;

use lb_common::drops::Hook;
use serde_json::{Value, json};

use super::rounds::Spread;
use crate::topology::Family;

/// What was measured of one case.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Where the program sits.
    pub(super) hook: Hook,
    /// The family of its packets.
    pub(super) family: Family,
    /// The case's name.
    pub(super) case: &'static str,
    /// Which packets.
    pub(super) packets: &'static str,
    /// The program.
    pub(super) program: &'static str,
    /// Nanoseconds for a packet, net of *empty* (socket calls: gross).
    pub(super) cost: Spread,
    /// The floor's name.
    pub(super) floor: &'static str,
    /// What the floor costs, in the same way.
    pub(super) floor_cost: Spread,
    /// The most that it may cost, as a multiple of the floor, and what would be better still.
    pub(super) targets: [f64; 2],
}

/// What was measured of a floor.
#[derive(Clone, Debug)]
pub(super) struct FloorRow {
    /// Where it sits.
    pub(super) hook: Hook,
    /// The family of its packets.
    pub(super) family: Family,
    /// Its name.
    pub(super) floor: &'static str,
    /// What differs from run to run.
    pub(super) packets: &'static str,
    /// Nanoseconds for a packet; of *empty* with the wrapper, of the others net of that.
    pub(super) cost: Spread,
}

impl Row {
    /// How often its floor's cost it costs.
    pub(super) fn ratio(&self) -> f64 {
        self.cost.median / self.floor_cost.median
    }

    fn judgement(&self) -> &'static str {
        let [at_most, stretch] = self.targets;
        match self.ratio() {
            ratio if ratio <= stretch => "stretch",
            ratio if ratio <= at_most => "reached",
            _ => "above",
        }
    }
}

/// The tables, aligned.
pub(super) fn table(floors: &[FloorRow], rows: &[Row]) -> String {
    let mut out = String::new();
    let mut line = |cells: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _always = writeln!(out, "{cells}");
    };
    line(format_args!(
        "{:6} {:4} {:<12} {:<26} {:>8} {:>17}",
        "HOOK", "IP", "FLOOR", "RUNS", "NS", "LEAST–MOST"
    ));
    for row in floors {
        line(format_args!(
            "{:6} {:4} {:<12} {:<26} {:>8.1} {:>17}",
            row.hook.name(),
            digit(row.family),
            row.floor,
            row.packets,
            row.cost.median,
            ends(&row.cost)
        ));
    }
    line(format_args!(
        "\n{:6} {:4} {:<18} {:<24} {:<13} {:>7} {:>15}  {:<14} {:>7} {:>6} {:>8} {:>8}",
        "HOOK",
        "IP",
        "CASE",
        "PACKETS",
        "PROGRAM",
        "NS",
        "LEAST–MOST",
        "FLOOR",
        "NS",
        "RATIO",
        "AT MOST",
        "TARGET"
    ));
    for row in rows {
        line(format_args!(
            "{:6} {:4} {:<18} {:<24} {:<13} {:>7.1} {:>15}  {:<14} {:>7.1} {:>6.2} {:>8.2} {:>8}",
            row.hook.name(),
            digit(row.family),
            row.case,
            row.packets,
            row.program,
            row.cost.median,
            ends(&row.cost),
            row.floor,
            row.floor_cost.median,
            row.ratio(),
            row.targets[0],
            row.judgement()
        ));
    }
    out
}

/// The rows for `--json`.
pub(super) fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        json!({
            "hook": row.hook.name(),
            "family": digit(row.family),
            "case": row.case,
            "packets": row.packets,
            "program": row.program,
            "ns": row.cost.median,
            "ns_least": row.cost.least,
            "ns_most": row.cost.most,
            "floor": row.floor,
            "floor_ns": row.floor_cost.median,
            "ratio": row.ratio(),
            "at_most": row.targets[0],
            "stretch": row.targets[1],
        })
    };
    Value::Array(rows.iter().map(row).collect())
}

fn ends(spread: &Spread) -> String {
    format!("{:.1}–{:.1}", spread.least, spread.most)
}

const fn digit(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}
