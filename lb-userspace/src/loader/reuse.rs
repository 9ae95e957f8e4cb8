//! Is a pinned program what would be loaded in its place? Then it serves on, and the verifier need
//! not read it again.
//!
//! A program is from one object, with one set of frozen values, over one set of maps. The frozen
//! values hold a digest of the object, so that two comparisons tell: its frozen values are equal to
//! those that a new one would get, and those of its maps that outlive it are those that are pinned.
//! A program without frozen values tells nothing of its object, and is loaded anew.

use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use super::Pins;
use super::maps::PINNED;
use crate::bpf::program::{self, ProgramInfo};
use crate::bpf::{MapInfo, first_element_by_id};

/// Name of the map that holds what is frozen.
pub(super) const FROZEN: &str = ".rodata";

/// What tells one object from another. Another digest of the same object, by another version of the
/// hash function, costs no more than loading it.
pub(super) fn digest(object: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(object);
    hasher.finish()
}

/// The program that is pinned there, and its id, if its frozen values equal those in map `frozen`
/// and its maps are those that are pinned; none if nothing is there, or something else.
pub(super) fn matching(pin: &Path, pins: &Pins, frozen: u32) -> io::Result<Option<(OwnedFd, u32)>> {
    let fd = match program::open(pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        fd => fd?,
    };
    let info = ProgramInfo::of(fd.as_fd())?;
    let mut is_same = false;
    for id in info.maps {
        let map = MapInfo::by_id(id)?;
        if PINNED.contains(&map.name.as_str()) {
            if MapInfo::of(&pins.map(&map.name))?.id != id {
                return Ok(None);
            }
        } else if map.name == FROZEN {
            is_same = first_element_by_id(id)? == first_element_by_id(frozen)?;
        }
    }
    Ok(is_same.then_some((fd, info.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_that_differ_in_a_bit_are_told_apart() {
        assert_eq!(digest(b"object"), digest(b"object"));
        assert_ne!(digest(b"object"), digest(b"objecu"));
    }
}
