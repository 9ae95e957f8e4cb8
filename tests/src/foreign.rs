//! Who else is in the kernel? Programs of two instructions that are not ours, to be before and
//! behind ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use anyhow::Result;
use lb_userspace::bpf::program::ProgramInfo;

/// What a foreign program is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Traffic control.
    Tc = 3,
    /// XDP.
    Xdp = 6,
}

/// Traffic control: let the next one decide (`TC_ACT_UNSPEC`, `TCX_NEXT`).
pub const TC_NEXT: i32 = -1;
/// Traffic control: drop (`TC_ACT_SHOT`, `TCX_DROP`).
pub const TC_DROP: i32 = 2;
/// XDP: let it pass.
pub const XDP_PASS: i32 = 2;

/// A program that is not ours.
#[derive(Debug)]
pub struct Foreign {
    fd: OwnedFd,
}

/// `struct bpf_insn`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// What `BPF_PROG_LOAD` reads of `union bpf_attr`.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    version: u32,
    flags: u32,
    name: [u8; 16],
}

/// `BPF_PROG_LOAD`.
const PROG_LOAD: libc::c_long = 5;

impl Foreign {
    /// Loads a program that always returns this verdict.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(kind: Kind, verdict: i32) -> Result<Self> {
        // r0 = verdict; exit
        let instructions = [(0xb7, verdict), (0x95, 0)].map(|(code, immediate)| Instruction {
            code,
            registers: 0,
            offset: 0,
            immediate,
        });
        let mut load = Load {
            kind: kind as u32,
            count: instructions.len() as u32,
            instructions: instructions.as_ptr().expose_provenance() as u64,
            license: c"GPL".as_ptr().expose_provenance() as u64,
            log: [0; 2],
            version: 0,
            flags: 0,
            name: *b"foreign\0\0\0\0\0\0\0\0\0",
        };
        // SAFETY: both pointers in `load` are to what lives until the call is over, of the lengths
        // given; the kernel writes nothing through them.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                PROG_LOAD,
                std::ptr::from_mut(&mut load),
                size_of::<Load>(),
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self { fd })
    }

    /// Its id.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn id(&self) -> Result<u32> {
        Ok(ProgramInfo::of(self.fd())?.id)
    }

    /// To attach it.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
