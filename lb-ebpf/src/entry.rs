//! Which programs are there? Entry points; each says where it sits and hands over.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the attributes hand the context over by value"
)]

use aya_ebpf::{
    macros::{cgroup_sock, cgroup_sock_addr, classifier, xdp},
    programs::{SockAddrContext, SockContext, TcContext, XdpContext},
};
use lb_common::decide::Arrival;

use crate::{
    call::{Call, Closing},
    live,
    packet::{Tc, Xdp},
    path, socket,
};

/// Ingress of a pod's host side: from a pod of this node.
#[classifier]
pub(crate) fn tc_pod_in(context: TcContext) -> i32 {
    path::arriving(Tc::new(&context), Arrival::PodLink)
}

/// Egress of a pod's host side: toward a pod of this node.
#[classifier]
pub(crate) fn tc_pod_out(context: TcContext) -> i32 {
    path::leaving_to_pod(Tc::new(&context))
}

/// Ingress of an uplink: from another node or from outside.
#[classifier]
pub(crate) fn tc_uplink_in(context: TcContext) -> i32 {
    path::arriving(Tc::new(&context), Arrival::Uplink)
}

/// Egress of an uplink: toward another node or outside.
#[classifier]
pub(crate) fn tc_uplink_out(context: TcContext) -> i32 {
    path::leaving_by_uplink(Tc::new(&context))
}

/// Receive path of an uplink: from another node or from outside, before there is a socket buffer.
#[xdp]
pub(crate) fn xdp_uplink(context: XdpContext) -> u32 {
    path::arriving(Xdp::new(&context), Arrival::Uplink) as u32
}

/// connect(2) of IPv4 sockets.
#[cgroup_sock_addr(connect4)]
pub(crate) fn sock_connect4(context: SockAddrContext) -> i32 {
    socket::connect4(Call::new(&context))
}

/// connect(2) of IPv6 sockets.
#[cgroup_sock_addr(connect6)]
pub(crate) fn sock_connect6(context: SockAddrContext) -> i32 {
    socket::connect6(Call::new(&context))
}

/// sendmsg(2) of unconnected IPv4 sockets.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn sock_sendmsg4(context: SockAddrContext) -> i32 {
    socket::send4(Call::new(&context))
}

/// sendmsg(2) of unconnected IPv6 sockets.
#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn sock_sendmsg6(context: SockAddrContext) -> i32 {
    socket::send6(Call::new(&context))
}

/// recvmsg(2) of IPv4 sockets.
#[cgroup_sock_addr(recvmsg4)]
pub(crate) fn sock_recvmsg4(context: SockAddrContext) -> i32 {
    socket::name4(Call::new(&context))
}

/// recvmsg(2) of IPv6 sockets.
#[cgroup_sock_addr(recvmsg6)]
pub(crate) fn sock_recvmsg6(context: SockAddrContext) -> i32 {
    socket::name6(Call::new(&context))
}

/// getpeername(2) of IPv4 sockets. Kernel 5.8.
#[cgroup_sock_addr(getpeername4)]
pub(crate) fn sock_getpeer4(context: SockAddrContext) -> i32 {
    socket::name4(Call::new(&context))
}

/// getpeername(2) of IPv6 sockets. Kernel 5.8.
#[cgroup_sock_addr(getpeername6)]
pub(crate) fn sock_getpeer6(context: SockAddrContext) -> i32 {
    socket::name6(Call::new(&context))
}

/// The last close(2) of a socket of either family. Kernel 5.9.
#[cgroup_sock(sock_release)]
pub(crate) fn sock_release(context: SockContext) -> i32 {
    socket::release(&Closing::new(&context))
}

/// Returns jiffies, low 32 bits, to userspace, which has no other way to ask (by test-run only).
#[classifier]
pub(crate) fn clock(_: TcContext) -> i32 {
    live::now() as i32
}

/// Never reached: nothing in these programs panics, or linking fails.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the verifier refuses an object in which this can be reached.
    unsafe { core::hint::unreachable_unchecked() }
}

/// What the kernel asks of programs that use GPL-only helpers.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 4] = *b"GPL\0";
