//! Which floors and wrappers are there? Entry points. A floor that does not find what it is to find
//! ends as no timed program may: `XDP_ABORTED`, `TC_ACT_SHOT`, or a call that fails.

#![expect(
    clippy::needless_pass_by_value,
    reason = "the attributes hand the context over by value"
)]

use aya_ebpf::{
    Global,
    bindings::{
        BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_fib_lookup,
        xdp_action::{XDP_ABORTED, XDP_PASS},
    },
    helpers::{self, bpf_l4_csum_replace},
    macros::{cgroup_sock_addr, classifier, xdp},
    programs::{SockAddrContext, TcContext, XdpContext},
};
use lb_common::{
    addr::{Ip4, Ip6},
    csum,
    layout::FlowKey,
};

use crate::{
    connect,
    maps::{TARGET_TC, TARGET_XDP},
    restore::restore,
    straight::{Change, Frame, Straight, full, lookup, two_inserts},
};

/// Flag of `bpf_l4_csum_replace` for IPv6 addresses: 128 from kernel 6.16 on, 0 before.
#[unsafe(no_mangle)]
static CHECKSUM_IPV6: Global<u64> = Global::new(0);

/// Wrapper: a fresh packet, then the target.
#[xdp]
fn xdp_restore(context: XdpContext) -> u32 {
    if restore(context.data(), context.data_end()).is_some() {
        // SAFETY: it does not return; if it does, nothing was done yet.
        unsafe { TARGET_XDP.tail_call(&context, 0) };
    }
    XDP_ABORTED
}

/// As `xdp_restore`.
#[classifier]
fn tc_restore(context: TcContext) -> i32 {
    if restore(context.data(), context.data_end()).is_some() {
        // SAFETY: it does not return; if it does, nothing was done yet.
        unsafe { TARGET_TC.tail_call(&context, 0) };
    }
    TC_ACT_SHOT
}

/// Floor *empty*.
#[xdp]
fn xdp_empty(_: XdpContext) -> u32 {
    XDP_PASS
}

