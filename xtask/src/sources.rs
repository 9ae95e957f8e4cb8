//! Which files belong to the project: everything in the checkout but git's own, build results and captures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The project's files, relative to the top of the checkout, sorted. What `.gitignore` names is left out.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(root, Path::new(""), &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let full = root.join(dir);
    let unreadable = || format!("cannot list {}", full.display());
    for entry in fs::read_dir(&full).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let path = dir.join(entry.file_name());
        let kind = entry.file_type().with_context(unreadable)?;
        if is_ignored(&path) {
            continue;
        }
        if kind.is_dir() {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// The same patterns as in `.gitignore`, and git's own directory (in a linked worktree: file).
fn is_ignored(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name == ".git" || name == "target" || name.starts_with("target-") || name.ends_with(".pcap")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_ignored;

    #[test]
    fn build_results_at_the_top_and_captures_anywhere_are_not_ours() {
        for path in [".git", "target", "target-arm64", "tests/dump.pcap"] {
            assert!(is_ignored(Path::new(path)), "{path}");
        }
        for path in [
            ".ci",
            ".gitignore",
            "lb-common/src/target.rs",
            "docs/target",
        ] {
            assert!(!is_ignored(Path::new(path)), "{path}");
        }
    }
}
