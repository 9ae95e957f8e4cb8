//! How does an answer reach the terminal? Data on standard output, remarks on standard error; once,
//! or again and again.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use super::error::CliError;
use super::print::{Output, Printer};
use super::select::{Query, Selection, select};
use super::view::Record;
use super::watch::Seen;

/// Between two looks: short enough to follow by eye, long enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// An answer, with what people should know about it.
#[derive(Debug)]
pub struct Answer<R> {
    /// Everything that there is.
    pub records: Vec<R>,
    /// What to say on standard error.
    pub remark: Option<String>,
}

/// Prints what was asked for of the answers that `look` gives.
///
/// # Errors
/// Those of `look`, a name that nothing has, and a standard output that takes nothing.
pub fn show<R: Record>(
    query: &Query,
    output: &Output,
    look: impl Fn() -> Result<Answer<R>, CliError>,
) -> Result<ExitCode, CliError> {
    let mut printer = Printer::new(output, query.namespace.is_none());
    let Answer { records, remark } = look()?;
    let selection = select(records, query);
    let is_one = query.names.len() == 1 && selection.records.len() == 1;
    let text = if is_one || output.watch {
        printer.each(&selection.records)?
    } else {
        printer.list(&selection.records)?
    };
    write(&text)?;
    for remark in remark.into_iter().chain(remarks(&selection, query)) {
        eprintln!("{remark}");
    }
    if let Some(missing) = selection.missing {
        return Err(missing);
    }
    if output.watch {
        follow(query, &mut printer, &selection.records, look)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what changes, for ever.
fn follow<R: Record>(
    query: &Query,
    printer: &mut Printer,
    records: &[R],
    look: impl Fn() -> Result<Answer<R>, CliError>,
) -> Result<(), CliError> {
    let mut seen = Seen::default();
    seen.changes(records);
    loop {
        sleep(LOOK_EVERY);
        let selection = select(look()?.records, query);
        let (changed, gone) = seen.changes(&selection.records);
        let records = selection.records.into_iter().enumerate();
        let changed: Vec<R> = records
            .filter(|(i, _)| changed.contains(i))
            .map(|(_, record)| record)
            .collect();
        write(&printer.each(&changed)?)?;
        for key in gone {
            eprintln!("{} {key} is gone", R::KIND);
        }
    }
}

fn remarks<R: Record>(selection: &Selection<R>, query: &Query) -> Vec<String> {
    let mut remarks = Vec::new();
    if selection.records.is_empty() && selection.missing.is_none() {
        remarks.push(match (&query.namespace, selection.elsewhere) {
            (None, _) => format!("No {}s found.", R::KIND),
            (Some(namespace), 0) => format!("No {}s found in {namespace} namespace.", R::KIND),
            (Some(namespace), elsewhere) => format!(
                "No {}s found in {namespace} namespace; {elsewhere} in others: -A shows them.",
                R::KIND
            ),
        });
    }
    if selection.beyond_limit != 0 {
        remarks.push(format!(
            "{} more: a larger --limit shows them.",
            selection.beyond_limit
        ));
    }
    remarks
}

/// Writes to standard output at once, as whoever watches waits for it.
///
/// # Errors
/// A standard output that takes nothing.
pub fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
