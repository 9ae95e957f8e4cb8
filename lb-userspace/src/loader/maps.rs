//! Which maps are pinned, how big are they, and do those that are pinned already fit?

use std::collections::BTreeMap;
use std::io;

use aya_obj::Object;
use lb_common::limits::{ENTRIES_PER_EVICTABLE, LAYOUT_VERSION};

use super::{LoadError, Pins};
use crate::bpf::{MapInfo, first_element};

/// The maps that are pinned, under these names. Others of the object hold what ends with the
/// packet, and each loaded instance has its own.
pub const PINNED: [&str; 31] = [
    "config",
    "sieve4",
    "sieve6",
    "services",
    "slots",
    "frontends4",
    "frontends6",
    "frontend_info4",
    "frontend_info6",
    "backends4",
    "backends6",
    "ranges4",
    "ranges6",
    "nodes4",
    "nodes6",
    "fragments4",
    "fragments6",
    "flows4",
    "flows6",
    "evictable4",
    "evictable6",
    "snat4",
    "snat6",
    "affinity4",
    "affinity6",
    "links",
    "drops",
    "connected4",
    "connected6",
    "sockets4",
    "sockets6",
];

/// What the programs expect of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    kind: u32,
    key_size: u32,
    value_size: u32,
    pub(super) max_entries: u32,
}

/// The maps to be pinned, by name, with sizes as the settings want them.
pub(super) fn definitions(
    object: &[u8],
    sizes: &BTreeMap<String, u32>,
) -> Result<BTreeMap<String, Definition>, LoadError> {
    let object = Object::parse(object).map_err(|error| LoadError::Object(error.to_string()))?;
    let maps = object.maps.into_iter();
    let pinned = maps.filter(|(name, _)| PINNED.contains(&name.as_str()));
    Ok(pinned
        .map(|(name, map)| {
            let wanted = wanted_size(&name, sizes);
            let definition = Definition {
                kind: map.map_type(),
                key_size: map.key_size(),
                value_size: map.value_size(),
                max_entries: wanted.unwrap_or(map.max_entries()),
            };
            (name, definition)
        })
        .collect())
}

/// The size that is wanted for a map; none = the object's own.
fn wanted_size(map: &str, sizes: &BTreeMap<String, u32>) -> Option<u32> {
    match follows(map) {
        Some(flows) => Some((sizes.get(flows)? / ENTRIES_PER_EVICTABLE).max(1)),
        None => sizes.get(map).copied(),
    }
}

/// The map whose size decides this one's: that of the queue of flows that may go follows the flow
/// table's.
fn follows(map: &str) -> Option<&'static str> {
    match map {
        "evictable4" => Some("flows4"),
        "evictable6" => Some("flows6"),
        _ => None,
    }
}

/// Compares the maps that are pinned with what the programs expect; those that are missing, as
/// after a start that did not get to its end, will be made.
pub(super) fn check(
    pins: &Pins,
    definitions: &BTreeMap<String, Definition>,
) -> Result<(), LoadError> {
    check_layout(pins)?;
    for (name, wanted) in definitions {
        let path = pins.map(name);
        let pinned = match MapInfo::of(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            pinned => pinned.map_err(LoadError::pin(&path, "open"))?,
        };
        for (what, pinned, wanted) in [
            ("type", pinned.kind, wanted.kind),
            ("key size", pinned.key_size, wanted.key_size),
            ("value size", pinned.value_size, wanted.value_size),
            ("size", pinned.max_entries, wanted.max_entries),
        ] {
            // Whoever wants another size names the map that it is a setting of.
            let is_told_elsewhere = what == "size" && follows(name).is_some();
            if pinned != wanted && !is_told_elsewhere {
                return Err(LoadError::MapDiffers {
                    path,
                    what,
                    pinned,
                    wanted,
                });
            }
        }
    }
    Ok(())
}

/// Compares the layout's version, which is the first word of map `config` in every layout; it is
/// zero until the first daemon has written it.
fn check_layout(pins: &Pins) -> Result<(), LoadError> {
    let path = pins.map("config");
    let config = match first_element(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        config => config.map_err(LoadError::pin(&path, "read"))?,
    };
    let version = config
        .first_chunk()
        .map_or(0, |word| u32::from_ne_bytes(*word));
    if version == 0 || version == LAYOUT_VERSION {
        Ok(())
    } else {
        Err(LoadError::LayoutDiffers {
            path,
            pinned: version,
        })
    }
}
