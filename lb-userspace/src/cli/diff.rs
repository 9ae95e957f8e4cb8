//! `lb diff`: what would these manifests change?

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::manifests;
use super::show::write;
use super::source::Source;
use super::view::{self, Index, Record};
use crate::settings::Settings;
use crate::tables::Tables;

/// Exit code of a comparison that found differences.
const DIFFERENT: u8 = 1;
/// Exit code of a comparison that was not made.
const NOT_COMPARED: u8 = 2;

/// Columns that tell nothing of what is served, or are in the record's name already.
const LEFT_OUT: [&str; 8] = [
    "ID",
    "GENERATION",
    "PROBLEMS",
    "NAME",
    "SERVICE",
    "PORT",
    "FRONTEND",
    "BACKEND",
];

/// Show what running with the given manifests would change on this node
///
/// Compares what the manifests (-f) ask for with what the maps in the kernel hold: Services,
/// frontends and backends that would come (+), go (-) or change (~). The node has the addresses that
/// the maps have. Exits, like `kubectl diff`, with 0 if nothing would change, with 1 if something
/// would, and with more if that is not known.
#[derive(Args, Debug)]
pub(super) struct Diff {}

impl Diff {
    /// Prints the differences.
    ///
    /// # Errors
    /// None: they have an exit code of their own here.
    pub(super) fn run(settings: &Settings) -> Result<ExitCode, CliError> {
        Ok(match compare(settings) {
            Ok(text) if text.is_empty() => ExitCode::SUCCESS,
            Ok(text) => {
                write(&text)?;
                ExitCode::from(DIFFERENT)
            }
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(NOT_COMPARED)
            }
        })
    }
}

fn compare(settings: &Settings) -> Result<String, CliError> {
    let source = Source::open(settings)?;
    let live = source.tables()?;
    let state = source.state();
    let allocations = state.map(|state| state.allocations.clone());
    let planned = manifests::plan(settings, Some((&live, allocations.unwrap_or_default())))?;
    for problem in &planned.state.problems {
        eprintln!("{problem}");
    }
    Ok(differences(&live, &planned.tables))
}

/// What is served differently by these tables, line by line.
fn differences(before: &Tables, after: &Tables) -> String {
    let (before, after) = (Index::new(before, None), Index::new(after, None));
    [
        of_kind(&view::services(&before), &view::services(&after)),
        of_kind(&view::frontends(&before), &view::frontends(&after)),
        of_kind(&view::backends(&before), &view::backends(&after)),
    ]
    .concat()
}

/// A record's cells by the titles of their columns.
type Cells = Vec<(&'static str, String)>;

fn of_kind<R: Record>(before: &[R], after: &[R]) -> String {
    let (mut before, after) = (by_name(before), by_name(after));
    let mut lines = Vec::new();
    for (name, cells) in after {
        match before.remove(&name) {
            None => lines.push((name, '+', known(&cells))),
            Some(old) if old == cells => {}
            Some(old) => lines.push((name, '~', changed(&old, &cells))),
        }
    }
    let gone = before.into_iter();
    lines.extend(gone.map(|(name, cells)| (name, '-', known(&cells))));
    lines.sort();
    let lines = lines.iter();
    let lines: Vec<_> = lines
        .map(|(name, sign, cells)| format!("{sign} {} {name}: {cells}\n", R::KIND))
        .collect();
    lines.concat()
}

/// The records' cells by name, Service and port.
fn by_name<R: Record>(records: &[R]) -> BTreeMap<String, Cells> {
    records
        .iter()
        .map(|record| {
            let cells = |column: &view::Column<R>| (column.title, (column.cell)(record));
            let (of_name, cells): (Cells, Cells) = R::COLUMNS
                .iter()
                .map(cells)
                .partition(|(title, _)| LEFT_OUT.contains(title));
            let port = of_name.iter().find(|(title, _)| *title == "PORT");
            let name = match port {
                Some((_, port)) => format!("{} of {} {port}", record.name(), record.object()),
                None => record.object().to_string(),
            };
            (name, cells)
        })
        .collect()
}

/// The cells that say something.
fn known(cells: &Cells) -> String {
    let cells = cells.iter().filter(|(_, cell)| !cell.is_empty());
    let cells: Vec<_> = cells
        .map(|(title, cell)| format!("{title} {cell}"))
        .collect();
    cells.join(", ")
}

/// The cells that are no longer the same.
fn changed(before: &Cells, after: &Cells) -> String {
    let both = before.iter().zip(after).filter(|(old, new)| old != new);
    let empty = |cell: &str| if cell.is_empty() { "<none>" } else { cell }.to_owned();
    let cells: Vec<_> = both
        .map(|((title, old), (_, new))| format!("{title} {} → {}", empty(old), empty(new)))
        .collect();
    cells.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::fixture::Fixture;

    #[test]
    fn what_comes_goes_and_changes_is_one_line_each() {
        let tables = Fixture::new().tables;
        assert_eq!(differences(&tables, &tables), "");
        let all_new = differences(&Tables::default(), &tables);
        assert!(all_new.contains("+ service default/kubia: "), "{all_new}");
        let all_gone = differences(&tables, &Tables::default());
        assert_eq!(all_gone.lines().count(), all_new.lines().count());
        let mut fewer = tables.clone();
        fewer.v4.backends.pop_last();
        let lines = differences(&tables, &fewer);
        assert!(
            lines.contains("- backend ") && lines.contains("~ frontend "),
            "{lines}"
        );
    }
}
