//! Nothing in the files may depend on one person's machine: no home directory, no private registry, no settings that
//! change everybody's builds.

use super::{Finding, SourceFile};

/// Beginnings of paths that exist on one machine only.
const PRIVATE_PATHS: &[&str] = &["/builds/", "/home/", "/root/", "/Users/", "/workspace/"];

/// Words of the addresses under which organizations mirror registries.
const MIRRORS: &[&str] = &["artifactory", "jfrog", "nexus-repository", "verdaccio"];

/// The registry that every package in Cargo.lock comes from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| !is_this_file(file))
        .flat_map(check_file)
        .collect()
}

/// This file names what it looks for.
fn is_this_file(file: &SourceFile) -> bool {
    file.path == std::path::Path::new(file!())
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let path = file.path.to_string_lossy();
    let numbered = file
        .text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    numbered
        .filter_map(|(number, line)| {
            let why = match &*path {
                "Cargo.lock" => foreign_source(line),
                ".cargo/config.toml" => unwanted_setting(line),
                _ => private_place(line),
            }?;
            Some(format!("{path}:{number}: {why}"))
        })
        .collect()
}

fn foreign_source(line: &str) -> Option<String> {
    let source = line.strip_prefix("source = ")?.trim_matches('"');
    (source != REGISTRY)
        .then(|| format!("{source} is not {REGISTRY}: a stranger cannot build from it"))
}

fn unwanted_setting(line: &str) -> Option<String> {
    let is_section = line.starts_with('[') && line != "[alias]";
    is_section
        .then(|| format!("{line} would change the user's own builds: only [alias] may be here"))
}

fn private_place(line: &str) -> Option<String> {
    let private = PRIVATE_PATHS.iter().find(|path| starts_a_path(line, path));
    if let Some(path) = private {
        return Some(format!(
            "{path} is one machine's: find the place at run time, or write ~ in a text"
        ));
    }
    let lower = line.to_lowercase();
    let mirror = MIRRORS.iter().find(|word| lower.contains(*word))?;
    Some(format!(
        "`{mirror}` is one organization's: leave the registry to the user's configuration"
    ))
}

/// Whether the directory stands at the beginning of a path, and not amid another one.
fn starts_a_path(line: &str, dir: &str) -> bool {
    line.match_indices(dir).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|char| char.is_alphanumeric() || "/._-~}*".contains(char))
    })
}

#[cfg(test)]
mod tests {
    use super::{SourceFile, check};

    fn findings(path: &str, text: &str) -> usize {
        check(&[SourceFile {
            path: path.into(),
            text: text.into(),
        }])
        .len()
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_relative_one_is_not() {
        assert_eq!(
            findings("README.md", "see /home/someone/lb\nor (/root/lb)"),
            2
        );
        assert_eq!(
            findings(
                "README.md",
                "see ~/lb, docs/home/page, $HOME/lb, https://host/home/x"
            ),
            0
        );
    }

    #[test]
    fn packages_come_from_the_public_registry() {
        assert_eq!(
            findings(
                "Cargo.lock",
                "source = \"registry+https://github.com/rust-lang/crates.io-index\""
            ),
            0
        );
        assert_eq!(
            findings(
                "Cargo.lock",
                "source = \"registry+https://mirror.example/index\""
            ),
            1
        );
        assert_eq!(
            findings("docs/build.md", "https://artifactory.example/crates"),
            1
        );
    }

    #[test]
    fn the_configuration_of_cargo_holds_aliases_only() {
        assert_eq!(
            findings(".cargo/config.toml", "[alias]\nxtask = \"run\""),
            0
        );
        assert_eq!(findings(".cargo/config.toml", "[build]\nrustflags = []"), 1);
    }
}
