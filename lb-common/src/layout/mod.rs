//! What do the BPF maps hold? Keys and values, in the order in which a packet meets them.
//!
//! Rules: fixed-size integers only, no implicit padding (checked below), addresses as octets in
//! network order, ports in host order, text as `i8` (which `bpftool` prints as a string). A change
//! here needs a new [`crate::limits::LAYOUT_VERSION`].

mod flows;
mod fragments;
mod names;
mod node;
mod services;
mod sieve;
mod sockets;

use bytemuck::{Pod, Zeroable};

pub use flows::*;
pub use fragments::*;
pub use names::*;
pub use node::*;
pub use services::*;
pub use sieve::*;
pub use sockets::*;

use crate::addr::{Family, Ip4, Ip6};
use crate::limits::{PREFIXES, SIEVE_WORDS, TEXT};

/// Declares plain map types and checks that they have the size of their fields: no padding.
macro_rules! plain {
    ($($type:ty = $size:expr;)*) => {$(
        const _: () = assert!(size_of::<$type>() == $size, stringify!($type));
        // SAFETY: `repr(C)`, all fields are integers or arrays of such, any bit pattern is valid,
        // and the sum of the fields' sizes (checked above) leaves no room for padding.
        unsafe impl Zeroable for $type {}
        // SAFETY: as above.
        unsafe impl Pod for $type {}
    )*};
}

plain! {
    Ip4 = 4;
    Ip6 = 16;
    Config = 4 + 4 + 8 + 4 + 4 + 4 + 4 + 16 + 2 * PREFIXES * (12 + 36);
    FrontendRef = 8;
    Pool = 12;
    Affinity = 12;
    FragmentInfo = 12;
    Link = 12 + 4 + 16;
    ServiceName = 3 * TEXT + 4;
}

/// As `plain`, for the types that each address family has: so many addresses and so many bytes.
macro_rules! plain_per_family {
    ($($type:ident = $addresses:literal addresses + $bytes:expr;)*) => {$(
        const _: () = assert!(
            size_of::<$type<Ip4>>() == $addresses * size_of::<Ip4>() + $bytes
                && size_of::<$type<Ip6>>() == $addresses * size_of::<Ip6>() + $bytes,
            stringify!($type)
        );
        // SAFETY: as in `plain`; `Family` is sealed, so there are no families but the two checked.
        unsafe impl<A: Family> Zeroable for $type<A> {}
        // SAFETY: as above.
        unsafe impl<A: Family> Pod for $type<A> {}
    )*};
}

plain_per_family! {
    Prefix = 2 addresses + 4;
    FlowKey = 2 addresses + 2 + 2 + 4;
    Flow = 2 addresses + 4 + 4 + 4 * 4 + 16;
    FrontendKey = 1 addresses + 4;
    FrontendInfo = 1 addresses + 4 + 12 + 2 * 12;
    Backend = 1 addresses + 4 + 8;
    RangeKey = 1 addresses + 8;
    FragmentKey = 2 addresses + 4 + 4;
    AffinityKey = 1 addresses + 4;
    Reservation = 2 addresses + 4;
    Connected = 64 addresses + 8 * 8 + 32 * (8 + 8 + 2 + 2 + 4);
    Dialled = 2 addresses + 8 + 8 + 2 + 2 + 4;
    SocketKey = 1 addresses + 8 + 4;
    SocketFlow = 1 addresses + 4 + 8;
    Sieve = 2 addresses + 8 + 8 + 8 * SIEVE_WORDS;
    SieveFrame = 2 addresses + 8;
}
