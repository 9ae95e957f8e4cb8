//! A file that one can hold in mind has at most 400 lines.

use std::path::Path;

use super::{Finding, SourceFile};

const MAX_LINES: usize = 400;

/// Files that may be longer, each with the reason why it is better whole.
const EXCEPTIONS: &[(&str, &str)] = &[];

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    check_with(files, EXCEPTIONS)
}

fn check_with(files: &[SourceFile], exceptions: &[(&str, &str)]) -> Vec<Finding> {
    let is_excepted = |path: &Path| exceptions.iter().any(|(name, _)| Path::new(name) == path);
    let is_rust = |file: &&SourceFile| {
        file.path
            .extension()
            .is_some_and(|extension| extension == "rs")
    };
    let mut findings = Vec::new();
    for file in files.iter().filter(is_rust) {
        let lines = file.text.lines().count();
        if lines > MAX_LINES && !is_excepted(&file.path) {
            findings.push(format!(
                "{}: {lines} lines, more than {MAX_LINES}: split it by question, or give the reason in {}",
                file.path.display(),
                file!()
            ));
        }
    }
    for (name, reason) in exceptions {
        let is_long = |file: &SourceFile| {
            file.path == Path::new(name) && file.text.lines().count() > MAX_LINES
        };
        if !files.iter().any(is_long) {
            findings.push(format!(
                "{name}: needs no exception (\"{reason}\"): remove it from {}",
                file!()
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{MAX_LINES, SourceFile, check_with};

    fn file(path: &str, lines: usize) -> SourceFile {
        SourceFile {
            path: path.into(),
            text: "\n".repeat(lines),
        }
    }

    #[test]
    fn a_long_file_is_found_unless_it_has_a_reason() {
        let files = [
            file("short.rs", MAX_LINES),
            file("long.rs", MAX_LINES + 1),
            file("long.lock", 9000),
        ];
        assert_eq!(check_with(&files, &[]).len(), 1);
        assert!(check_with(&files, &[])[0].starts_with("long.rs: 401 lines"));
        assert!(check_with(&files, &[("long.rs", "one table")]).is_empty());
    }

    #[test]
    fn an_exception_that_is_not_needed_is_found() {
        let findings = check_with(
            &[file("short.rs", 3)],
            &[("short.rs", "one table"), ("gone.rs", "one table")],
        );
        assert_eq!(findings.len(), 2);
    }
}
