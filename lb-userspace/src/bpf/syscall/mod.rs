//! How is bpf(2) called? All of userspace's raw pointers toward the kernel are in this folder;
//! every function that it offers is safe.
//!
//! The structures are the beginnings of `union bpf_attr` that each command reads; the kernel takes
//! what is missing at the end as zero.

mod heap;
mod hook;
mod map;
mod memory;
mod object;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use bytemuck::Pod;

pub use heap::give_freed_back;
pub(super) use hook::{link_create, link_detach, link_update, query};
pub(super) use map::MapFd;
pub(super) use memory::Memory;
pub(super) use object::{
    RawLinkInfo, RawProgramInfo, get, info, link_by_id, map_by_id, name, pin, program_by_id,
    program_maps,
};

/// A command of bpf(2).
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
enum Command {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    Pin = 6,
    Get = 7,
    ProgramById = 13,
    MapById = 14,
    Info = 15,
    Query = 16,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkById = 30,
    LinkDetach = 34,
}

/// Calls bpf(2); the result is 0 or a file descriptor.
///
/// # Safety
/// Every pointer among the attributes must be valid for what the command reads and writes there.
unsafe fn call<A: Pod>(command: Command, attributes: &mut A) -> io::Result<RawFd> {
    // SAFETY: the attributes are plain bytes of the length given; what they point to is the
    // caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attributes),
            size_of::<A>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as RawFd)
    }
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn address<T>(of: &[T]) -> u64 {
    of.as_ptr().expose_provenance() as u64
}

fn address_mut<T>(of: &mut [T]) -> u64 {
    of.as_mut_ptr().expose_provenance() as u64
}

/// Cookie of the network namespace that a socket is in, as programs see it. Kernel 5.14.
///
/// # Errors
/// What the kernel said: `ENOPROTOOPT` before that.
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = [0; size_of::<u64>()];
    socket_option(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
}

/// Asks for an option of a socket, some of which read what to tell from the same bytes; how many of them the
/// kernel wrote.
///
/// # Errors
/// What the kernel said.
pub fn socket_option(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut size = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads and writes at most `size` bytes of the value, and to `size` how many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if result == 0 {
        Ok(size as usize)
    } else {
        Err(io::Error::last_os_error())
    }
}
