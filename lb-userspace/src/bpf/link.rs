//! How does a program hang on its hook? By a link of the kernel's, which is pinned, found again,
//! switched to another program in place, and gone with its pin.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::syscall;

/// `enum bpf_attach_type`, as far as we attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Attachment {
    /// IPv4 `connect`.
    Connect4 = 10,
    /// IPv6 `connect`.
    Connect6 = 11,
    /// IPv4 `sendto` and `sendmsg` of unconnected UDP.
    Sendmsg4 = 14,
    /// As [`Self::Sendmsg4`], IPv6.
    Sendmsg6 = 15,
    /// IPv4 `recvfrom` and `recvmsg` of UDP.
    Recvmsg4 = 19,
    /// As [`Self::Recvmsg4`], IPv6.
    Recvmsg6 = 20,
    /// IPv4 `getpeername`.
    Getpeername4 = 29,
    /// IPv6 `getpeername`.
    Getpeername6 = 30,
    /// The last close of a socket (`BPF_CGROUP_INET_SOCK_RELEASE`), kernel 5.9 and later.
    SocketRelease = 34,
    /// XDP at a network link.
    Xdp = 37,
    /// tcx at the ingress of a network link, kernel 6.6 and later.
    TcxIngress = 46,
    /// tcx at the egress of a network link, kernel 6.6 and later.
    TcxEgress = 47,
}

/// Where among the programs of a hook a new one runs, or in which mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Place {
    /// The only one there is.
    Only = 0,
    /// Before all others (tcx: `BPF_F_BEFORE`).
    First = 1 << 3,
    /// After all others (tcx: `BPF_F_AFTER`).
    Last = 1 << 4,
    /// In the driver (XDP: `XDP_FLAGS_DRV_MODE`).
    Driver = 1 << 2,
    /// In the stack (XDP: `XDP_FLAGS_SKB_MODE`).
    Stack = 1 << 1,
}

/// A link of the kernel's; without a pin it goes when it is dropped.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// The link's id on this kernel.
    pub id: u32,
    /// Id of the program that runs.
    pub program: u32,
    /// What it is attached to; none if that is gone, or of a kind that we do not attach to.
    pub target: Option<Target>,
}

/// What a link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// A network link's XDP hook, by interface index.
    Xdp(u32),
    /// A network link's tcx hook, by interface index and `enum bpf_attach_type`.
    Tcx(u32, u32),
    /// A cgroup, by its id and `enum bpf_attach_type`.
    Cgroup(u64, u32),
}

/// `enum bpf_link_type`.
const CGROUP: u32 = 3;
const XDP: u32 = 6;
const TCX: u32 = 11;

impl Link {
    /// Attaches a program to a network link.
    ///
    /// # Errors
    /// What the kernel said: `EBUSY` if XDP is taken, `EOPNOTSUPP` if the driver has none,
    /// `EINVAL` if this kernel has no tcx.
    pub fn at_network_link(
        program: BorrowedFd<'_>,
        ifindex: u32,
        attachment: Attachment,
        place: Place,
    ) -> io::Result<Self> {
        syscall::link_create(program, ifindex, attachment as u32, place as u32)
            .map(|fd| Self { fd })
    }

    /// Attaches a program to a cgroup, beside those that are there.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn at_cgroup(
        program: BorrowedFd<'_>,
        cgroup: BorrowedFd<'_>,
        attachment: Attachment,
    ) -> io::Result<Self> {
        let cgroup = cgroup.as_raw_fd().cast_unsigned();
        syscall::link_create(program, cgroup, attachment as u32, Place::Only as u32)
            .map(|fd| Self { fd })
    }

    /// Opens a pinned link.
    ///
    /// # Errors
    /// What the kernel said; `InvalidData` if what is pinned there is no link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let link = Self {
            fd: syscall::get(path)?,
        };
        match link.info() {
            Ok(_) => Ok(link),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no link of a BPF program",
            )),
        }
    }

    /// Opens a link by its id.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn by_id(id: u32) -> io::Result<Self> {
        syscall::link_by_id(id).map(|fd| Self { fd })
    }

    /// Pins it: from then on it outlives this process.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn pin(&self, path: &Path) -> io::Result<()> {
        syscall::pin(self.fd.as_fd(), path)
    }

    /// Switches to another program; every packet meets the one or the other.
    ///
    /// # Errors
    /// What the kernel said; `ENOLINK` if the target is gone.
    pub fn switch(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        syscall::link_update(self.fd.as_fd(), program)
    }

    /// Detaches it, whoever else holds it.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn detach(&self) -> io::Result<()> {
        syscall::link_detach(self.fd.as_fd())
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn info(&self) -> io::Result<LinkInfo> {
        let raw: syscall::RawLinkInfo = syscall::info(self.fd.as_fd())?;
        let [first, second, third, _] = raw.union;
        let target = match raw.kind {
            XDP if first != 0 => Some(Target::Xdp(first)),
            TCX if first != 0 => Some(Target::Tcx(first, second)),
            // Zero when the cgroup is gone.
            CGROUP if (first, second) != (0, 0) => {
                Some(Target::Cgroup(bytemuck::cast([first, second]), third))
            }
            _ => None,
        };
        Ok(LinkInfo {
            id: raw.id,
            program: raw.program,
            target,
        })
    }
}
