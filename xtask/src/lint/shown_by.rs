//! Is there a test of every name that a document gives as proof, and does it run where the document says? Tables have
//! the names in a last column "shown by", and where they run in one called "on" before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{Finding, SourceFile};

/// The title of the column.
const TITLE: &str = "shown by";
/// The title of the column before it that says on which kernels.
const ON: &str = "on";
/// What stands there where there is nothing to show.
const NOTHING: &str = "–";

/// Where tests of a file run: the first whose path begins so.
const PLACES: &[(&str, &str)] = &[
    ("tests/tests/datapath/atomic.rs", "host"),
    ("tests/tests/datapath/counts.rs", "host"),
    ("tests/tests/datapath/", "all"),
    ("tests/tests/kernels/", "all"),
    ("tests/tests/topology/devices.rs", "machines"),
    ("tests/tests/topology/netem.rs", "machines"),
    ("tests/tests/topology/sctp.rs", "machines"),
    ("", "host"),
];

/// Where a test of each name runs.
type Tests<'t> = BTreeMap<&'t str, &'static str>;

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let extension = |file: &&SourceFile, wanted| {
        let found = file.path.extension();
        found.is_some_and(|found| found == wanted)
    };
    let sources = files.iter().filter(|file| extension(file, "rs"));
    let tests: Tests<'_> = sources
        .flat_map(|file| tests(&file.text).map(|test| (test, place(&file.path))))
        .collect();
    let documents = files.iter().filter(|file| extension(file, "md"));
    documents
        .flat_map(|file| check_document(file, &tests))
        .collect()
}

/// The names of a file's tests: functions that an attribute ending in `test]` stands before.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines
        .clone()
        .zip(lines.skip(1))
        .filter(|(attribute, _)| attribute.starts_with("#[") && attribute.ends_with("test]"))
        .filter_map(|(_, line)| {
            let (_, rest) = line.split_once("fn ")?;
            rest.split_once('(').map(|(name, _)| name)
        })
}

fn place(path: &Path) -> &'static str {
    let mut places = PLACES.iter().filter(|(begin, _)| path.starts_with(begin));
    places.next().map_or("", |(_, place)| place)
}

fn check_document(file: &SourceFile, tests: &Tests<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut is_wanted, mut says_where) = (false, false);
    for (i, line) in file.text.lines().enumerate() {
        let Some(cells) = line.strip_prefix('|') else {
            is_wanted = false;
            continue;
        };
        let cells = cells.trim_end().trim_end_matches('|');
        let mut backwards = cells.rsplit('|').map(str::trim);
        let last = backwards.next().unwrap_or_default();
        let before = backwards.next().unwrap_or_default();
        if last == TITLE {
            is_wanted = true;
            says_where = before == ON;
        } else if is_wanted && !is_rule(last) {
            let on = says_where.then_some(before);
            let why = judge(last, on, tests);
            findings.extend(why.map(|why| format!("{}:{}: {why}", file.path.display(), i + 1)));
        }
    }
    findings
}

/// The line under a table's head.
fn is_rule(cell: &str) -> bool {
    !cell.is_empty() && cell.chars().all(|char| "-:".contains(char))
}

fn judge(cell: &str, on: Option<&str>, tests: &Tests<'_>) -> Option<String> {
    if cell == NOTHING {
        return None;
    }
    // What stands between backticks is every other part.
    let mut names = cell.split('`').skip(1).step_by(2).peekable();
    if names.peek().is_none() {
        return Some(format!("no test is named: name one, or write {NOTHING}"));
    }
    let mut places = BTreeSet::new();
    for name in names {
        match tests.get(name) {
            Some(place) => places.insert(*place),
            None => {
                return Some(format!("there is no test `{name}`: name one that is there"));
            }
        };
    }
    let places = places.into_iter().collect::<Vec<_>>().join(", ");
    let is_right = on.is_none_or(|on| on == places);
    (!is_right).then(|| format!("these tests run on: {places}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(table: &str) -> Vec<Finding> {
        let file = |path: &str, text: &str| SourceFile {
            path: path.into(),
            text: text.into(),
        };
        check(&[
            file(
                "tests/tests/datapath/a.rs",
                "#[test]\nfn it_works() {}\n\nfn no_test() {}\n#[tokio::test]\nasync fn so_does_this() {}\n",
            ),
            file(
                "b.md",
                &format!("| what | {TITLE} |\n|---|---|\n{table}\n\n| `other_table` |\n"),
            ),
        ])
    }

    #[test]
    fn a_row_says_where_its_tests_run() {
        let files = |on: &str| {
            let test = "#[test]\nfn it_works() {}\n";
            let table =
                format!("| what | {ON} | {TITLE} |\n|---|---|---|\n| a | {on} | `it_works` |");
            [
                ("tests/tests/datapath/a.rs", test),
                ("b.md", table.as_str()),
            ]
            .map(|(path, text)| SourceFile {
                path: path.into(),
                text: text.into(),
            })
        };
        assert_eq!(check(&files("all")), [""; 0]);
        assert_eq!(check(&files("host")), ["b.md:3: these tests run on: all"]);
    }

    #[test]
    fn each_row_names_tests_that_are_there_or_nothing() {
        assert_eq!(
            findings("| a `b` | `it_works`, `so_does_this` |\n| b | – |"),
            [""; 0]
        );
        assert_eq!(
            findings("| a | `it_works`, `gone` |"),
            ["b.md:3: there is no test `gone`: name one that is there"]
        );
        assert_eq!(findings("| a | `no_test` |").len(), 1);
        assert_eq!(findings("| a | |").len(), 1);
    }
}