/// Floor *empty*.
#[classifier]
fn tc_empty(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

macro_rules! floors {
    ($($family:ident: $xdp_lookup:ident $xdp_full:ident $xdp_fib:ident $xdp_inserts:ident
       $tc_lookup:ident $tc_full:ident $tc_direct:ident $tc_fib:ident $tc_inserts:ident;)*) => {$(
        /// Floor *lookup*.
        #[xdp]
        fn $xdp_lookup(context: XdpContext) -> u32 {
            let found = parse::<$family>(context.data(), context.data_end())
                .and_then(|(_, key)| lookup(&key));
            xdp(found.map(|_| ()))
        }

        /// Floor *full*.
        #[xdp]
        fn $xdp_full(context: XdpContext) -> u32 {
            let done = parse::<$family>(context.data(), context.data_end())
                .and_then(|(frame, key)| Some(frame.change_in_place(&full(frame, &key)?)));
            xdp(done)
        }

        /// Floor *fib*.
        #[xdp]
        fn $xdp_fib(context: XdpContext) -> u32 {
            let done = parse::<$family>(context.data(), context.data_end()).and_then(|(frame, key)| {
                frame.change_in_place(&full(frame, &key)?);
                // SAFETY: field of a valid context.
                let link = unsafe { (*context.ctx).ingress_ifindex };
                route(context.ctx.cast(), &mut frame.route_question::<$family>(link))
            });
            xdp(done)
        }

        /// Floor *two-inserts*.
        #[xdp]
        fn $xdp_inserts(context: XdpContext) -> u32 {
            let done = parse::<$family>(context.data(), context.data_end())
                .and_then(|(frame, key)| Some(frame.change_in_place(&two_inserts(frame, &key)?)));
            xdp(done)
        }

        /// Floor *lookup*.
        #[classifier]
        fn $tc_lookup(context: TcContext) -> i32 {
            let found = parse::<$family>(context.data(), context.data_end())
                .and_then(|(_, key)| lookup(&key));
            tc(found.map(|_| ()))
        }

        /// Floor *full*.
        #[classifier]
        fn $tc_full(context: TcContext) -> i32 {
            let done = parse::<$family>(context.data(), context.data_end())
                .and_then(|(frame, key)| change::<$family>(&context, &full(frame, &key)?));
            tc(done)
        }

        /// Floor *full-direct*.
        #[classifier]
        fn $tc_direct(context: TcContext) -> i32 {
            let done = parse::<$family>(context.data(), context.data_end())
                .and_then(|(frame, key)| Some(frame.change_in_place(&full(frame, &key)?)));
            tc(done)
        }

        /// Floor *fib*.
        #[classifier]
        fn $tc_fib(context: TcContext) -> i32 {
            let done = parse::<$family>(context.data(), context.data_end()).and_then(|(frame, key)| {
                // SAFETY: field of a valid context.
                let link = unsafe { (*context.skb.skb).ifindex };
                // Before the helper, which takes the right to look at the packet away.
                let summed = full(frame, &key)?;
                let mut question = frame.route_question::<$family>(link);
                change::<$family>(&context, &summed)?;
                route(context.skb.skb.cast(), &mut question)
            });
            tc(done)
        }

        /// Floor *two-inserts*.
        #[classifier]
        fn $tc_inserts(context: TcContext) -> i32 {
            let done = parse::<$family>(context.data(), context.data_end())
                .and_then(|(frame, key)| change::<$family>(&context, &two_inserts(frame, &key)?));
            tc(done)
        }
    )*};
}
floors! {
    Ip4: xdp_lookup4 xdp_full4 xdp_fib4 xdp_inserts4
        tc_lookup4 tc_full4 tc_direct4 tc_fib4 tc_inserts4;
    Ip6: xdp_lookup6 xdp_full6 xdp_fib6 xdp_inserts6
        tc_lookup6 tc_full6 tc_direct6 tc_fib6 tc_inserts6;
}

/// Floor *connect-lookup*, for datagrams with an address.
#[cgroup_sock_addr(sendmsg4)]
fn send_lookup4(context: SockAddrContext) -> i32 {
    i32::from(connect::look_up4(&context).is_some())
}

/// Floor *connect-lookup*, for datagrams with an address.
#[cgroup_sock_addr(sendmsg6)]
fn send_lookup6(context: SockAddrContext) -> i32 {
    i32::from(connect::look_up6(&context).is_some())
}

/// Floor *connect-lookup*.
#[cgroup_sock_addr(connect4)]
fn connect_lookup4(context: SockAddrContext) -> i32 {
    i32::from(connect::look_up4(&context).is_some())
}

/// Floor *connect-lookup*.
#[cgroup_sock_addr(connect6)]
fn connect_lookup6(context: SockAddrContext) -> i32 {
    i32::from(connect::look_up6(&context).is_some())
}

#[inline(always)]
fn parse<A: Straight>(start: usize, end: usize) -> Option<(Frame, FlowKey<A>)> {
    Frame::parse::<A>(start, end)
}

#[inline(always)]
fn xdp(done: Option<()>) -> u32 {
    if done.is_some() {
        XDP_PASS
    } else {
        XDP_ABORTED
    }
}

#[inline(always)]
fn tc(done: Option<()>) -> i32 {
    match done {
        Some(()) => TC_ACT_UNSPEC,
        None => TC_ACT_SHOT,
    }
}

/// Looks up a route, with the neighbour; none if there is none.
#[inline(always)]
fn route(context: *mut core::ffi::c_void, question: &mut bpf_fib_lookup) -> Option<()> {
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: context and question are valid and of the size given. Kernel 4.18.
    (unsafe { helpers::bpf_fib_lookup(context, question, size, 0) } == 0).then_some(())
}

/// Changes the checksum by the helper: at traffic control it alone knows whether the checksum is
/// still to be completed by the device, when it covers the addresses only.
#[inline(always)]
fn change<A: Straight>(context: &TcContext, change: &Change) -> Option<()> {
    let offset = change.offset as u32;
    let (ports, addresses) = (csum::fold(change.ports), csum::fold(change.addresses));
    let family = if A::WORDS > 1 {
        CHECKSUM_IPV6.load()
    } else {
        0
    };
    let pseudo = u64::from(BPF_F_PSEUDO_HDR) | family;
    // SAFETY: the helper checks the offset against the packet.
    unsafe {
        if bpf_l4_csum_replace(context.skb.skb, offset, 0, u64::from(ports), 0) != 0
            || bpf_l4_csum_replace(context.skb.skb, offset, 0, u64::from(addresses), pseudo) != 0
        {
            return None;
        }
    }
    Some(())
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
