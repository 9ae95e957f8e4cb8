//! Which programs are there? Entry points; each says where it sits and hands over.

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use lb_common::decide::Arrival;

use crate::{
    live,
    packet::{Tc, Xdp},
    path,
};

/// Ingress of a pod's host side: from a pod of this node.
#[classifier]
pub(crate) fn tc_pod_in(context: TcContext) -> i32 {
    path::arriving(Tc::new(&context), Arrival::PodLink)
}

/// Egress of a pod's host side: toward a pod of this node.
#[classifier]
pub(crate) fn tc_pod_out(context: TcContext) -> i32 {
    path::leaving(Tc::new(&context))
}

/// Ingress of an uplink: from another node or from outside.
#[classifier]
pub(crate) fn tc_uplink_in(context: TcContext) -> i32 {
    path::arriving(Tc::new(&context), Arrival::Uplink)
}

/// Egress of an uplink: toward another node or outside.
#[classifier]
pub(crate) fn tc_uplink_out(context: TcContext) -> i32 {
    path::leaving(Tc::new(&context))
}

/// Receive path of an uplink: from another node or from outside, before there is a socket buffer.
#[xdp]
pub(crate) fn xdp_uplink(context: XdpContext) -> u32 {
    path::arriving(Xdp::new(&context), Arrival::Uplink) as u32
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
