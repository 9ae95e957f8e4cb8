//! How does the datapath leave without a trace, whatever state it was left in?
//!
//! Works from what is pinned and what the kernel says, so also after a crash and after a start that
//! died half-way; doing it twice is fine. What is not ours stays.

use std::fs;
use std::io;
use std::path::Path;

use super::filters::Filters;
use super::links::detach;
use super::maps::PINNED;
use super::pins::{self, Pins};
use super::{Device, LoadError};
use crate::bpf::Link;
use crate::netlink::filters::Direction;
use crate::netlink::{Facts, Netlink};

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Programs taken from hooks.
    pub attached: usize,
    /// Clsact qdiscs that we had made.
    pub qdiscs: usize,
    /// Pinned programs.
    pub programs: usize,
    /// Pinned maps.
    pub maps: usize,
}

/// Removes every trace of ours: what is attached, filters and qdiscs in this network namespace, what
/// is pinned, and the pin directory. Stop the daemon first.
///
/// # Errors
/// [`LoadError`] says what could not be removed; everything before it is gone.
pub fn uninstall(pin_dir: &Path) -> Result<Removed, LoadError> {
    let pins = Pins::new(pin_dir);
    let mut removed = Removed::default();
    if !pin_dir.exists() {
        return Ok(removed);
    }
    for path in pins::list(&pins.attached())? {
        let link = Link::open(&path).map_err(LoadError::pin(&path, "open"))?;
        detach(&path, &link)?;
        removed.attached += 1;
    }
    remove_filters(&pins, &mut removed)?;
    for path in pins::list(&pins.programs())? {
        fs::remove_file(&path).map_err(LoadError::pin(&path, "remove"))?;
        removed.programs += 1;
    }
    for name in PINNED {
        let path = pins.map(name);
        if path.exists() {
            fs::remove_file(&path).map_err(LoadError::pin(&path, "remove"))?;
            removed.maps += 1;
        }
    }
    for dir in [pins.attached(), pins.programs(), pins.qdiscs()] {
        remove_dir(&dir)?;
    }
    remove_dir(pins.dir())?;
    Ok(removed)
}

/// Removes filters whose program uses one of our maps, and qdiscs that we noted as ours.
fn remove_filters(pins: &Pins, removed: &mut Removed) -> Result<(), LoadError> {
    let mut netlink = Netlink::connect().map_err(LoadError::netlink("connect"))?;
    let facts = Facts::ask(&mut netlink).map_err(LoadError::netlink("list links"))?;
    let mut filters = Filters::new(pins.clone())?;
    for (&index, link) in &facts.links {
        let device = Device {
            index,
            name: &link.name,
        };
        for direction in Direction::ALL {
            removed.attached += filters.remove_ours(index, direction)?;
        }
        removed.qdiscs += usize::from(filters.remove_qdisc(device)?);
    }
    // What is left are notes about qdiscs that others use now, and of links that are gone.
    for note in pins::list(&pins.qdiscs())? {
        remove_dir(&note)?;
    }
    Ok(())
}

/// Removes an empty directory; absent is fine.
fn remove_dir(dir: &Path) -> Result<(), LoadError> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(LoadError::pin(dir, "remove")),
    }
}
