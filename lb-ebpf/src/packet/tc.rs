//! A packet at traffic control: all raw pointers into socket buffers are here.

use core::mem::{offset_of, size_of};

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT,
        TC_ACT_UNSPEC, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::{
        bpf_fib_lookup, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh, bpf_skb_adjust_room,
        bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_pull_data, bpf_skb_vlan_pop,
    },
    programs::TcContext,
};
use bytemuck::Pod;
use lb_common::{
    csum,
    drops::{DropReason, Hook},
    layout::Link,
    wire::{Ethernet, TcpHeader, UdpHeader},
};

use super::{Packet, TransportChange, Verdict};
use crate::{globals, maps};

/// Headers are read and written in this many bytes at most: link layer, IPv6, TCP.
const HEADERS: u32 = 14 + 40 + 20;

/// Makes `bpf_redirect` hand a packet over as if the device had received it.
const INGRESS: u64 = BPF_F_INGRESS as u64;

/// The part of a VLAN tag that says which; zero in a tag that says no more than a priority.
const VLAN_ID: u32 = 0xfff;

/// A packet at ingress or egress of a device.
#[derive(Clone, Copy)]
pub(crate) struct Tc {
    skb: *mut __sk_buff,
}

impl Tc {
    /// The packet that the program was called with.
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        Self {
            skb: context.skb.skb,
        }
    }

    /// Pointer to `T` at an offset, if the linear part of the packet contains it.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        // SAFETY: the kernel passes a valid context, whose packet bounds may be read at any time.
        let (start, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
        let place = start + offset;
        (place + size_of::<T>() <= end).then_some(place as *mut T)
    }

    /// As [`Packet::finish`], but what would go back goes up, to the node's own stack: it came from
    /// there and was about to leave.
    #[inline(always)]
    pub(crate) fn finish_toward_stack(mut self, verdict: Verdict) -> i32 {
        match verdict {
            Verdict::Back => match self.turn_around() {
                // SAFETY: the helper only notes where the packet shall go. Kernel 4.2.
                Some(()) => unsafe { bpf_redirect(self.link(), INGRESS) as i32 },
                None => TC_ACT_SHOT,
            },
            other => self.finish(other),
        }
    }

    /// Takes away a tag that says no VLAN but a priority: it was for the link that it came by.
    #[inline(always)]
    fn clear_tag(&mut self) {
        // SAFETY: a field of a valid context; the helper takes any packet.
        unsafe {
            if (*self.skb).vlan_present != 0 {
                // A failure leaves the tag, whose priority may confuse no more than a switch.
                bpf_skb_vlan_pop(self.skb);
            }
        }
    }

    /// Gives a packet of a link without Ethernet header an empty one: the kernel takes it away again
    /// before it writes that of the link which the packet leaves by, and drops packets without.
    #[inline(always)]
    fn give_header(&mut self) -> Option<()> {
        if globals::ETHERNET_HEADER.load() != 0 {
            return Some(());
        }
        // SAFETY: the helper takes any packet.
        let done = unsafe { bpf_skb_change_head(self.skb, size_of::<Ethernet>() as u32, 0) };
        (done == 0).then_some(())
    }

    /// Swaps sender and receiver of the Ethernet header.
    #[inline(always)]
    fn turn_around(&mut self) -> Option<()> {
        if globals::ETHERNET_HEADER.load() == 0 {
            return Some(());
        }
        let header: Ethernet = self.load(0)?;
        let turned = Ethernet {
            destination: header.source,
            source: header.destination,
            ..header
        };
        self.store(0, turned)
    }
}

impl Packet for Tc {
    const HOOK: Hook = Hook::Tc;

    #[inline(always)]
    fn ether_type(&self) -> u16 {
        // SAFETY: fields of a valid context.
        let (tagged, tag, protocol) = unsafe {
            let skb = &*self.skb;
            (skb.vlan_present != 0, skb.vlan_tci, skb.protocol)
        };
        if tagged && tag & VLAN_ID != 0 {
            // Of a VLAN, so another device's: it comes by there, without the tag, if it is ours.
            return 0;
        }
        if globals::ETHERNET_HEADER.load() == 0 {
            return u16::from_be(protocol as u16);
        }
        // As the frame says, not the kernel: a tag that is left in the frame is not IP, whatever
        // the kernel has read behind it (VLAN devices with `reorder_hdr off`).
        self.load::<Ethernet>(0)
            .map_or(0, |header| header.ether_type.get())
    }

    #[inline(always)]
    fn ip_offset(&self) -> usize {
        globals::ETHERNET_HEADER.load() as usize
    }

    #[inline(always)]
    fn link(&self) -> u32 {
        // SAFETY: field of a valid context.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn context(&self) -> *mut core::ffi::c_void {
        self.skb.cast()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: field of a valid context.
        unsafe { (*self.skb).len as usize }
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        // SAFETY: field of a valid context. Kernel 5.7.
        unsafe { (*self.skb).gso_size }
    }

    #[inline(always)]
    fn pull(&mut self) {
        self.pull_to(HEADERS);
    }

