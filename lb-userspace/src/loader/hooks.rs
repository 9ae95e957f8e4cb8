//! By which means does a program come to each kind of hook, and what stands in its way there?

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::filters::Filters;
use super::links::Links;
use super::pins::Pins;
use super::programs::Loaded;
use super::{Device, LoadError, Remark};
use crate::bpf::program;
use crate::bpf::{Attachment, Link, Place, Target};
use crate::netlink::filters::Direction;
use crate::settings::XdpMode;

/// Everything that programs are attached to.
#[derive(Debug)]
pub(super) struct Hooks {
    pub(super) pins: Pins,
    /// The kernel has tcx.
    pub(super) tcx: bool,
    pub(super) links: Links,
    pub(super) filters: Filters,
}

/// How a program is attached to traffic control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a link of the kernel's; runs before any filter.
    Tcx,
    /// By a filter on the clsact qdisc.
    Filter,
}

/// Ours must be first at ingress and last at egress, and tcx always runs before filters.
const fn way(tcx: bool, direction: Direction, others_have_filters: bool) -> Way {
    match direction {
        _ if !tcx => Way::Filter,
        Direction::Out if others_have_filters => Way::Filter,
        _ => Way::Tcx,
    }
}

impl Hooks {
    /// Attaches the program to traffic control, or switches to it.
    pub(super) fn set_tc(
        &mut self,
        device: Device<'_>,
        direction: Direction,
        program: &Loaded,
    ) -> Result<Remark, LoadError> {
        let (_, others) = self.filters.list(device.index, direction)?;
        match way(self.tcx, direction, !others.is_empty()) {
            Way::Tcx => {
                self.set_tcx(device, direction, program)?;
                self.filters.remove_ours(device.index, direction)?;
                self.filters.remove_qdisc(device)?;
                Ok(None)
            }
            Way::Filter => {
                let remark = self.filters.set(device, direction, program)?;
                self.links.remove(tcx_target(device.index, direction))?;
                Ok(remark)
            }
        }
    }

    fn set_tcx(
        &mut self,
        device: Device<'_>,
        direction: Direction,
        program: &Loaded,
    ) -> Result<(), LoadError> {
        let target = tcx_target(device.index, direction);
        let hook = format!("tcx-{}", direction.name());
        let path = self.pins.device_link(&hook, device.index, device.name);
        let place = match direction {
            Direction::In => Place::First,
            Direction::Out => Place::Last,
        };
        let create = |program: BorrowedFd<'_>| {
            Link::at_network_link(program, device.index, tcx(direction), place)
        };
        if self.is_out_of_place(device.index, direction) {
            self.links.replace(target, path, program, create)
        } else {
            self.links.set(target, path, program, create)
        }
    }

    /// Whether this program is at tcx, but not where it must be among the others; the hook takes no
    /// program twice, so its successor must be another.
    pub(super) fn must_move(&self, ifindex: u32, direction: Direction, program: u32) -> bool {
        let pinned = self.links.get(tcx_target(ifindex, direction));
        pinned.is_some_and(|pinned| pinned.program == program)
            && self.is_out_of_place(ifindex, direction)
    }

    /// Whether our program is there, but not where it must be among the others.
    fn is_out_of_place(&self, ifindex: u32, direction: Direction) -> bool {
        let Some(pinned) = self.links.get(tcx_target(ifindex, direction)) else {
            return false;
        };
        let Ok(attached) = program::at_tcx(ifindex, tcx(direction)) else {
            return false;
        };
        let order: Vec<u32> = attached.iter().map(|attached| attached.link).collect();
        !is_outermost(direction, &order, pinned.id)
    }

    /// Takes our programs from the device's traffic control, and the qdisc that was for them alone.
    pub(super) fn clear_tc(&mut self, device: Device<'_>) -> Result<(), LoadError> {
        for direction in Direction::ALL {
            self.links.remove(tcx_target(device.index, direction))?;
            self.filters.remove_ours(device.index, direction)?;
        }
        self.filters.remove_qdisc(device).map(drop)
    }

    /// Attaches the program to XDP, or switches to it; says why it cannot where that is no fault
    /// of ours.
    pub(super) fn set_xdp(
        &mut self,
        device: Device<'_>,
        mode: XdpMode,
        program: &Loaded,
    ) -> Result<Remark, LoadError> {
        let (hook, place) = match mode {
            XdpMode::Native => ("xdp-in", Place::Driver),
            XdpMode::Generic => ("xdpgeneric-in", Place::Stack),
        };
        let target = Target::Xdp(device.index);
        let path = self.pins.device_link(hook, device.index, device.name);
        let is_of_mode = self.links.get(target).is_none_or(|pinned| {
            let name = pinned.path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(&format!("{hook}-"))
        });
        if !is_of_mode {
            self.links.remove(target)?;
        }
        let create = |program: BorrowedFd<'_>| {
            Link::at_network_link(program, device.index, Attachment::Xdp, place)
        };
        match self.links.set(target, path, program, create) {
            Err(LoadError::Pin {
                source,
                action: "attach",
                ..
            }) => Ok(Some(why_no_xdp(&source))),
            result => result.map(|()| None),
        }
    }

    /// Takes our program from the device's XDP hook.
    pub(super) fn clear_xdp(&mut self, device: Device<'_>) -> Result<(), LoadError> {
        self.links.remove(Target::Xdp(device.index))
    }

    /// Removes the pins of links to a device that is gone.
    pub(super) fn forget(&mut self, ifindex: u32) -> Result<(), LoadError> {
        for target in self.links.targets() {
            if device_of(target) == Some(ifindex) {
                self.links.remove(target)?;
            }
        }
        self.filters.forget(ifindex)
    }

    /// Indices of the devices that links of ours are attached to.
    pub(super) fn devices(&self) -> BTreeSet<u32> {
        let targets = self.links.targets();
        targets.into_iter().filter_map(device_of).collect()
    }

    /// Whether our program is at the device's XDP hook.
    pub(super) fn has_xdp(&self, ifindex: u32) -> bool {
        self.links.get(Target::Xdp(ifindex)).is_some()
    }

    /// Attaches the program to a cgroup, or switches to it.
    pub(super) fn set_socket(
        &mut self,
        cgroup: &Cgroup,
        attachment: Attachment,
        program: &Loaded,
    ) -> Result<(), LoadError> {
        let target = Target::Cgroup(cgroup.id, attachment as u32);
        let name = program.name.trim_start_matches("sock_");
        let path = self.pins.attached().join(format!("cgroup-{name}"));
        let create = |program: BorrowedFd<'_>| {
            Link::at_cgroup(program, cgroup.directory.as_fd(), attachment)
        };
        self.links.set(target, path, program, create)
    }

    /// Takes our programs from all cgroups but this one.
    pub(super) fn clear_sockets(&mut self, but: Option<&Cgroup>) -> Result<(), LoadError> {
        let kept = but.map(|cgroup| cgroup.id);
        for target in self.links.targets() {
            if let Target::Cgroup(id, _) = target
                && Some(id) != kept
            {
                self.links.remove(target)?;
            }
        }
        Ok(())
    }
}

