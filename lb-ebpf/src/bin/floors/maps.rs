//! Which maps do the floors look into? The like of ours, and what the wrappers work with.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, ProgramArray},
    macros::btf_map,
};
use lb_common::{
    addr::{Family, Ip4, Ip6},
    layout::{Flow, FlowKey, FrontendKey, FrontendRef},
    limits,
};

pub(crate) type Flows<A> = LruHashMap<FlowKey<A>, Flow<A>, { limits::FLOWS as usize }>;
pub(crate) type Frontends<A> = HashMap<FrontendKey<A>, FrontendRef, { limits::FRONTENDS as usize }>;

#[btf_map(name = "frontends4")]
static FRONTENDS4: Frontends<Ip4> = HashMap::new();
#[btf_map(name = "frontends6")]
static FRONTENDS6: Frontends<Ip6> = HashMap::new();
#[btf_map(name = "flows4")]
static FLOWS4: Flows<Ip4> = LruHashMap::new();
#[btf_map(name = "flows6")]
static FLOWS6: Flows<Ip6> = LruHashMap::new();

/// What each run begins with: the packet's first bytes, eight to a word, and how its sender varies.
#[repr(C)]
pub(crate) struct Template {
    /// The bytes.
    pub(crate) words: [u64; TEMPLATE_WORDS],
    /// Where the TCP header begins.
    pub(crate) transport: u32,
    /// Bits of the run's number that are added to the source port; 0 = always the same packet.
    pub(crate) port_mask: u32,
    /// Where the last four bytes of the source address are.
    pub(crate) address: u32,
    /// Bits of the run's number, without those of the port, that are added to the source address.
    pub(crate) address_mask: u32,
    /// Where the checksum of the IP header is; 0 = it has none.
    pub(crate) header_checksum: u32,
    /// By how many places the bits of the port are shifted out for those of the address.
    pub(crate) port_bits: u32,
}

/// Eighty bytes: Ethernet, IPv6 and TCP headers take 74.
pub(crate) const TEMPLATE_WORDS: usize = 10;

/// One element: what userspace wants to see timed.
#[btf_map(name = "template")]
pub(crate) static TEMPLATE: Array<Template, 1> = Array::new();
/// One element: how many runs there were since userspace set it to zero.
#[btf_map(name = "runs")]
pub(crate) static RUNS: Array<u64, 1> = Array::new();
/// One element: the program to time. An array of programs takes one type only, hence two.
#[btf_map(name = "target_xdp")]
pub(crate) static TARGET_XDP: ProgramArray<1> = ProgramArray::new();
/// As `target_xdp`.
#[btf_map(name = "target_tc")]
pub(crate) static TARGET_TC: ProgramArray<1> = ProgramArray::new();

/// The maps of an address family.
pub(crate) trait Maps: Family {
    /// Map `frontends4|6`.
    fn frontends() -> &'static Frontends<Self>;
    /// Map `flows4|6`.
    fn flows() -> &'static Flows<Self>;
}

impl Maps for Ip4 {
    #[inline(always)]
    fn frontends() -> &'static Frontends<Self> {
        &FRONTENDS4
    }
    #[inline(always)]
    fn flows() -> &'static Flows<Self> {
        &FLOWS4
    }
}

impl Maps for Ip6 {
    #[inline(always)]
    fn frontends() -> &'static Frontends<Self> {
        &FRONTENDS6
    }
    #[inline(always)]
    fn flows() -> &'static Flows<Self> {
        &FLOWS6
    }
}
