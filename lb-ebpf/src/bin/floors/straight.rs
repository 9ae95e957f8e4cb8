//! The floors themselves: TCP without options, one way, everything in a row.

use core::{
    mem::{offset_of, size_of},
    ptr,
};

use aya_ebpf::bindings::bpf_fib_lookup;
use lb_common::{
    addr::{Family as _, Ip4, Ip6},
    csum,
    decide::TCP,
    flow::{mirror, mirror_key},
    layout::{Flow, FlowKey, FrontendKey},
    wire::{Be16, Ethernet, Ipv4Header, Ipv6Header, Ports, TcpHeader},
};

use crate::maps::Maps;

/// Where the IP header begins.
const IP: usize = size_of::<Ethernet>();

/// How a family's headers lie in a frame.
pub(crate) trait Straight: Maps {
    /// Where the TCP header begins.
    const TRANSPORT: usize;
    /// Where the addresses begin.
    const ADDRESSES: usize;
    /// Where the checksum of the IP header is, if it has one.
    const HEADER_CHECKSUM: Option<usize>;

    /// The key of a TCP packet of a flow; ports as one word, source first, host order.
    ///
    /// By whole words: a hash of the key loads words, and one that spans two stores just made would
    /// wait for both.
    fn flow_key(addresses: &[Self; 2], ports: u32) -> FlowKey<Self>;

    /// The key of a TCP frontend.
    fn frontend_key(address: &Self, port: u16) -> FrontendKey<Self>;

    /// Protocol of the transport header, 0 if the header is not one of those timed.
    ///
    /// # Safety
    /// The frame has all headers.
    unsafe fn protocol(frame: usize) -> u8;

    /// Fills in the addresses of a route look-up.
    fn route_between(parameters: &mut bpf_fib_lookup, addresses: &[Self; 2]);
}

impl Straight for Ip4 {
    const TRANSPORT: usize = IP + size_of::<Ipv4Header>();
    const ADDRESSES: usize = IP + offset_of!(Ipv4Header, source);
    const HEADER_CHECKSUM: Option<usize> = Some(IP + offset_of!(Ipv4Header, checksum));

    #[inline(always)]
    fn flow_key(addresses: &[Self; 2], ports: u32) -> FlowKey<Self> {
        let words = [
            pair(addresses[0].word(0), addresses[1].word(0)),
            pair(ports, TCP.into()),
        ];
        bytemuck::must_cast(words)
    }

    #[inline(always)]
    fn frontend_key(address: &Self, port: u16) -> FrontendKey<Self> {
        bytemuck::must_cast(pair(address.word(0), frontend(port)))
    }

    #[inline(always)]
    unsafe fn protocol(frame: usize) -> u8 {
        let header = (frame + IP) as *const Ipv4Header;
        // SAFETY: the caller says that the header is there.
        unsafe {
            if (*header).version_length == 0x45 {
                (*header).protocol
            } else {
                0
            }
        }
    }

    #[inline(always)]
    fn route_between(parameters: &mut bpf_fib_lookup, [source, destination]: &[Self; 2]) {
        parameters.__bindgen_anon_3.ipv4_src = source.word(0);
        parameters.__bindgen_anon_4.ipv4_dst = destination.word(0);
    }
}

impl Straight for Ip6 {
    const TRANSPORT: usize = IP + size_of::<Ipv6Header>();
    const ADDRESSES: usize = IP + offset_of!(Ipv6Header, source);
    const HEADER_CHECKSUM: Option<usize> = None;

    #[inline(always)]
    fn flow_key([source, destination]: &[Self; 2], ports: u32) -> FlowKey<Self> {
        bytemuck::must_cast([
            pair(source.word(0), source.word(1)),
            pair(source.word(2), source.word(3)),
            pair(destination.word(0), destination.word(1)),
            pair(destination.word(2), destination.word(3)),
            pair(ports, TCP.into()),
        ])
    }

    #[inline(always)]
    fn frontend_key(address: &Self, port: u16) -> FrontendKey<Self> {
        let word = |i| address.word(i);
        bytemuck::must_cast([word(0), word(1), word(2), word(3), frontend(port)])
    }

    #[inline(always)]
    unsafe fn protocol(frame: usize) -> u8 {
        // SAFETY: the caller says that the header is there.
        unsafe { (*((frame + IP) as *const Ipv6Header)).next_header }
    }

    #[inline(always)]
    fn route_between(parameters: &mut bpf_fib_lookup, [source, destination]: &[Self; 2]) {
        let words = |address: &Self| [0, 1, 2, 3].map(|i| address.word(i));
        parameters.__bindgen_anon_3.ipv6_src = words(source);
        parameters.__bindgen_anon_4.ipv6_dst = words(destination);
    }
}

/// Two words as they lie in memory.
#[inline(always)]
const fn pair(first: u32, second: u32) -> u64 {
    first as u64 | (second as u64) << 32
}

/// The last word of a TCP frontend's key.
#[inline(always)]
const fn frontend(port: u16) -> u32 {
    port as u32 | (TCP as u32) << 16
}

/// A frame whose headers are all there.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    start: usize,
}

/// What is to be added to the TCP checksum, as of [`csum::difference`].
pub(crate) struct Change {
    /// Where the checksum is, in bytes from the frame's start.
    pub(crate) offset: usize,
    /// Because of the addresses.
    pub(crate) addresses: u64,
    /// Because of the ports.
    pub(crate) ports: u64,
}