/// A cgroup that sockets are served in.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: File,
    /// Its id, as links name it: the number of its directory's inode.
    id: u64,
}

impl Cgroup {
    /// Opens the cgroup's directory.
    pub(super) fn open(dir: &Path) -> Result<Self, LoadError> {
        let failed = |action| {
            let dir = dir.to_owned();
            move |source| LoadError::Cgroup {
                dir,
                action,
                source,
            }
        };
        let directory = File::open(dir).map_err(failed("open"))?;
        let id = directory.metadata().map_err(failed("inspect"))?.ino();
        Ok(Self { directory, id })
    }
}

pub(super) const fn device_of(target: Target) -> Option<u32> {
    match target {
        Target::Tcx(index, _) | Target::Xdp(index) => Some(index),
        Target::Cgroup(..) => None,
    }
}

/// The tcx hook of this direction.
pub(super) const fn tcx(direction: Direction) -> Attachment {
    match direction {
        Direction::In => Attachment::TcxIngress,
        Direction::Out => Attachment::TcxEgress,
    }
}

/// The device and direction of a tcx hook.
pub(super) fn direction_of(target: Target) -> Option<(u32, Direction)> {
    let device = device_of(target)?;
    let mut directions = Direction::ALL.into_iter();
    let direction = directions.find(|direction| tcx_target(device, *direction) == target)?;
    Some((device, direction))
}

/// Whether the link is nearest to the wire, of those whose programs run in this order at a tcx hook.
pub(super) fn is_outermost(direction: Direction, order: &[u32], link: u32) -> bool {
    let outermost = match direction {
        Direction::In => order.first(),
        Direction::Out => order.last(),
    };
    outermost.is_none_or(|outermost| *outermost == link)
}

const fn tcx_target(ifindex: u32, direction: Direction) -> Target {
    Target::Tcx(ifindex, tcx(direction) as u32)
}

fn why_no_xdp(error: &io::Error) -> String {
    if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) {
        "another program has its XDP hook, so tc alone serves it: remove that program, or leave xdp out of --hooks".to_owned()
    } else {
        format!(
            "its XDP hook takes no program ({error}), so tc alone serves it: leave xdp out of --hooks, or try --xdp generic"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcx_is_taken_unless_others_have_filters_that_ours_must_follow() {
        for (tcx, direction, others, expected) in [
            (true, Direction::In, false, Way::Tcx),
            (true, Direction::In, true, Way::Tcx),
            (true, Direction::Out, false, Way::Tcx),
            (true, Direction::Out, true, Way::Filter),
            (false, Direction::In, false, Way::Filter),
            (false, Direction::Out, false, Way::Filter),
        ] {
            assert_eq!(way(tcx, direction, others), expected);
        }
    }
}
