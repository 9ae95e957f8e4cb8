//! What is fixed when the programs are loaded? Frozen values, so that what is off costs nothing.

use aya_ebpf::Global;

/// Bytes before the IP header: 14, or 0 on devices without Ethernet header.
#[unsafe(no_mangle)]
pub(crate) static ETHERNET_HEADER: Global<u32> = Global::new(14);

/// Cookie of the network namespace that is the node; 0 = the initial one, for kernels before 5.14,
/// which tell userspace no cookies.
#[unsafe(no_mangle)]
pub(crate) static NODE_COOKIE: Global<u64> = Global::new(0);

/// 1 = the socket hook serves sockets of other namespaces (pods) too.
#[unsafe(no_mangle)]
pub(crate) static SOCKET_PODS: Global<u32> = Global::new(0);

/// 1 = the socket hook serves UDP sockets that connect, too.
#[unsafe(no_mangle)]
pub(crate) static SOCKET_CONNECTED_UDP: Global<u32> = Global::new(1);

/// 1 = the kernel has `bpf_set_retval` (5.18), so the socket hook can refuse by itself.
#[unsafe(no_mangle)]
pub(crate) static SOCKET_REFUSES: Global<u32> = Global::new(0);

/// 1 = the socket hook serves this node but cannot refuse: traffic control does, where a packet leaves
/// by an uplink.
#[unsafe(no_mangle)]
pub(crate) static EGRESS_REFUSES: Global<u32> = Global::new(0);

/// Flag of `bpf_l4_csum_replace` for IPv6 addresses: 128 from kernel 6.16 on, where the helper
/// learned that an IPv6 header has no checksum of its own; 0 before.
#[unsafe(no_mangle)]
pub(crate) static CHECKSUM_IPV6: Global<u64> = Global::new(0);

/// Digest of the object that the program is from. No program reads it: it tells userspace whether a
/// program in the kernel is the one that it would load.
#[unsafe(no_mangle)]
pub(crate) static OBJECT_DIGEST: Global<u64> = Global::new(0);
