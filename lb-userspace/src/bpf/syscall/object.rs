//! How are maps, programs and links pinned, opened and inspected?

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytemuck::{Pod, Zeroable};

use super::{Command, address, address_mut, call, owned};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Pins a map, program or link; EEXIST if something is there.
pub(in crate::bpf) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut object = Object {
        path: address(path.as_bytes_with_nul()),
        fd: fd.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    // SAFETY: the path is text with a final zero that lives until the call is over.
    unsafe { call(Command::Pin, &mut object) }.map(drop)
}

/// Opens what is pinned there.
pub(in crate::bpf) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut object = Object {
        path: address(path.as_bytes_with_nul()),
        ..Object::zeroed()
    };
    // SAFETY: the path is text with a final zero that lives until the call is over.
    unsafe { call(Command::Get, &mut object) }.map(owned)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// Opens a program by its id.
pub(in crate::bpf) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::ProgramById, id)
}

/// Opens a map by its id.
pub(in crate::bpf) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::MapById, id)
}

/// Opens a link by its id.
pub(in crate::bpf) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::LinkById, id)
}

fn by_id(command: Command, id: u32) -> io::Result<OwnedFd> {
    let mut attributes = ById {
        id,
        next: 0,
        flags: 0,
    };
    // SAFETY: the command reads no pointer.
    unsafe { call(command, &mut attributes) }.map(owned)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct About {
    fd: u32,
    size: u32,
    info: u64,
}

/// A name as the kernel keeps it: up to the first zero.
pub(in crate::bpf) fn name(bytes: &[u8; 16]) -> String {
    let name: Vec<u8> = bytes.iter().copied().take_while(|&c| c != 0).collect();
    String::from_utf8_lossy(&name).into_owned()
}

/// `struct bpf_map_info` up to what we read.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(in crate::bpf) struct RawMapInfo {
    pub(in crate::bpf) kind: u32,
    pub(in crate::bpf) id: u32,
    pub(in crate::bpf) key_size: u32,
    pub(in crate::bpf) value_size: u32,
    pub(in crate::bpf) max_entries: u32,
    pub(in crate::bpf) flags: u32,
    pub(in crate::bpf) name: [u8; 16],
}

/// `struct bpf_prog_info` up to what we read.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(in crate::bpf) struct RawProgramInfo {
    pub(in crate::bpf) kind: u32,
    pub(in crate::bpf) id: u32,
    tag: [u8; 8],
    jited_length: u32,
    translated_length: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    user: u32,
    maps: u32,
    map_ids: u64,
    pub(in crate::bpf) name: [u8; 16],
}

/// `struct bpf_link_info` up to what we read; what is in the union depends on the kind.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(in crate::bpf) struct RawLinkInfo {
    pub(in crate::bpf) kind: u32,
    pub(in crate::bpf) id: u32,
    pub(in crate::bpf) program: u32,
    padding: u32,
    pub(in crate::bpf) union: [u32; 4],
}

/// Structures that `BPF_OBJ_GET_INFO_BY_FD` fills without following pointers in them.
pub(in crate::bpf) trait PlainInfo: Pod {}
impl PlainInfo for RawMapInfo {}
impl PlainInfo for RawLinkInfo {}
// Its pointers are private and zero wherever it is made but in `program_maps`.
impl PlainInfo for RawProgramInfo {}

/// What the kernel knows of a map, program or link.
pub(in crate::bpf) fn info<I: PlainInfo>(fd: BorrowedFd<'_>) -> io::Result<I> {
    let mut result = I::zeroed();
    fill_info(fd, &mut result)?;
    Ok(result)
}

fn fill_info<I: PlainInfo>(fd: BorrowedFd<'_>, into: &mut I) -> io::Result<()> {
    let mut attributes = About {
        fd: fd.as_raw_fd().cast_unsigned(),
        size: size_of::<I>() as u32,
        info: std::ptr::from_mut(into).expose_provenance() as u64,
    };
    // SAFETY: the kernel writes at most `size` bytes, which `into` has; the lengths beside the
    // pointers in it bound what is written there.
    unsafe { call(Command::Info, &mut attributes) }.map(drop)
}

/// Ids of the maps that a program uses.
pub(in crate::bpf) fn program_maps(fd: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let count = info::<RawProgramInfo>(fd)?.maps;
    let mut ids = vec![0_u32; count as usize];
    let mut raw = RawProgramInfo {
        maps: count,
        map_ids: address_mut(&mut ids),
        ..RawProgramInfo::zeroed()
    };
    fill_info(fd, &mut raw)?;
    Ok(ids)
}
