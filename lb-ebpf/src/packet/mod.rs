//! What can be done with a packet, whatever the hook? The path is written once against this trait;
//! what a hook cannot do fails the build, not the packet.

mod tc;
mod xdp;

use bytemuck::Pod;
use lb_common::{
    drops::{DropReason, Hook},
    layout::Link,
    wire::Ports,
};

use crate::alone::Alone;

pub(crate) use tc::Tc;
pub(crate) use xdp::Xdp;

/// What becomes of a packet at the end of the path.
#[must_use]
#[derive(Clone, Copy)]
pub(crate) enum Verdict {
    /// Goes on to whoever comes next, changed or not.
    Pass,
    /// Ends here.
    Drop(DropReason),
    /// Ends here, and is counted already.
    End,
    /// Goes back out of the link that it came from.
    Back,
    /// Goes out of this link, to the neighbour that the routing table names.
    Out(u32),
    /// What comes next happens out of line.
    Aside(Aside),
}

/// What is rare, and therefore kept out of the path that every packet takes. The numbers are no
/// hook's own codes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Aside {
    /// It may be an ICMP error about a flow of ours, or a ping.
    Icmp = 0x100,
    /// Refused: who sent it is told so.
    Refuse,
    /// The time to live ended here: who sent it is told so.
    TimeExceeded,
    /// Too big for the link that it would leave by: who sent it is told so.
    TooBig,
}

impl Aside {
    /// What an entry point's code means; none if it is the hook's own.
    #[inline(always)]
    pub(crate) const fn of_code(code: i32) -> Option<Self> {
        const ICMP: i32 = Aside::Icmp as i32;
        const REFUSE: i32 = Aside::Refuse as i32;
        const TIME_EXCEEDED: i32 = Aside::TimeExceeded as i32;
        const TOO_BIG: i32 = Aside::TooBig as i32;
        match code {
            ICMP => Some(Self::Icmp),
            REFUSE => Some(Self::Refuse),
            TIME_EXCEEDED => Some(Self::TimeExceeded),
            TOO_BIG => Some(Self::TooBig),
            _ => None,
        }
    }
}

/// What changes in a transport header, TCP's or UDP's; sums as of [`lb_common::csum::difference`].
#[derive(Clone, Copy)]
pub(crate) struct TransportChange {
    /// Where the header is, in bytes from the packet's start.
    pub(crate) header: usize,
    /// The ports that it gets.
    pub(crate) ports: Ports,
    /// What its checksum must add because of the ports.
    pub(crate) through_ports: u64,
    /// The same because of the addresses, which the pseudo header has.
    pub(crate) through_addresses: u64,
    /// The header is UDP's, whose checksum may be zero, which means none.
    pub(crate) udp: bool,
    /// The addresses are IPv6.
    pub(crate) ipv6: bool,
}

/// A packet at a hook. Offsets are in bytes from where the link-layer header begins.
pub(crate) trait Packet: Copy + Alone {
    /// The hook.
    const HOOK: Hook;

    /// Ethernet type of what follows the link-layer header, in host order; neither family's for a
    /// packet of a VLAN, which is another link's.
    fn ether_type(&self) -> u16;

    /// Where the IP header begins.
    fn ip_offset(&self) -> usize;

    /// Index of the interface that the packet is at.
    fn link(&self) -> u32;

    /// What the program was called with, for helpers that take either hook's.
    fn context(&self) -> *mut core::ffi::c_void;

    /// Bytes in the packet.
    fn length(&self) -> usize;

    /// Bytes of payload in each of the packets that this one stands for on the wire (GSO); zero if
    /// it is one by itself.
    fn segment(&self) -> u32;

    /// Makes the first bytes of the packet readable and writable in place, as many as headers
    /// need; offsets stay.
    fn pull(&mut self);

    /// As `pull`, for so many bytes, or all if there are fewer.
    fn pull_to(&mut self, length: u32);

    /// Reads at an offset; none if the packet (or what was pulled of it) ends before.
    fn load<T: Pod>(&self, offset: usize) -> Option<T>;

    /// Writes at an offset; none as with `load`.
    #[must_use]
    fn store<T: Pod>(&mut self, offset: usize, value: T) -> Option<()>;

    /// What lies at an offset, to be changed in place; none as with `load`. For more than one field of
    /// a header, as `load` and `store` look each by itself whether it is there.
    #[must_use]
    fn edit<T: Pod>(&mut self, offset: usize) -> Option<&mut T>;

    /// Cuts the packet to this length, or lengthens it; what is new is undefined.
    #[must_use]
    fn resize(&mut self, length: usize) -> Option<()>;

    /// Makes room for so many bytes between the link-layer and the IP header; what is in them is
    /// undefined.
    #[must_use]
    fn insert(&mut self, length: usize) -> Option<()>;

    /// Writes the ports and adjusts the checksum, as whoever sends the packet needs it.
    #[must_use]
    fn change_transport(&mut self, change: &TransportChange) -> Option<()>;

    /// Looks up the route of a packet with these parameters.
    ///
    /// # Errors
    /// The `BPF_FIB_LKUP_RET_*` code, or a negative error number.
    fn look_up_route(&self, parameters: &mut aya_ebpf::bindings::bpf_fib_lookup)
    -> Result<(), i64>;

    /// Writes the link-layer addresses that a look-up found, where the kernel does not by itself. At
    /// once, not with the verdict: where they would have to be kept, LLVM reads them on ways on which
    /// there are none, which kernels before 6.3 refuse.
    #[must_use]
    fn set_neighbour(&mut self, found: &aya_ebpf::bindings::bpf_fib_lookup) -> Option<()>;

    /// Whether this hook can send packets out of the link with these properties (none: not known). Those
    /// that it cannot are left to the next hook, unchanged and before anything is written about them.
    fn can_send(link: Option<&Link>, neighbour_known: bool) -> bool;

    /// Turns the verdict into the hook's own code, and counts what it drops.
    fn finish(self, verdict: Verdict) -> i32;
}
