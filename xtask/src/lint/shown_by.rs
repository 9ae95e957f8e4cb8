//! Is there a test of every name that a document gives as proof? Tables have them in a column "shown by".

use std::collections::BTreeSet;

use super::{Finding, SourceFile};

/// The title of the column.
const TITLE: &str = "shown by";
/// What stands there where there is nothing to show.
const NOTHING: &str = "–";

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let extension = |file: &&SourceFile, wanted| {
        let found = file.path.extension();
        found.is_some_and(|found| found == wanted)
    };
    let sources = files.iter().filter(|file| extension(file, "rs"));
    let tests: BTreeSet<&str> = sources.flat_map(|file| tests(&file.text)).collect();
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

fn check_document(file: &SourceFile, tests: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut is_wanted = false;
    for (i, line) in file.text.lines().enumerate() {
        let Some(cells) = line.strip_prefix('|') else {
            is_wanted = false;
            continue;
        };
        let cells = cells.trim_end().trim_end_matches('|');
        let last = cells.rsplit('|').next().unwrap_or_default().trim();
        if last == TITLE {
            is_wanted = true;
        } else if is_wanted && !is_rule(last) {
            let why =
                judge(last, tests).map(|why| format!("{}:{}: {why}", file.path.display(), i + 1));
            findings.extend(why);
        }
    }
    findings
}

/// The line under a table's head.
fn is_rule(cell: &str) -> bool {
    !cell.is_empty() && cell.chars().all(|char| "-:".contains(char))
}

fn judge(cell: &str, tests: &BTreeSet<&str>) -> Option<String> {
    if cell == NOTHING {
        return None;
    }
    // What stands between backticks is every other part.
    let mut names = cell.split('`').skip(1).step_by(2).peekable();
    if names.peek().is_none() {
        return Some(format!("no test is named: name one, or write {NOTHING}"));
    }
    let missing = names.find(|name| !tests.contains(name))?;
    Some(format!(
        "there is no test `{missing}`: name one that is there"
    ))
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
                "a.rs",
                "#[test]\nfn it_works() {}\n\nfn no_test() {}\n#[tokio::test]\nasync fn so_does_this() {}\n",
            ),
            file(
                "b.md",
                &format!("| what | {TITLE} |\n|---|---|\n{table}\n\n| `other_table` |\n"),
            ),
        ])
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
