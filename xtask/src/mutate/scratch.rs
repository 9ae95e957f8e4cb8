//! The copy of the sources in which lines are changed: the checkout itself is never touched.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::list::Mutation;
use crate::{digest, process, sources};

/// Below the top of the checkout. Kept between runs, so that only the first one builds everything.
const DIR: &str = "target/mutate";

pub(super) struct Scratch {
    root: PathBuf,
}

impl Scratch {
    /// Makes the copy, or brings the one of the last run up to date.
    pub(super) fn copy(checkout: &Path) -> Result<Self> {
        let root = checkout.join(DIR);
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let wanted: BTreeSet<_> = sources::files(checkout)?.into_iter().collect();
        for present in sources::files(&root)? {
            if !wanted.contains(&present) {
                let file = root.join(present);
                fs::remove_file(&file)
                    .with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
        for path in &wanted {
            copy_changed(&checkout.join(path), &root.join(path))?;
        }
        Ok(Self { root })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A command that builds in the copy, with build results of its own.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = process::host(program, &self.root);
        command.env_remove("CARGO_TARGET_DIR");
        command
    }

    /// Like [`crate::program::point_to_products`], for the products of the copy.
    pub(super) fn point_to_products(&self, command: &mut Command) {
        command
            .env("LB_BIN", self.root.join("target/debug/lb"))
            .env(
                "LB_OBJECT",
                digest::object_file(&self.root, std::env::consts::ARCH),
            );
    }

    /// Changes the line and returns the text that the file had.
    pub(super) fn apply(&self, mutation: &Mutation) -> Result<String> {
        let file = self.root.join(&mutation.file);
        let original = fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", mutation.file.display()))?;
        let mutated = replace_line(&original, mutation)
            .with_context(|| mutation.file.display().to_string())?;
        write(&file, &mutated)?;
        Ok(original)
    }

    pub(super) fn restore(&self, mutation: &Mutation, original: &str) -> Result<()> {
        write(&self.root.join(&mutation.file), original)
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Leaves an equal file alone: cargo goes by its time.
fn copy_changed(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

/// The text with the mutation's line replaced. The line must be the only such one in the file, or after its `after`.
fn replace_line(text: &str, mutation: &Mutation) -> Result<String> {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let found = |wanted: &str, from: usize| {
        let lines = lines.iter().enumerate().skip(from);
        lines
            .filter(|(_, line)| line.trim() == wanted)
            .map(|(index, _)| index)
            .collect::<Vec<_>>()
    };
    let index = match &mutation.after {
        None => match found(&mutation.old, 0)[..] {
            [index] => index,
            [] => bail!("no line is `{}`", mutation.old),
            _ => bail!(
                "several lines are `{}`: name an earlier line by `after`",
                mutation.old
            ),
        },
        Some(after) => {
            let [anchor] = found(after, 0)[..] else {
                bail!("not exactly one line is `{after}`");
            };
            *found(&mutation.old, anchor + 1)
                .first()
                .with_context(|| format!("no line after `{after}` is `{}`", mutation.old))?
        }
    };
    let indentation = lines[index].len() - lines[index].trim_start().len();
    let mutated = format!("{}{}", &lines[index][..indentation], mutation.new);
    lines[index] = mutated;
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::{Mutation, replace_line};
    use crate::mutate::list::TestName;

    const TEXT: &str = "fn f() {\n    x = 1;\n}\nfn g() {\n    x = 1;\n    y = 1;\n}\n";

    fn mutation(after: Option<&str>, old: &str) -> Mutation {
        Mutation {
            name: "test".to_owned(),
            file: "a.rs".into(),
            after: after.map(str::to_owned),
            old: old.to_owned(),
            new: "z = 2;".to_owned(),
            test: TestName {
                package: "lb-common".to_owned(),
                name: "t".to_owned(),
            },
        }
    }

    #[test]
    fn the_line_changes_and_its_indentation_stays() {
        let mutated = replace_line(TEXT, &mutation(None, "y = 1;")).unwrap();
        assert_eq!(mutated, TEXT.replace("y = 1;", "z = 2;"));
    }

    #[test]
    fn an_earlier_line_tells_equal_lines_apart() {
        let mutated = replace_line(TEXT, &mutation(Some("fn g() {"), "x = 1;")).unwrap();
        assert_eq!(
            mutated,
            "fn f() {\n    x = 1;\n}\nfn g() {\n    z = 2;\n    y = 1;\n}\n"
        );
    }

    #[test]
    fn a_line_that_is_not_there_or_not_unique_is_an_error() {
        for mutation in [
            mutation(None, "x = 1;"),
            mutation(None, "w = 1;"),
            mutation(Some("}"), "x = 1;"),
        ] {
            assert!(replace_line(TEXT, &mutation).is_err());
        }
    }
}
