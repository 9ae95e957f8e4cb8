//! What is the least that connect(2) on a VIP can cost? One lookup, and the backend written into
//! the call: here always the loopback, at the port that was dialled.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::programs::SockAddrContext;
use lb_common::{
    addr::{Ip4, Ip6},
    layout::FlowKey,
};

use crate::straight::lookup;

/// IPv4 sockets; none if the frontend is unknown.
#[inline(always)]
pub(crate) fn look_up4(context: &SockAddrContext) -> Option<()> {
    let call = context.sock_addr;
    // SAFETY: fields of a valid context that the program may read and write, each by itself: the
    // verifier admits no other access.
    unsafe {
        let address = read_volatile(&raw const (*call).user_ip4);
        let port = read_volatile(&raw const (*call).user_port);
        lookup::<Ip4>(&FlowKey {
            destination: bytemuck::must_cast(address),
            destination_port: u16::from_be(port as u16),
            protocol: read_volatile(&raw const (*call).protocol) as u8,
            ..FlowKey::default()
        })?;
        write_volatile(
            &raw mut (*call).user_ip4,
            u32::from_ne_bytes([127, 0, 0, 1]),
        );
        write_volatile(&raw mut (*call).user_port, port);
    }
    Some(())
}

/// IPv6 sockets; none if the frontend is unknown.
#[inline(always)]
pub(crate) fn look_up6(context: &SockAddrContext) -> Option<()> {
    let call = context.sock_addr;
    // SAFETY: as above.
    unsafe {
        let words = (&raw mut (*call).user_ip6).cast::<u32>();
        let address = [0, 1, 2, 3].map(|i| read_volatile(words.add(i)));
        let port = read_volatile(&raw const (*call).user_port);
        lookup::<Ip6>(&FlowKey {
            destination: bytemuck::must_cast(address),
            destination_port: u16::from_be(port as u16),
            protocol: read_volatile(&raw const (*call).protocol) as u8,
            ..FlowKey::default()
        })?;
        for i in 0..3 {
            write_volatile(words.add(i), 0);
        }
        write_volatile(words.add(3), 1_u32.to_be());
        write_volatile(&raw mut (*call).user_port, port);
    }
    Some(())
}
