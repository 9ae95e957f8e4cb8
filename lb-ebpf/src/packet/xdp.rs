//! A packet at the driver's receive path: all raw pointers into XDP buffers are here.

use aya_ebpf::{
    bindings::{
        bpf_fib_lookup as FibLookup,
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
        xdp_md,
    },
    helpers::{bpf_fib_lookup, bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use bytemuck::Pod;
use lb_common::{
    csum,
    drops::Hook,
    layout::{LINK_XDP, Link},
    wire::{Ethernet, TcpHeader, UdpHeader},
};

use super::{Packet, TransportChange, Verdict};
use crate::maps;

/// A frame as the driver received it.
#[derive(Clone, Copy)]
pub(crate) struct Xdp {
    frame: *mut xdp_md,
}

impl Xdp {
    /// The frame that the program was called with.
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext) -> Self {
        Self { frame: context.ctx }
    }

    /// Pointer to `T` at an offset, if the frame's first buffer contains it.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        // SAFETY: the kernel passes a valid context, whose packet bounds may be read at any time.
        let (start, end) =
            unsafe { ((*self.frame).data as usize, (*self.frame).data_end as usize) };
        let place = start + offset;
        (place + size_of::<T>() <= end).then_some(place as *mut T)
    }

    /// Writes sender and receiver of the Ethernet header.
    #[inline(always)]
    fn address(&mut self, source: [u8; 6], destination: [u8; 6]) -> Option<()> {
        let header = Ethernet {
            destination,
            source,
            ..self.load(0)?
        };
        self.store(0, header)
    }

    /// Sends the frame out of a link.
    #[inline(always)]
    fn send(self, link: u32) -> u32 {
        if link == self.link() {
            return XDP_TX;
        }
        // SAFETY: the helper only notes where the frame shall go.
        unsafe { bpf_redirect(link, 0) as u32 }
    }

    /// Sends the frame back to where it came from.
    #[inline(always)]
    fn turn_around(&mut self) -> Option<u32> {
        let old: Ethernet = self.load(0)?;
        self.address(old.destination, old.source)?;
        Some(XDP_TX)
    }
}

impl Packet for Xdp {
    const HOOK: Hook = Hook::Xdp;

    #[inline(always)]
    fn ether_type(&self) -> u16 {
        // A VLAN tag is none of the families' types: such frames are left to traffic control, which
        // knows the link that they are for.
        self.load::<Ethernet>(0)
            .map_or(0, |header| header.ether_type.get())
    }

    #[inline(always)]
    fn ip_offset(&self) -> usize {
        size_of::<Ethernet>()
    }

    #[inline(always)]
    fn link(&self) -> u32 {
        // SAFETY: field of a valid context.
        unsafe { (*self.frame).ingress_ifindex }
    }

    #[inline(always)]
    fn context(&self) -> *mut core::ffi::c_void {
        self.frame.cast()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: fields of a valid context.
        let length = unsafe { (*self.frame).data_end as usize - (*self.frame).data as usize };
        // Hidden, or LLVM folds it into sums in which the verifier sees arithmetic on a pointer.
        core::hint::black_box(length)
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn pull(&mut self) {}

    #[inline(always)]
    fn pull_to(&mut self, _: u32) {}

    #[inline(always)]
    fn load<T: Pod>(&self, offset: usize) -> Option<T> {
        // SAFETY: `at` checked the bounds, `T` is plain bytes, and the architectures that we build
        // for read words at any address.
        self.at::<T>(offset).map(|place| unsafe { *place })
    }

    #[inline(always)]
    fn store<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        // SAFETY: as in `load`; the frame is ours alone.
        self.at::<T>(offset).map(|place| unsafe { *place = value })
    }

    #[inline(always)]
    fn edit<T: Pod>(&mut self, offset: usize) -> Option<&mut T> {
        // SAFETY: as in `store`. Nobody uses a copy of `self`, or a helper that moves the frame, while it is
        // edited. Words at any address are as good as others to these architectures, and LLVM takes each at once.
        self.at::<T>(offset).map(|place| unsafe { &mut *place })
    }

    #[inline(always)]
    fn resize(&mut self, length: usize) -> Option<()> {
        let change = length as i32 - self.length() as i32;
        // SAFETY: the helper checks the length. Kernel 5.8 for more than there is.
        (unsafe { bpf_xdp_adjust_tail(self.frame, change) } == 0).then_some(())
    }

    #[inline(always)]
    fn insert(&mut self, length: usize) -> Option<()> {
        let header: Ethernet = self.load(0)?;
        // SAFETY: the helper checks that there is room before the frame. Kernel 4.10.
        if unsafe { bpf_xdp_adjust_head(self.frame, -(length as i32)) } != 0 {
            return None;
        }
        self.store(0, header)
    }

    #[inline(always)]
    fn change_transport(&mut self, change: &TransportChange) -> Option<()> {
        let sum = change.through_addresses + change.through_ports;
        if change.udp {
            let header: &mut UdpHeader = self.edit(change.header)?;
            header.ports = change.ports;
            if header.checksum != 0 {
                // One that comes out as zero is sent as all ones (RFC 768).
                header.checksum = match csum::update(header.checksum, sum) {
                    0 => 0xffff,
                    new => new,
                };
            }
        } else {
            let header: &mut TcpHeader = self.edit(change.header)?;
            header.ports = change.ports;
            header.checksum = csum::update(header.checksum, sum);
        }
        Some(())
    }

    #[inline(always)]
    fn look_up_route(&self, parameters: &mut FibLookup) -> Result<(), i64> {
        let size = size_of::<FibLookup>() as i32;
        // SAFETY: context and parameters are valid and of the size given. Kernel 4.18.
        match unsafe { bpf_fib_lookup(self.frame.cast(), parameters, size, 0) } {
            0 => Ok(()),
            code => Err(code),
        }
    }

    #[inline(always)]
    fn set_neighbour(&mut self, found: &FibLookup) -> Option<()> {
        self.address(found.smac, found.dmac)
    }

    #[inline(always)]
    fn can_send(link: Option<&Link>, neighbour_known: bool) -> bool {
        // A device that runs XDP itself takes frames from others; a tunnel or a device without
        // native XDP would lose them.
        neighbour_known && link.is_some_and(|link| link.flags & LINK_XDP != 0)
    }

    #[inline(always)]
    fn finish(mut self, verdict: Verdict) -> i32 {
        let action = match verdict {
            Verdict::Pass => XDP_PASS,
            Verdict::Drop(reason) => {
                maps::count(Self::HOOK, reason);
                XDP_DROP
            }
            Verdict::End => XDP_DROP,
            Verdict::Back => self.turn_around().unwrap_or(XDP_DROP),
            Verdict::Out(link) => self.send(link),
            Verdict::Aside(what) => what as u32,
        };
        action as i32
    }
}
