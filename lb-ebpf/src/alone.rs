//! Which functions does the verifier check alone, and once? Those that it would otherwise follow
//! again for each way in which a packet comes to them.
//!
//! They are global to BTF. Of their arguments it knows no more than that the context is one and
//! numbers are numbers (kernel 5.6; pointers to memory only from 5.12 on), and of what they return
//! nothing at all: the rest lies in the scratch element.

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    programs::{TcContext, XdpContext},
};
use lb_common::addr::{Ip4, Ip6};

use crate::{
    maps::Maps,
    packet::{Packet as _, Tc, Xdp},
    track,
};

/// What is called so at a hook.
pub(crate) trait Alone {
    /// As [`track::settled`]; what it says, as a number.
    fn settle<A: Maps>(&self, draw: u32) -> u32;
}

macro_rules! alone {
    ($packet:ident of $context:ident $raw:ident, $settle4:ident $settle6:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $settle4(context: *mut $raw, draw: u32) -> u32 {
            track::settled::<Ip4, _>(&$packet::new(&$context::new(context)), draw) as u32
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $settle6(context: *mut $raw, draw: u32) -> u32 {
            track::settled::<Ip6, _>(&$packet::new(&$context::new(context)), draw) as u32
        }

        impl Alone for $packet {
            #[inline(always)]
            fn settle<A: Maps>(&self, draw: u32) -> u32 {
                let context = self.context().cast();
                if A::WORDS == 1 {
                    $settle4(context, draw)
                } else {
                    $settle6(context, draw)
                }
            }
        }
    };
}
alone!(Tc of TcContext __sk_buff, tc_settle4 tc_settle6);
alone!(Xdp of XdpContext xdp_md, xdp_settle4 xdp_settle6);