    #[inline(always)]
    fn pull_to(&mut self, length: u32) {
        // SAFETY: fields of a valid context; the helper takes any length up to the packet's.
        unsafe {
            let linear = (*self.skb).data_end - (*self.skb).data;
            let wanted = if (*self.skb).len < length {
                (*self.skb).len
            } else {
                length
            };
            if linear < wanted {
                // A failure leaves the packet as it is; reading then says that it is too short.
                bpf_skb_pull_data(self.skb, wanted);
            }
        }
    }

    #[inline(always)]
    fn load<T: Pod>(&self, offset: usize) -> Option<T> {
        // SAFETY: `at` checked the bounds, `T` is plain bytes, and the architectures that we build
        // for read words at any address.
        self.at::<T>(offset).map(|place| unsafe { *place })
    }

    #[inline(always)]
    fn store<T: Pod>(&mut self, offset: usize, value: T) -> Option<()> {
        // SAFETY: as in `load`; the kernel makes the linear part ours before the program runs.
        self.at::<T>(offset).map(|place| unsafe { *place = value })
    }

    #[inline(always)]
    fn edit<T: Pod>(&mut self, offset: usize) -> Option<&mut T> {
        // SAFETY: as in `store`. Nobody uses a copy of `self`, or a helper that moves the packet, while it is
        // edited. Words at any address are as good as others to these architectures, and LLVM takes each at once.
        self.at::<T>(offset).map(|place| unsafe { &mut *place })
    }

    #[inline(always)]
    fn resize(&mut self, length: usize) -> Option<()> {
        // SAFETY: the helper checks the length. It also makes the whole packet linear.
        let done = unsafe { bpf_skb_change_tail(self.skb, length as u32, 0) };
        (done == 0).then_some(())
    }

    #[inline(always)]
    fn insert(&mut self, length: usize) -> Option<()> {
        // SAFETY: the helper checks the length, and moves the link-layer header by itself.
        let done = unsafe { bpf_skb_adjust_room(self.skb, length as i32, BPF_ADJ_ROOM_MAC, 0) };
        (done == 0).then_some(())
    }

    #[inline(always)]
    fn change_transport(&mut self, change: &TransportChange) -> Option<()> {
        self.store(change.header, change.ports)?;
        let udp = if change.udp {
            u64::from(BPF_F_MARK_MANGLED_0)
        } else {
            0
        };
        let family = if change.ipv6 {
            globals::CHECKSUM_IPV6.load()
        } else {
            0
        };
        let pseudo = u64::from(BPF_F_PSEUDO_HDR) | udp | family;
        let checksum = if change.udp {
            offset_of!(UdpHeader, checksum)
        } else {
            offset_of!(TcpHeader, checksum)
        };
        let offset = (change.header + checksum) as u32;
        // The helper, not arithmetic of ours: it alone knows whether the checksum is still to be
        // completed by the device, when it covers the addresses only.
        // SAFETY: the helper checks the offset against the packet.
        unsafe {
            if change.through_ports != 0 {
                let ports = u64::from(csum::fold(change.through_ports));
                if bpf_l4_csum_replace(self.skb, offset, 0, ports, udp) != 0 {
                    return None;
                }
            }
            if change.through_addresses != 0 {
                let addresses = u64::from(csum::fold(change.through_addresses));
                if bpf_l4_csum_replace(self.skb, offset, 0, addresses, pseudo) != 0 {
                    return None;
                }
            }
        }
        Some(())
    }

    #[inline(always)]
    fn look_up_route(
        &self,
        parameters: &mut aya_ebpf::bindings::bpf_fib_lookup,
    ) -> Result<(), i64> {
        let size = size_of::<aya_ebpf::bindings::bpf_fib_lookup>() as i32;
        // SAFETY: context and parameters are valid and of the size given. Kernel 4.18.
        match unsafe { bpf_fib_lookup(self.skb.cast(), parameters, size, 0) } {
            0 => Ok(()),
            code => Err(code),
        }
    }

    #[inline(always)]
    fn set_neighbour(&mut self, _: &aya_ebpf::bindings::bpf_fib_lookup) -> Option<()> {
        Some(())
    }

    #[inline(always)]
    fn can_send(_: Option<&Link>, _: bool) -> bool {
        // The kernel asks for a neighbour that is not known while it holds the packet.
        true
    }

    #[inline(always)]
    fn finish(mut self, verdict: Verdict) -> i32 {
        match verdict {
            // Never TC_ACT_OK, which would end the chain and skip the CNI's own programs.
            Verdict::Pass => TC_ACT_UNSPEC,
            Verdict::Drop(reason) => {
                maps::count(Self::HOOK, reason);
                TC_ACT_SHOT
            }
            Verdict::End => TC_ACT_SHOT,
            Verdict::Back => match self.turn_around() {
                // SAFETY: the helper only notes where the packet shall go.
                Some(()) => unsafe { bpf_redirect(self.link(), 0) as i32 },
                None => TC_ACT_SHOT,
            },
            Verdict::Out(link) => {
                self.clear_tag();
                if self.give_header().is_none() {
                    maps::count(Self::HOOK, DropReason::KernelRefused);
                    return TC_ACT_SHOT;
                }
                // The kernel finds (or asks for) the neighbour by itself. Kernel 5.10.
                // SAFETY: no parameters means none are read.
                unsafe { bpf_redirect_neigh(link, core::ptr::null_mut(), 0, 0) as i32 }
            }
            Verdict::Aside(what) => what as i32,
        }
    }
}
