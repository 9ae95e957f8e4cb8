//! What can this kernel do that not every one of ours can? Asked of the kernel itself where it
//! answers, so that distributions' backports count.

use std::fmt;
use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use crate::bpf::{Attachment, program};
use crate::netlink::Sockets;

/// Where the kernel keeps its own type information, which names its constants.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// A feature that came after our oldest kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What people call it.
    pub name: &'static str,
    /// The first kernel that has it, as major and minor number.
    pub since: (u8, u8),
    /// What is done without it.
    pub without: &'static str,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.since;
        write!(
            f,
            "{} needs kernel {major}.{minor}; without it {}",
            self.name, self.without
        )
    }
}

/// Programs at network links by links of their own.
pub const TCX: Feature = Feature {
    name: "tcx",
    since: (6, 6),
    without: "programs are filters on clsact qdiscs",
};

/// `bpf_set_retval` in programs at socket calls.
pub const SET_RETVAL: Feature = Feature {
    name: "bpf_set_retval",
    since: (5, 18),
    without: "connections of the node itself are refused where they leave by an uplink",
};

/// `SO_NETNS_COOKIE`.
pub const NETNS_COOKIE: Feature = Feature {
    name: "SO_NETNS_COOKIE",
    since: (5, 14),
    without: "the initial network namespace counts as the node's",
};

/// `SOCK_DESTROY` for UDP.
pub const SOCK_DESTROY: Feature = Feature {
    name: "SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY)",
    since: (4, 9),
    without: "connected UDP sockets of the node are not told when their backend goes",
};

/// `BPF_F_IPV6` of `bpf_l4_csum_replace`.
pub const CHECKSUM_FLAG: Feature = Feature {
    name: "BPF_F_IPV6",
    since: (6, 16),
    without: "the kernel sums up translated IPv6 packets once more where the device had done so, and may log it",
};

/// Every feature that a kernel of ours may lack, the newest first.
pub const ALL: [Feature; 5] = [CHECKSUM_FLAG, TCX, SET_RETVAL, NETNS_COOKIE, SOCK_DESTROY];

/// The oldest kernel that everything else works on.
pub const OLDEST: (u8, u8) = (5, 10);

/// What this kernel can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// [`TCX`].
    pub tcx: bool,
    /// [`SET_RETVAL`].
    pub set_retval: bool,
    /// [`SOCK_DESTROY`].
    pub sock_destroy: bool,
    /// Flag that `bpf_l4_csum_replace` wants for IPv6: kernels from 6.16 on have `BPF_F_IPV6`.
    pub checksum_ipv6: u64,
}

/// `BPF_F_IPV6`.
const CHECKSUM_IPV6: u64 = 128;

/// Whether the kernel describes its own types.
#[must_use]
pub fn has_btf() -> bool {
    fs::exists(BTF).unwrap_or(false)
}

impl Features {
    /// Asks the kernel.
    #[must_use]
    pub fn probe() -> Self {
        let btf = fs::read(BTF).unwrap_or_default();
        let version = kernel_version();
        // A constant is in the type information of kernels that know it; where there is none, the
        // version must do.
        let knows = |constant: &str, since| {
            if btf.is_empty() {
                version >= since
            } else {
                contains(&btf, constant)
            }
        };
        Self {
            tcx: has_tcx(),
            set_retval: knows("BPF_FUNC_set_retval", SET_RETVAL.since),
            sock_destroy: Sockets::connect().is_ok_and(|mut sockets| sockets.can_destroy()),
            checksum_ipv6: if knows(CHECKSUM_FLAG.name, CHECKSUM_FLAG.since) {
                CHECKSUM_IPV6
            } else {
                0
            },
        }
    }
}

/// Cookie of this thread's network namespace; none before [`NETNS_COOKIE`].
pub(super) fn netns_cookie() -> Option<u64> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    crate::bpf::netns_cookie(socket.as_fd()).ok()
}

/// The loopback's index is 1 in every network namespace.
const LOOPBACK: u32 = 1;

fn has_tcx() -> bool {
    program::at_tcx(LOOPBACK, Attachment::TcxIngress).is_ok()
}

/// Major and minor number of the running kernel; zero if it does not say.
#[must_use]
pub fn kernel_version() -> (u8, u8) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    version_of(&release)
}

fn version_of(release: &str) -> (u8, u8) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next())
}

/// Whether a string is among the zero-terminated ones in the type information.
fn contains(btf: &[u8], text: &str) -> bool {
    let wanted = [b"\0", text.as_bytes(), b"\0"].concat();
    memchr::memmem::find(btf, &wanted).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_whatever_follows() {
        for (release, version) in [
            ("5.10.0-32-cloud-amd64\n", (5, 10)),
            ("6.18.44-fc-v669", (6, 18)),
            ("7.1-rc4", (7, 1)),
            ("", (0, 0)),
        ] {
            assert_eq!(version_of(release), version, "{release}");
        }
    }

    #[test]
    fn constants_are_found_whole() {
        let btf = b"\0BPF_F_IPV6_X\0BPF_F_IPV\0BPF_F_IPV6\0";
        assert!(contains(btf, "BPF_F_IPV6"));
        assert!(!contains(btf, "F_IPV6"));
    }
}
