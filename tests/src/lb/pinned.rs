//! What does the kernel hold of an instance of `lb`? Programs, maps and links, found by their pins.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{command, wait};

/// The kernel frees what nobody uses any more after a while.
const GOING: Duration = Duration::from_secs(5);

/// A kind of BPF object, and the ids of those that are pinned.
pub(super) type Ids = Vec<(&'static str, u64)>;

/// Of all that is pinned in the directory.
pub(super) fn pinned_ids(pins: &Path) -> Result<Ids> {
    let mut ids = Ids::new();
    for kind in ["prog", "map", "link"] {
        let all = list(kind)?;
        let ours = all.into_iter().filter(|object| {
            let pinned = object["pinned"].as_array();
            pinned.is_some_and(|paths| {
                let mut paths = paths.iter().filter_map(serde_json::Value::as_str);
                paths.any(|path| Path::new(path).starts_with(pins))
            })
        });
        ids.extend(ours.filter_map(|object| Some((kind, object["id"].as_u64()?))));
    }
    Ok(ids)
}

/// bpftool fails where an object goes while it lists them, as those of other tests do.
fn list(kind: &str) -> Result<Vec<serde_json::Value>> {
    const TRIES: u32 = 5;
    let show = || command::run(Command::new("bpftool").args(["--json", "--bpffs", kind, "show"]));
    let mut text = show();
    for _ in 1..TRIES {
        if text.is_err() {
            text = show();
        }
    }
    Ok(serde_json::from_str(&text?)?)
}

/// The kernel frees objects a moment after their last user is gone.
pub(super) fn await_gone(ids: &Ids) -> Result<()> {
    let mut left = Ids::new();
    let gone = wait::until("its programs, maps and links are gone", GOING, || {
        left.clear();
        for kind in ["prog", "map", "link"] {
            let there = list(kind)?;
            let there: Vec<_> = there
                .iter()
                .filter_map(|object| object["id"].as_u64())
                .collect();
            left.extend(
                ids.iter()
                    .filter(|(of, id)| *of == kind && there.contains(id)),
            );
        }
        Ok(left.is_empty())
    });
    gone.with_context(|| format!("still in the kernel: {left:?}"))
}

/// Bytes that the maps among them take, as the kernel counts them.
pub(super) fn map_bytes(ids: &Ids) -> Result<u64> {
    let maps = list("map")?;
    let ours = maps.iter().filter(|map| {
        let id = map["id"].as_u64();
        id.is_some_and(|id| ids.contains(&("map", id)))
    });
    let bytes = ours.filter_map(|map| {
        // A number, or its text, by version of bpftool.
        let bytes = &map["bytes_memlock"];
        bytes.as_u64().or_else(|| bytes.as_str()?.parse().ok())
    });
    Ok(bytes.sum())
}
