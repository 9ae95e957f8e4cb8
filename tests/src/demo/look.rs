//! What do the maps look like to a person with bpftool, and what does lb say of them?

use std::process::Command;

use anyhow::{Context as _, Result};

use super::show::{heading, line, output};
use crate::command;
use crate::lb::Lb;

/// Elements of each map that are shown.
const ELEMENTS: usize = 3;

/// Shows frontends, the Services that they belong to, and what was dropped so far.
pub(super) fn inside(lb: &Lb) -> Result<()> {
    heading("The maps, by bpftool and by lb");
    for map in ["frontends4", "services"] {
        let path = lb.pin_dir().join(map);
        line("bpftool map dump", &format!("pinned {}", path.display()));
        let mut dump = Command::new("bpftool");
        let json = command::run(dump.args(["--json", "map", "dump", "pinned"]).arg(&path))?;
        let elements: Vec<serde_json::Value> = serde_json::from_str(&json)?;
        for element in elements.iter().take(ELEMENTS) {
            let readable = element.get("formatted").context("bpftool finds no BTF")?;
            output(&readable.to_string());
        }
    }
    line("lb get frontends -A", "");
    output(&lb.output(&["get", "frontends", "-A"])?);
    line("lb drops", "");
    output(&lb.output(&["drops"])?);
    Ok(())
}
