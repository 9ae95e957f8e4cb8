//! What is attached to a hook, and how does a link attach a program, switch it, let it go?

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use bytemuck::{Pod, Zeroable};

use super::{Command, address_mut, call, owned};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    flags: u32,
    attached_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// What is attached at one place, in the order in which it runs.
#[derive(Clone, Debug, Default)]
pub(in crate::bpf) struct Attached {
    /// Ids of the programs.
    pub(in crate::bpf) programs: Vec<u32>,
    /// Id of each program's link; 0 = attached without one. Empty where the kernel does not say.
    pub(in crate::bpf) links: Vec<u32>,
}

/// More than this many programs at one place is what no kernel allows (64 is its limit).
const MOST_PROGRAMS: usize = 64;

/// What is attached to a link (`target` is its index) or cgroup (its descriptor).
pub(in crate::bpf) fn query(
    target: u32,
    attach_type: u32,
    with_links: bool,
) -> io::Result<Attached> {
    let mut programs = vec![0_u32; MOST_PROGRAMS];
    let mut links = vec![0_u32; if with_links { MOST_PROGRAMS } else { 0 }];
    let mut query = Query {
        target,
        attach_type,
        programs: address_mut(&mut programs),
        count: MOST_PROGRAMS as u32,
        links: if with_links {
            address_mut(&mut links)
        } else {
            0
        },
        ..Query::zeroed()
    };
    // SAFETY: both arrays have room for `count` numbers.
    unsafe { call(Command::Query, &mut query) }?;
    programs.truncate(query.count as usize);
    links.truncate(query.count as usize);
    Ok(Attached { programs, links })
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Create {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    revision: u64,
}

/// Attaches a program by a link; `target` is a link's index or a cgroup's descriptor.
pub(in crate::bpf) fn link_create(
    program: BorrowedFd<'_>,
    target: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut create = Create {
        program: program.as_raw_fd().cast_unsigned(),
        target,
        attach_type,
        flags,
        ..Create::zeroed()
    };
    // SAFETY: the command reads no pointer.
    unsafe { call(Command::LinkCreate, &mut create) }.map(owned)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Update {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Switches a link to another program, without a moment between.
pub(in crate::bpf) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut update = Update {
        link: link.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        flags: 0,
        old_program: 0,
    };
    // SAFETY: the command reads no pointer.
    unsafe { call(Command::LinkUpdate, &mut update) }.map(drop)
}

/// Detaches a link, whoever else holds it.
pub(in crate::bpf) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut detach = link.as_raw_fd().cast_unsigned();
    // SAFETY: the command reads no pointer.
    unsafe { call(Command::LinkDetach, &mut detach) }.map(drop)
}
