//! How does a program hang on a clsact qdisc? Where the kernel has no tcx, or where others have
//! filters that ours must come after.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use super::maps::PINNED;
use super::pins::{self, Pins};
use super::programs::Loaded;
use super::{Device, LoadError, Remark};
use crate::bpf::MapInfo;
use crate::bpf::program::ProgramInfo;
use crate::netlink::Netlink;
use crate::netlink::filters::{Direction, Filter, Slot};

/// Handle of our filters. Their priority is their own, so it need not differ from others'.
const HANDLE: u32 = 1;

/// The filters on links' clsact qdiscs.
#[derive(Debug)]
pub(super) struct Filters {
    pins: Pins,
    netlink: Netlink,
    /// Ids of the pinned maps: a program that uses one of them is ours.
    maps: Vec<u32>,
    /// Names of devices and ids of programs, by where this process has hung filters.
    pub(super) placed: BTreeMap<(u32, Direction), (String, u32)>,
}

impl Filters {
    /// Programs that use what is pinned here are ours.
    pub(super) fn new(pins: Pins) -> Result<Self, LoadError> {
        let netlink = Netlink::connect().map_err(LoadError::netlink("connect"))?;
        let maps = PINNED.iter().map(|name| MapInfo::of(&pins.map(name)));
        let maps = maps.flatten().map(|map| map.id).collect();
        Ok(Self {
            pins,
            netlink,
            maps,
            placed: BTreeMap::new(),
        })
    }

    /// Our filters and those of others, each by priority.
    pub(super) fn list(
        &mut self,
        ifindex: u32,
        direction: Direction,
    ) -> Result<(Vec<Filter>, Vec<Filter>), LoadError> {
        let listed = self.netlink.filters(ifindex, direction);
        let mut filters = listed.map_err(LoadError::netlink("list filters"))?;
        filters.sort_by_key(|filter| filter.slot);
        Ok(filters.into_iter().partition(|filter| self.is_ours(filter)))
    }

    fn is_ours(&self, filter: &Filter) -> bool {
        let program = filter.program.map(ProgramInfo::by_id);
        program.is_some_and(|program| {
            program.is_ok_and(|program| program.maps.iter().any(|map| self.maps.contains(map)))
        })
    }

    /// Hangs the program before the filters of others at ingress and behind them at egress, or
    /// switches to it; says so where others have left no such place.
    pub(super) fn set(
        &mut self,
        device: Device<'_>,
        direction: Direction,
        program: &Loaded,
    ) -> Result<Remark, LoadError> {
        self.make_qdisc(device)?;
        let (ours, others) = self.list(device.index, direction)?;
        let others: Vec<u16> = others.iter().map(|filter| filter.slot.priority).collect();
        let priority = best(direction, &others);
        let slot = Slot {
            ifindex: device.index,
            direction,
            priority,
            handle: HANDLE,
        };
        let is_there = ours
            .iter()
            .any(|filter| filter.slot == slot && filter.program == Some(program.id));
        if !is_there {
            self.netlink
                .set_filter(slot, program.fd(), &program.name)
                .map_err(LoadError::netlink("set a filter"))?;
        }
        for filter in ours.iter().filter(|filter| filter.slot != slot) {
            self.remove(filter.slot)?;
        }
        let placed = (device.name.to_owned(), program.id);
        self.placed.insert((device.index, direction), placed);
        Ok(remark(direction, priority, &others))
    }

    /// Removes our filters in this direction.
    pub(super) fn remove_ours(
        &mut self,
        ifindex: u32,
        direction: Direction,
    ) -> Result<usize, LoadError> {
        self.placed.remove(&(ifindex, direction));
        let (ours, _) = self.list(ifindex, direction)?;
        for filter in &ours {
            self.remove(filter.slot)?;
        }
        Ok(ours.len())
    }

