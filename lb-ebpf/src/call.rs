//! A socket call and the address it names: all raw pointers into socket-call contexts are here.

use core::ptr::{null_mut, read_volatile, write_volatile};

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval},
    programs::{SockAddrContext, SockContext},
};
use lb_common::addr::{Family, Ip4, Ip6};

use crate::globals;

/// The third word of an IPv4 address in an IPv6 socket (`::ffff:a.b.c.d`), as it lies in memory.
const MAPPED: u32 = 0xffff_u32.to_be();

/// A socket call that names an address: connect, sendmsg, recvmsg, getpeername.
///
/// Fields are read and written by volatile accesses of their own width: the verifier admits no
/// other, and LLVM would join them.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    context: *mut bpf_sock_addr,
}

impl Call {
    /// The call that the program was called for.
    #[inline(always)]
    pub(crate) fn new(context: &SockAddrContext) -> Self {
        Self {
            context: context.sock_addr,
        }
    }

    /// IP protocol number of the socket.
    #[inline(always)]
    pub(crate) fn protocol(&self) -> u8 {
        // SAFETY: field of a valid context.
        unsafe { read_volatile(&raw const (*self.context).protocol) as u8 }
    }

    /// The port, host order.
    #[inline(always)]
    pub(crate) fn port(&self) -> u16 {
        // SAFETY: field of a valid context.
        u16::from_be(unsafe { read_volatile(&raw const (*self.context).user_port) } as u16)
    }

    /// Replaces the port, host order.
    #[inline(always)]
    pub(crate) fn set_port(&self, port: u16) {
        // SAFETY: field of a valid context that these programs may write.
        unsafe { write_volatile(&raw mut (*self.context).user_port, u32::from(port.to_be())) }
    }

    /// A number that no other socket of this machine has.
    #[inline(always)]
    pub(crate) fn cookie(&self) -> u64 {
        // SAFETY: the helper takes the context. Kernel 4.18.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    /// Whether the socket is in the network namespace that is the node.
    #[inline(always)]
    pub(crate) fn is_of_node(&self) -> bool {
        let node = match globals::NODE_COOKIE.load() {
            // SAFETY: the helper takes null for the initial namespace. Kernel 5.7.
            0 => unsafe { bpf_get_netns_cookie(null_mut()) },
            cookie => cookie,
        };
        // SAFETY: the helper takes the context. Kernel 5.7.
        unsafe { bpf_get_netns_cookie(self.context.cast()) == node }
    }

    /// Whether the socket is connected to somebody.
    #[inline(always)]
    pub(crate) fn is_connected(&self) -> bool {
        // SAFETY: field of a valid context, from kernel 5.3 on; it points to the socket, and is never null here.
        let socket = unsafe { read_volatile(&raw const (*self.context).__bindgen_anon_1.sk) };
        // SAFETY: field of a socket that the call holds.
        let port = unsafe { read_volatile((&raw const (*socket).dst_port).cast::<u16>()) };
        port != 0
    }

    /// Makes the call fail with this error number, where the kernel can (5.18); it fails with
    /// EPERM otherwise.
    #[inline(always)]
    pub(crate) fn fail_with(error: i32) {
        if globals::SOCKET_REFUSES.load() != 0 {
            // SAFETY: the helper takes any error number.
            unsafe {
                bpf_set_retval(-error);
            }
        }
    }

    /// The `i`th word of the IPv6 address, as it lies in memory.
    #[inline(always)]
    fn word6(&self, i: usize) -> u32 {
        // SAFETY: field of a valid context; callers are programs for IPv6 sockets and `i` < 4.
        unsafe { read_volatile((&raw const (*self.context).user_ip6).cast::<u32>().add(i)) }
    }

    /// Replaces the `i`th word of the IPv6 address.
    #[inline(always)]
    fn set_word6(&self, i: usize, word: u32) {
        // SAFETY: as in `word6`, in programs that may write it.
        unsafe {
            write_volatile(
                (&raw mut (*self.context).user_ip6).cast::<u32>().add(i),
                word,
            );
        }
    }

    /// Whether an IPv6 socket names an IPv4 address.
    #[inline(always)]
    pub(crate) fn is_mapped(&self) -> bool {
        self.word6(0) == 0 && self.word6(1) == 0 && self.word6(2) == MAPPED
    }
}

/// A socket that nobody has open any more.
pub(crate) struct Closing {
    context: *mut bpf_sock,
}

impl Closing {
    /// The socket that the program was called for.
    #[inline(always)]
    pub(crate) fn new(context: &SockContext) -> Self {
        Self {
            context: context.sock,
        }
    }

    /// As [`Call::cookie`].
    #[inline(always)]
    pub(crate) fn cookie(&self) -> u64 {
        // SAFETY: the helper takes the context, of this kind from kernel 5.7 on.
        unsafe { bpf_get_socket_cookie(self.context.cast()) }
    }

    /// Whether it is a socket for IPv4 alone.
    #[inline(always)]
    pub(crate) fn is_of_v4(&self) -> bool {
        // SAFETY: field of a valid context.
        let family = unsafe { read_volatile(&raw const (*self.context).family) };
        family == u32::from(Ip4::SOCKET_FAMILY)
    }
}

/// How a kind of socket holds an address of a family.
pub(crate) trait Seat {
    /// The family.
    type Address: Family;

    /// The address that the call names.
    fn address(call: &Call) -> Self::Address;

    /// Replaces it.
    fn set_address(call: &Call, address: &Self::Address);
}

/// An IPv4 socket.
pub(crate) struct Plain4;

impl Seat for Plain4 {
    type Address = Ip4;

    #[inline(always)]
    fn address(call: &Call) -> Ip4 {
        // SAFETY: field of a valid context; callers are programs for IPv4 sockets.
        let word = unsafe { read_volatile(&raw const (*call.context).user_ip4) };
        bytemuck::must_cast(word)
    }

    #[inline(always)]
    fn set_address(call: &Call, address: &Ip4) {
        // SAFETY: as above, in programs that may write it.
        unsafe { write_volatile(&raw mut (*call.context).user_ip4, address.word(0)) }
    }
}

/// An IPv6 socket with an IPv4 address.
pub(crate) struct Mapped4;

impl Seat for Mapped4 {
    type Address = Ip4;

    #[inline(always)]
    fn address(call: &Call) -> Ip4 {
        bytemuck::must_cast(call.word6(3))
    }

    #[inline(always)]
    fn set_address(call: &Call, address: &Ip4) {
        call.set_word6(3, address.word(0));
    }
}

/// An IPv6 socket.
pub(crate) struct Plain6;

impl Seat for Plain6 {
    type Address = Ip6;

    #[inline(always)]
    fn address(call: &Call) -> Ip6 {
        bytemuck::must_cast([call.word6(0), call.word6(1), call.word6(2), call.word6(3)])
    }

    #[inline(always)]
    fn set_address(call: &Call, address: &Ip6) {
        call.set_word6(0, address.word(0));
        call.set_word6(1, address.word(1));
        call.set_word6(2, address.word(2));
        call.set_word6(3, address.word(3));
    }
}