impl Frame {
    /// The frame between these addresses, if it is TCP of the family.
    #[inline(always)]
    pub(crate) fn parse<A: Straight>(start: usize, end: usize) -> Option<(Self, FlowKey<A>)> {
        if start + A::TRANSPORT + size_of::<TcpHeader>() > end {
            return None;
        }
        let frame = Self { start };
        let ethernet: *const Ethernet = frame.at(0);
        let ports: *const Ports = frame.at(A::TRANSPORT);
        let addresses: *const [A; 2] = frame.at(A::ADDRESSES);
        // SAFETY: bounds were checked, and words are read at any address here.
        unsafe {
            if (*ethernet).ether_type.get() != A::ETHER_TYPE || A::protocol(start) != TCP {
                return None;
            }
            let ports =
                u32::from((*ports).source.get()) | u32::from((*ports).destination.get()) << 16;
            Some((frame, A::flow_key(&*addresses, ports)))
        }
    }

    #[inline(always)]
    fn at<T>(self, offset: usize) -> *mut T {
        (self.start + offset) as *mut T
    }

    /// Adds the change to the checksum in place.
    #[inline(always)]
    pub(crate) fn change_in_place(self, change: &Change) {
        let field: *mut u16 = self.at(change.offset);
        // SAFETY: within the TCP header, whose bounds were checked.
        unsafe { *field = csum::update(*field, change.addresses + change.ports) };
    }

    /// The question for the route of the frame, as it is now, from this link on.
    #[inline(always)]
    pub(crate) fn route_question<A: Straight>(self, link: u32) -> bpf_fib_lookup {
        // SAFETY: integers and arrays of such: zero is valid.
        let mut question: bpf_fib_lookup = unsafe { core::mem::zeroed() };
        question.family = A::SOCKET_FAMILY;
        question.l4_protocol = TCP;
        question.ifindex = link;
        // SAFETY: bounds were checked, and words are read at any address here.
        A::route_between(&mut question, unsafe { &*self.at::<[A; 2]>(A::ADDRESSES) });
        question
    }

    /// Writes the flow's addresses and ports; says what remains to be done with the TCP checksum.
    #[inline(always)]
    fn rewrite<A: Straight>(self, key: &FlowKey<A>, flow: &Flow<A>) -> Change {
        let mut addresses = 0;
        let mut i = 0;
        while i < A::WORDS {
            addresses += csum::difference(key.source.word(i), flow.source.word(i))
                + csum::difference(key.destination.word(i), flow.destination.word(i));
            i += 1;
        }
        let ports = |source, destination| Ports {
            source: Be16::new(source),
            destination: Be16::new(destination),
        };
        let old = ports(key.source_port, key.destination_port);
        let new = ports(flow.source_port, flow.destination_port);
        // SAFETY: bounds were checked, and words are written at any address here.
        unsafe {
            *self.at::<[A; 2]>(A::ADDRESSES) = [flow.source, flow.destination];
            *self.at::<Ports>(A::TRANSPORT) = new;
            if let Some(offset) = A::HEADER_CHECKSUM {
                let field: *mut u16 = self.at(offset);
                *field = csum::update(*field, addresses);
            }
        }
        Change {
            offset: A::TRANSPORT + offset_of!(TcpHeader, checksum),
            addresses,
            ports: csum::difference(bytemuck::must_cast(old), bytemuck::must_cast(new)),
        }
    }
}

/// *lookup*: parse and one hash lookup.
#[inline(always)]
pub(crate) fn lookup<A: Straight>(key: &FlowKey<A>) -> Option<u64> {
    let key = A::frontend_key(&key.destination, key.destination_port);
    let word = A::frontends().get_ptr(&key)?.cast::<u64>();
    // SAFETY: the value has eight bytes; volatile, so that it is read although nobody needs it.
    Some(unsafe { ptr::read_volatile(word) })
}

/// *full*: besides, one LRU lookup, rewrite and incremental checksums, the last of which the
/// caller does.
#[inline(always)]
pub(crate) fn full<A: Straight>(frame: Frame, key: &FlowKey<A>) -> Option<Change> {
    lookup(key)?;
    let flow = A::flows().get_ptr(key)?;
    // SAFETY: nobody else has the element.
    Some(frame.rewrite(key, unsafe { &*flow }))
}

/// *two-inserts*: besides, two bare inserts into the LRU map. The flow that is looked up is one that
/// userspace entered for everybody; the flow that is entered is the packet's own.
#[inline(always)]
pub(crate) fn two_inserts<A: Straight>(frame: Frame, key: &FlowKey<A>) -> Option<Change> {
    lookup(key)?;
    let known = FlowKey {
        source: key.destination,
        source_port: 0,
        ..*key
    };
    // SAFETY: nobody else has the element.
    let flow = Flow {
        source: key.source,
        source_port: key.source_port,
        ..unsafe { *A::flows().get_ptr(&known)? }
    };
    A::flows()
        .insert(&mirror_key(key, &flow), &mirror(key, &flow), 0)
        .ok()?;
    A::flows().insert(key, &flow, 0).ok()?;
    Some(frame.rewrite(key, &flow))
}