    fn remove(&mut self, slot: Slot) -> Result<(), LoadError> {
        match self.netlink.remove_filter(slot) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(LoadError::netlink("remove a filter")),
        }
    }

    /// Gives the device a clsact qdisc, if it has none. That it is ours is noted first: a process
    /// that ends in between leaves a note too many, never a qdisc that nobody removes.
    fn make_qdisc(&mut self, device: Device<'_>) -> Result<(), LoadError> {
        let note = self.pins.qdisc(device.index, device.name);
        let was_noted = note.exists();
        if !was_noted {
            fs::create_dir(&note).map_err(LoadError::pin(&note, "create"))?;
        }
        match self.netlink.add_clsact(device.index) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !was_noted {
                    fs::remove_dir(&note).map_err(LoadError::pin(&note, "remove"))?;
                }
                Ok(())
            }
            result => result.map_err(LoadError::netlink("add a clsact qdisc")),
        }
    }

    /// Takes the clsact qdisc from the link, if it is ours and has no filter left; whether it did.
    pub(super) fn remove_qdisc(&mut self, device: Device<'_>) -> Result<bool, LoadError> {
        let note = self.pins.qdisc(device.index, device.name);
        if !note.exists() {
            return Ok(false);
        }
        for direction in Direction::ALL {
            let (ours, others) = self.list(device.index, direction)?;
            if !ours.is_empty() || !others.is_empty() {
                return Ok(false);
            }
        }
        let was_there = match self.netlink.remove_clsact(device.index) {
            Err(error) if is_absent(&error) => false,
            result => {
                result.map_err(LoadError::netlink("remove the clsact qdisc"))?;
                true
            }
        };
        fs::remove_dir(&note).map_err(LoadError::pin(&note, "remove"))?;
        Ok(was_there)
    }

    /// Forgets the filters of a link that is gone, and removes the note about its qdisc.
    pub(super) fn forget(&mut self, ifindex: u32) -> Result<(), LoadError> {
        self.placed.retain(|(device, _), _| *device != ifindex);
        for note in pins::list(&self.pins.qdiscs())? {
            if pins::ifindex_of_qdisc(&note) == Some(ifindex) {
                fs::remove_dir(&note).map_err(LoadError::pin(&note, "remove"))?;
            }
        }
        Ok(())
    }
}

/// What the kernel says of a qdisc that is not there.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT))
}

/// The best priority that others have left: the kernel runs them in ascending order.
fn best(direction: Direction, others: &[u16]) -> u16 {
    let is_free = |priority: &u16| !others.contains(priority);
    let mut ascending = 1..=u16::MAX;
    let best = match direction {
        Direction::In => ascending.find(is_free),
        Direction::Out => ascending.rev().find(is_free),
    };
    best.unwrap_or(1)
}

fn remark(direction: Direction, priority: u16, others: &[u16]) -> Remark {
    let (bad, outer) = match direction {
        Direction::In => (
            "before",
            others.iter().filter(|&&other| other < priority).count(),
        ),
        Direction::Out => (
            "behind",
            others.iter().filter(|&&other| other > priority).count(),
        ),
    };
    (outer != 0).then(|| {
        format!(
            "{outer} tc filters of others run {bad} ours ({}, pref {priority}) and may see addresses that they do not expect: give them other priorities",
            direction.name()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_outermost_where_others_leave_room() {
        for (direction, others, expected, remarked) in [
            (Direction::In, &[][..], 1, false),
            (Direction::In, &[10, 49152], 1, false),
            (Direction::In, &[1, 2, 49152], 3, true),
            (Direction::Out, &[], 65_535, false),
            (Direction::Out, &[1, 49152], 65_535, false),
            (Direction::Out, &[65_535], 65_534, true),
        ] {
            let priority = best(direction, others);
            assert_eq!(priority, expected, "{direction:?} {others:?}");
            let remark = remark(direction, priority, others);
            assert_eq!(remark.is_some(), remarked, "{direction:?} {others:?}");
        }
    }
}
