//! How the list of mutations is written: one block a mutation, one `key: value` a line, blank lines between blocks.
//!
//! The format is described to people in tests/mutations/README.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// The directory of the lists, below the top of the checkout: all `*.txt` in it.
pub(super) const DIR: &str = "tests/mutations";

/// One line to change, and the test that must notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mutation {
    pub(super) name: String,
    /// Relative to the top of the checkout.
    pub(super) file: PathBuf,
    /// The line, without indentation, after which `old` is looked for; the beginning of the file when there is none.
    pub(super) after: Option<String>,
    /// The line to replace, without indentation.
    pub(super) old: String,
    /// What replaces it; the indentation stays.
    pub(super) new: String,
    pub(super) test: TestName,
}

/// A test, by the package that has it and the name that libtest prints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TestName {
    pub(super) package: String,
    pub(super) name: String,
}

impl fmt::Display for TestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.name)
    }
}

/// Reads all lists of the checkout, in the order of the file names.
pub(super) fn read(root: &Path) -> Result<Vec<Mutation>> {
    let dir = root.join(DIR);
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();

    let mut mutations = Vec::new();
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        mutations.extend(parse(&text).with_context(|| file.display().to_string())?);
    }
    let mut names = BTreeSet::new();
    for mutation in &mutations {
        ensure!(
            names.insert(&mutation.name),
            "two mutations are named `{}`",
            mutation.name
        );
    }
    Ok(mutations)
}

fn parse(text: &str) -> Result<Vec<Mutation>> {
    let mut mutations = Vec::new();
    let mut block = Block::default();
    for (index, line) in text.lines().enumerate() {
        let at_line = || format!("line {}", index + 1);
        let line = line.trim();
        if line.is_empty() {
            mutations.extend(std::mem::take(&mut block).finish().with_context(at_line)?);
        } else if !line.starts_with('#') {
            block.add(line).with_context(at_line)?;
        }
    }
    mutations.extend(block.finish().context("last block")?);
    Ok(mutations)
}

/// The lines of one mutation so far.
#[derive(Default)]
struct Block(BTreeMap<String, String>);

impl Block {
    const KEYS: [&str; 6] = ["name", "file", "after", "old", "new", "test"];

    fn add(&mut self, line: &str) -> Result<()> {
        let (key, value) = line.split_once(':').context("no `key: value`")?;
        ensure!(
            Self::KEYS.contains(&key),
            "unknown key `{key}`; there are {}",
            Self::KEYS.join(", ")
        );
        if self
            .0
            .insert(key.to_owned(), value.trim().to_owned())
            .is_some()
        {
            bail!("a second `{key}` in one block: put a blank line between mutations");
        }
        Ok(())
    }

    /// The mutation, or nothing when there were no lines.
    fn finish(mut self) -> Result<Option<Mutation>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let after = self.0.remove("after");
        let mut take = |key: &str| {
            self.0
                .remove(key)
                .with_context(|| format!("the block above has no `{key}`"))
        };
        let test = take("test")?;
        let (package, test) = test
            .split_once(' ')
            .context("`test` is a package, a blank and the name of a test")?;
        Ok(Some(Mutation {
            name: take("name")?,
            file: take("file")?.into(),
            after,
            old: take("old")?,
            new: take("new")?,
            test: TestName {
                package: package.to_owned(),
                name: test.trim().to_owned(),
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    const TWO: &str = "\
# Why the first one matters.
name: first
file: lb-common/src/hash.rs
old:  a::b(c) == d
new:
test: lb-common hash::tests::spreads

name: second
file: x.rs
after: fn f() {
old: 1
new: 2
test: lb-tests datapath::hit
";

    #[test]
    fn blocks_become_mutations() {
        let mutations = parse(TWO).unwrap();
        assert_eq!(mutations.len(), 2);
        assert_eq!(mutations[0].old, "a::b(c) == d");
        assert_eq!(mutations[0].new, "");
        assert_eq!(
            mutations[0].test.to_string(),
            "lb-common hash::tests::spreads"
        );
        assert_eq!(mutations[1].after.as_deref(), Some("fn f() {"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            (
                "name: x\nnam: y",
                "line 2: unknown key `nam`; there are name, file, after, old, new, test",
            ),
            ("name: x\n\n", "line 2: the block above has no `test`"),
            (
                "name: x\nname: y",
                "line 2: a second `name` in one block: put a blank line between mutations",
            ),
            ("name", "line 1: no `key: value`"),
        ] {
            assert_eq!(format!("{:#}", parse(text).unwrap_err()), expected);
        }
    }
}
