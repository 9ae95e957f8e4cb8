//! How do records look? The one printer for every command and format.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::view::Record;
use crate::settings::API_VERSION;

/// Space between columns, as kubectl has it.
const GAP: usize = 3;

/// What stands in an empty cell.
const NONE: &str = "<none>";

/// How to print.
#[derive(Args, Clone, Debug)]
pub struct Output {
    /// How to print: for people, or for programs
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,

    /// Print tables without their first line
    #[arg(long)]
    pub no_headers: bool,

    /// After what is there now, print what changes, until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

/// Formats of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns
    Table,
    /// More columns
    Wide,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
    /// Only kinds and names
    Name,
}

/// Prints records, table after table of the same columns.
#[derive(Debug)]
pub struct Printer {
    format: Format,
    headers: bool,
    namespaces: bool,
    /// Width of each column so far, so that later rows stand below the earlier ones.
    widths: Vec<usize>,
}

impl Printer {
    /// A printer; `namespaces` adds the column that tells Services of the same name apart.
    #[must_use]
    pub fn new(output: &Output, namespaces: bool) -> Self {
        Self {
            format: output.output,
            headers: !output.no_headers,
            namespaces,
            widths: Vec::new(),
        }
    }

    /// The records as one list: a table, a document, or names.
    ///
    /// # Errors
    /// A record that cannot be a document, which is a fault of its type.
    pub fn list<R: Record>(&mut self, records: &[R]) -> Result<String, PrintError> {
        let items: Vec<_> = records.iter().map(Item::new).collect();
        let list = List {
            api_version: API_VERSION,
            kind: "List",
            items,
        };
        match self.format {
            Format::Json => json(&list),
            Format::Yaml => yaml(&list),
            Format::Table | Format::Wide | Format::Name => Ok(self.lines(records)),
        }
    }

    /// The records one by one: rows, documents, or names.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn each<R: Record>(&mut self, records: &[R]) -> Result<String, PrintError> {
        match self.format {
            Format::Json => records
                .iter()
                .map(|record| json(&Item::new(record)))
                .collect(),
            Format::Yaml => records
                .iter()
                .map(|record| Ok(format!("---\n{}", yaml(&Item::new(record))?)))
                .collect(),
            Format::Table | Format::Wide | Format::Name => Ok(self.lines(records)),
        }
    }

    fn lines<R: Record>(&mut self, records: &[R]) -> String {
        if self.format == Format::Name {
            let names = records.iter().map(Record::name);
            let lines: Vec<_> = names.map(|name| format!("{}/{name}\n", R::KIND)).collect();
            return lines.concat();
        }
        if records.is_empty() {
            return String::new();
        }
        let columns = R::COLUMNS
            .iter()
            .filter(|column| self.format == Format::Wide || !column.wide);
        let mut rows = Vec::new();
        if self.headers {
            self.headers = false;
            let titles = columns.clone().map(|column| column.title.to_owned());
            rows.push(self.row::<R>("NAMESPACE", titles));
        }
        for record in records {
            let cells = columns.clone().map(|column| (column.cell)(record));
            rows.push(self.row::<R>(&record.object().namespace, cells));
        }
        aligned(&rows, &mut self.widths)
    }

    fn row<R: Record>(&self, namespace: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
        let namespace = (self.namespaces && R::NAMESPACED).then(|| namespace.to_owned());
        namespace.into_iter().chain(cells).collect()
    }
}

/// Rows of cells in columns; `widths` are those of earlier rows, and of these afterwards.
pub fn aligned(rows: &[Vec<String>], widths: &mut Vec<usize>) -> String {
    let cell = |cell: &str| if cell.is_empty() { NONE } else { cell }.to_owned();
    for row in rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell(text).chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let padded = row
            .iter()
            .zip(&*widths)
            .map(|(text, width)| format!("{:width$}", cell(text), width = width + GAP));
        text.push_str(padded.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

/// Why a record could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("{kind} cannot be written as {format}: {why}")]
pub struct PrintError {
    kind: &'static str,
    format: &'static str,
    why: String,
}

/// A list of records as a document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a, R: Record> {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<Item<'a, R>>,
}

/// A record as a document.
#[derive(Serialize)]
struct Item<'a, R: Record> {
    kind: &'static str,
    #[serde(flatten)]
    record: &'a R,
}

impl<'a, R: Record> Item<'a, R> {
    fn new(record: &'a R) -> Self {
        Self {
            kind: R::KIND,
            record,
        }
    }
}

/// One JSON document.
///
/// # Errors
/// The document cannot be written as JSON, which is a fault of its type.
pub(super) fn json<T: Serialize>(document: &T) -> Result<String, PrintError> {
    serde_json::to_string_pretty(document)
        .map(|text| text + "\n")
        .map_err(|error| PrintError {
            kind: "list",
            format: "JSON",
            why: error.to_string(),
        })
}

/// One YAML document.
///
/// # Errors
/// As [`json`].
pub(super) fn yaml<T: Serialize>(document: &T) -> Result<String, PrintError> {
    serde_saphyr::to_string(document).map_err(|error| PrintError {
        kind: "list",
        format: "YAML",
        why: error.to_string(),
    })
}
