//! Where are the files, and what is in them?

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The directory `deploy/`.
pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// A file of `deploy/`, as text.
pub(crate) fn text(file: &str) -> Result<String> {
    let path = deploy().join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The YAML documents of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(documents)
}

/// The document of this kind in a file of `deploy/`.
pub(crate) fn object(file: &str, kind: &str) -> Result<Value> {
    of_kind(documents(&text(file)?)?, kind).with_context(|| file.to_owned())
}

/// The one of this kind.
pub(crate) fn of_kind(objects: Vec<Value>, kind: &str) -> Result<Value> {
    let mut found = objects.into_iter().filter(|object| object["kind"] == kind);
    let first = found.next().with_context(|| format!("no {kind}"))?;
    ensure!(found.next().is_none(), "more than one {kind}");
    Ok(first)
}

/// All files below, but for templates, which are no YAML yet.
fn all(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("templates") {
                all(&path, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[test]
fn every_file_can_be_read() -> Result<()> {
    let mut files = Vec::new();
    all(&deploy(), &mut files)?;
    ensure!(files.len() > 10, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file)?;
        let name = file.display().to_string();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => drop(documents(&text).context(name)?),
            Some("json") => drop(serde_json::from_str::<Value>(&text).context(name)?),
            other => ensure!(file.ends_with("Containerfile"), "{name}: {other:?}"),
        }
    }
    Ok(())
}
