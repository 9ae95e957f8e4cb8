//! Which programs are there, whose are they, and what is attached where?

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::link::Attachment;
use super::syscall;

/// What the kernel says of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// The program's id on this kernel.
    pub id: u32,
    /// Its name, cut at 15 characters.
    pub name: String,
    /// Ids of the maps that it uses.
    pub maps: Vec<u32>,
}

impl ProgramInfo {
    /// Looks at a program by its id.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn by_id(id: u32) -> io::Result<Self> {
        Self::of(syscall::program_by_id(id)?.as_fd())
    }

    /// Looks at an open program.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn of(program: BorrowedFd<'_>) -> io::Result<Self> {
        let raw: syscall::RawProgramInfo = syscall::info(program)?;
        Ok(Self {
            id: raw.id,
            name: syscall::name(&raw.name),
            maps: syscall::program_maps(program)?,
        })
    }
}

/// Pins a program, or a map, so that a pin of that name is replaced in one step.
///
/// # Errors
/// What the kernel said.
pub fn pin_over(program: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    // bpffs allows no dot in a name.
    let mut beside = path.as_os_str().to_owned();
    beside.push("~");
    let beside = Path::new(&beside);
    match syscall::pin(program, beside) {
        // Left by a process that ended between the two steps.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(beside)?;
            syscall::pin(program, beside)?;
        }
        result => result?,
    }
    std::fs::rename(beside, path)
}

/// Opens a pinned program.
///
/// # Errors
/// What the kernel said.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    syscall::get(path)
}

/// One of the programs at a tcx hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcx {
    /// Id of the program.
    pub program: u32,
    /// Id of its link; 0 = attached without one.
    pub link: u32,
}

/// The programs at a tcx hook of a network link, in the order in which they run.
///
/// # Errors
/// What the kernel said: `EINVAL` if it has no tcx.
pub fn at_tcx(ifindex: u32, attachment: Attachment) -> io::Result<Vec<Tcx>> {
    let attached = syscall::query(ifindex, attachment as u32, true)?;
    let pairs = attached.programs.into_iter().zip(attached.links);
    Ok(pairs.map(|(program, link)| Tcx { program, link }).collect())
}

/// Ids of the programs of a cgroup's own, in the order in which they run.
///
/// # Errors
/// What the kernel said.
pub fn at_cgroup(cgroup: BorrowedFd<'_>, attachment: Attachment) -> io::Result<Vec<u32>> {
    let cgroup = cgroup.as_raw_fd().cast_unsigned();
    syscall::query(cgroup, attachment as u32, false).map(|attached| attached.programs)
}
