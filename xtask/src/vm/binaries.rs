//! Which test binaries did cargo build?

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;

/// Builds these test targets of `lb-tests` and says where they are.
pub(super) fn build(root: &Path, targets: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = process::host("cargo", root);
    command.args(["test", "--locked", "--no-run", "--package", "lb-tests"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    for target in targets {
        command.args(["--test", target]);
    }
    let messages = process::output(&mut command)?;
    let mut built = BTreeMap::new();
    for message in messages.lines() {
        let message: Value = serde_json::from_str(message).context("cargo's messages are JSON")?;
        if let (Some(name), Some(path)) = (
            message["target"]["name"].as_str(),
            message["executable"].as_str(),
        ) && message["profile"]["test"] == true
        {
            built.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    for target in targets {
        built
            .get(*target)
            .with_context(|| format!("cargo built no test binary `{target}`"))?;
    }
    Ok(built)
}
