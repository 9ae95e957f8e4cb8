//! Which maps are there? In the order in which a packet meets them; `lb_common::layout` says what
//! is in them.

use aya_ebpf::{
    bindings::bpf_fib_lookup,
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, Queue},
    macros::btf_map,
};
use lb_common::{
    addr::{Family, Ip4, Ip6},
    drops::{self, DropReason, Hook},
    layout::{
        Affinity, AffinityKey, Backend, Config, Connected, Flow, FlowKey, FragmentInfo,
        FragmentKey, FrontendInfo, FrontendKey, FrontendRef, Link, Prefix, RangeKey, Reservation,
        ServiceName, Sieve, SocketFlow, SocketKey,
    },
    limits::{self, PREFIXES},
};

/// The longest-prefix key's data: [`RangeKey`] without its length.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RangeData<A> {
    /// Id of the service port.
    pub(crate) service_port: u32,
    /// The network's address, or a source.
    pub(crate) network: A,
}

const _: () = assert!(
    size_of::<RangeKey<Ip4>>() == 4 + size_of::<RangeData<Ip4>>()
        && size_of::<RangeKey<Ip6>>() == 4 + size_of::<RangeData<Ip6>>()
);

/// What the beginning of a flow needs besides the 512 bytes of a program's stack. A program is not
/// interrupted by another of its kind on its CPU, so one for each CPU is enough.
#[repr(C)]
pub(crate) struct Scratch<A> {
    /// A route look-up. First, where it is aligned to eight bytes: it is set to zero for every packet
    /// in transit.
    pub(crate) route: bpf_fib_lookup,
    /// The key of the flow that begins.
    pub(crate) key: FlowKey<A>,
    /// The flow, as the client's packets see it.
    pub(crate) flow: Flow<A>,
    /// The replies' key.
    pub(crate) reply_key: FlowKey<A>,
    /// The flow, as replies see it.
    pub(crate) reply: Flow<A>,
    /// Who asks for a port.
    pub(crate) holder: Reservation<A>,
    /// A datagram in fragments.
    pub(crate) fragment_key: FragmentKey<A>,
    /// What its first fragment said.
    pub(crate) fragment: FragmentInfo,
}

/// What the end of a flow needs besides the stack; each CPU has one of its own.
#[repr(C)]
pub(crate) struct Leaving<A> {
    /// Head of the queue of flows that may go.
    pub(crate) head: FlowKey<A>,
    /// The other direction of the flow that ends.
    pub(crate) other: FlowKey<A>,
    /// Not zero once this CPU has found the queue full.
    pub(crate) queue_was_full: u32,
}

/// What a CPU sends of its own accord, each kind at a pace of its own: index into map `answers`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Answer {
    /// To a client that is not served.
    Refusal,
    /// What a router owes whose packet it cannot carry on.
    RouterError,
    /// To a ping of a VIP.
    Ping,
}

/// How many answers of a kind this CPU sent in this second.
#[repr(C)]
struct Pace {
    /// Jiffies, low 32 bits, when the second began.
    since: u32,
    /// Answers since.
    answered: u32,
}

type Ranges<A> = LpmTrie<RangeData<A>, u32, { limits::RANGES as usize }>;
type Flows<A> = HashMap<FlowKey<A>, Flow<A>, { limits::FLOWS as usize }>;
type Evictable<A> = Queue<FlowKey<A>, { limits::EVICTABLE as usize }>;
type Fragments<A> = LruHashMap<FragmentKey<A>, FragmentInfo, { limits::FRAGMENTS as usize }>;
type Frontends<A> = HashMap<FrontendKey<A>, FrontendRef, { limits::FRONTENDS as usize }>;
type Infos<A> = Array<FrontendInfo<A>, { limits::POOLS as usize }>;
type Backends<A> = Array<Backend<A>, { limits::BACKENDS as usize }>;
type Affinities<A> = LruHashMap<AffinityKey<A>, Affinity, { limits::AFFINITIES as usize }>;
type Reservations<A> = HashMap<FlowKey<A>, Reservation<A>, { limits::RESERVATIONS as usize }>;
type Sockets<A> = LruHashMap<SocketKey<A>, SocketFlow<A>, { limits::SOCKETS as usize }>;
/// `BPF_F_MMAPABLE` (kernel 5.5): userspace sets single bits, as nobody else's may get lost.
const MAPPED: usize = 1 << 10;
type Sieves<A> = Array<Sieve<A>, 1, MAPPED>;
/// Here for its values to begin on a page, and each with a cache line.
type Connections<A> = Array<Connected<A>, { limits::CONNECTED as usize }, MAPPED>;
type Nodes<A> = HashMap<A, u32, { limits::NODE_ADDRESSES as usize }>;

#[btf_map(name = "config")]
static CONFIG: Array<Config, 1> = Array::new();
#[btf_map(name = "sieve4")]
static SIEVE4: Sieves<Ip4> = Array::new();
#[btf_map(name = "sieve6")]
static SIEVE6: Sieves<Ip6> = Array::new();
#[btf_map(name = "fragments4")]
static FRAGMENTS4: Fragments<Ip4> = LruHashMap::new();
#[btf_map(name = "fragments6")]
static FRAGMENTS6: Fragments<Ip6> = LruHashMap::new();
#[btf_map(name = "flows4")]
static FLOWS4: Flows<Ip4> = HashMap::new();
#[btf_map(name = "flows6")]
static FLOWS6: Flows<Ip6> = HashMap::new();
#[btf_map(name = "evictable4")]
static EVICTABLE4: Evictable<Ip4> = Queue::new();
#[btf_map(name = "evictable6")]
static EVICTABLE6: Evictable<Ip6> = Queue::new();
#[btf_map(name = "frontends4")]
static FRONTENDS4: Frontends<Ip4> = HashMap::new();
#[btf_map(name = "frontends6")]
static FRONTENDS6: Frontends<Ip6> = HashMap::new();
#[btf_map(name = "frontend_info4")]
static FRONTEND_INFO4: Infos<Ip4> = Array::new();
#[btf_map(name = "frontend_info6")]
static FRONTEND_INFO6: Infos<Ip6> = Array::new();
#[btf_map(name = "nodes4")]
static NODES4: Nodes<Ip4> = HashMap::new();
#[btf_map(name = "nodes6")]
static NODES6: Nodes<Ip6> = HashMap::new();
#[btf_map(name = "ranges4")]
static RANGES4: Ranges<Ip4> = LpmTrie::new();
#[btf_map(name = "ranges6")]
static RANGES6: Ranges<Ip6> = LpmTrie::new();
#[btf_map(name = "affinity4")]
static AFFINITY4: Affinities<Ip4> = LruHashMap::new();
#[btf_map(name = "affinity6")]
static AFFINITY6: Affinities<Ip6> = LruHashMap::new();
#[btf_map(name = "slots")]
static SLOTS: Array<u32, { limits::SLOTS as usize }> = Array::new();
#[btf_map(name = "backends4")]
static BACKENDS4: Backends<Ip4> = Array::new();
#[btf_map(name = "backends6")]
static BACKENDS6: Backends<Ip6> = Array::new();
#[btf_map(name = "snat4")]
static SNAT4: Reservations<Ip4> = HashMap::new();
#[btf_map(name = "snat6")]
static SNAT6: Reservations<Ip6> = HashMap::new();
#[btf_map(name = "connected4")]
static CONNECTED4: Connections<Ip4> = Array::new();
#[btf_map(name = "connected6")]
static CONNECTED6: Connections<Ip6> = Array::new();
#[btf_map(name = "sockets4")]
static SOCKETS4: Sockets<Ip4> = LruHashMap::new();
#[btf_map(name = "sockets6")]
static SOCKETS6: Sockets<Ip6> = LruHashMap::new();
#[btf_map(name = "scratch4")]
static SCRATCH4: PerCpuArray<Scratch<Ip4>, 1> = PerCpuArray::new();
#[btf_map(name = "scratch6")]
static SCRATCH6: PerCpuArray<Scratch<Ip6>, 1> = PerCpuArray::new();
#[btf_map(name = "leaving4")]
static LEAVING4: PerCpuArray<Leaving<Ip4>, 1> = PerCpuArray::new();
#[btf_map(name = "leaving6")]
static LEAVING6: PerCpuArray<Leaving<Ip6>, 1> = PerCpuArray::new();
#[btf_map(name = "links")]
static LINKS: HashMap<u32, Link, { limits::LINKS as usize }> = HashMap::new();
#[btf_map(name = "answers")]
static ANSWERS: PerCpuArray<Pace, 3> = PerCpuArray::new();
#[btf_map(name = "drops")]
static DROPS: PerCpuArray<u64, { drops::COUNTERS as usize }> = PerCpuArray::new();
/// For people only; declared here so that every map comes from one object.
#[btf_map(name = "services")]
static SERVICES: HashMap<u32, ServiceName, { limits::SERVICE_PORTS as usize }> = HashMap::new();

/// The maps of an address family, and its words in [`Config`].
pub(crate) trait Maps: Family {
    /// Map `sieve4|6`.
    fn sieve() -> Option<&'static Sieve<Self>>;
    /// Map `fragments4|6`.
    fn fragments() -> &'static Fragments<Self>;
    /// Map `flows4|6`.
    fn flows() -> &'static Flows<Self>;
    /// Map `evictable4|6`.
    fn evictable() -> &'static Evictable<Self>;
    /// Map `frontends4|6`.
    fn frontends() -> &'static Frontends<Self>;
    /// Map `frontend_info4|6`.
    fn infos() -> &'static Infos<Self>;
    /// Map `nodes4|6`.
    fn nodes() -> &'static Nodes<Self>;
    /// Map `ranges4|6`.
    fn ranges() -> &'static Ranges<Self>;
    /// Map `affinity4|6`.
    fn affinities() -> &'static Affinities<Self>;
    /// Map `backends4|6`.
    fn backends() -> &'static Backends<Self>;
    /// Map `snat4|6`.
    fn reservations() -> &'static Reservations<Self>;
    /// Map `connected4|6`.
    fn connected() -> &'static Connections<Self>;
    /// Map `sockets4|6`.
    fn sockets() -> &'static Sockets<Self>;
    /// This CPU's scratch memory; its content is whatever was left there.
    fn scratch() -> Option<&'static mut Scratch<Self>>;
    /// This CPU's memory for flows that end; its keys are whatever was left there.
    fn leaving() -> Option<*mut Leaving<Self>>;
    /// Whether a pod prefix contains the address.
    fn is_pod(config: &Config, address: &Self) -> bool;
    /// Whether a ServiceCIDR contains the address.
    fn is_service(config: &Config, address: &Self) -> bool;
    /// The address that SNAT gives packets leaving by a link.
    fn snat_address(config: &Config, link: Option<&Link>) -> Self;
}

/// Whether one of the prefixes contains the address. Written out: LLVM begins a loop in its middle,
/// which kernel 5.10 refuses.
#[inline(always)]
fn any_contains<A: Family>(prefixes: &[Prefix<A>; PREFIXES], address: &A) -> bool {
    let [first, second, third, fourth, rest @ ..] = prefixes;
    let [fifth, sixth, seventh, eighth] = rest;
    first.contains(address)
        || second.contains(address)
        || third.contains(address)
        || fourth.contains(address)
        || fifth.contains(address)
        || sixth.contains(address)
        || seventh.contains(address)
        || eighth.contains(address)
}

macro_rules! family {
    ($family:ident, $sieve:ident $fragments:ident $flows:ident $evictable:ident $frontends:ident $infos:ident $nodes:ident $ranges:ident
     $affinities:ident $backends:ident $reservations:ident $connected:ident $sockets:ident
     $scratch:ident $leaving:ident, $pods:ident $services:ident
     $node:ident $link:ident) => {
        impl Maps for $family {
            #[inline(always)]
            fn sieve() -> Option<&'static Sieve<Self>> {
                $sieve.get(0)
            }
            #[inline(always)]
            fn fragments() -> &'static Fragments<Self> {
                &$fragments
            }
            #[inline(always)]
            fn flows() -> &'static Flows<Self> {
                &$flows
            }
            #[inline(always)]
            fn evictable() -> &'static Evictable<Self> {
                &$evictable
            }
            #[inline(always)]
            fn frontends() -> &'static Frontends<Self> {
                &$frontends
            }
            #[inline(always)]
            fn infos() -> &'static Infos<Self> {
                &$infos
            }
            #[inline(always)]
            fn nodes() -> &'static Nodes<Self> {
                &$nodes
            }
            #[inline(always)]
            fn ranges() -> &'static Ranges<Self> {
                &$ranges
            }
            #[inline(always)]
            fn affinities() -> &'static Affinities<Self> {
                &$affinities
            }
            #[inline(always)]
            fn backends() -> &'static Backends<Self> {
                &$backends
            }
            #[inline(always)]
            fn reservations() -> &'static Reservations<Self> {
                &$reservations
            }
            #[inline(always)]
            fn connected() -> &'static Connections<Self> {
                &$connected
            }
            #[inline(always)]
            fn sockets() -> &'static Sockets<Self> {
                &$sockets
            }
            #[inline(always)]
            fn scratch() -> Option<&'static mut Scratch<Self>> {
                let scratch = $scratch.get_ptr_mut(0)?;
                // SAFETY: the element is this CPU's own and plain bytes; each path takes it once.
                Some(unsafe { &mut *scratch })
            }
            #[inline(always)]
            fn leaving() -> Option<*mut Leaving<Self>> {
                $leaving.get_ptr_mut(0)
            }
            #[inline(always)]
            fn is_pod(config: &Config, address: &Self) -> bool {
                any_contains(&config.$pods, address)
            }
            #[inline(always)]
            fn is_service(config: &Config, address: &Self) -> bool {
                any_contains(&config.$services, address)
            }
            #[inline(always)]
            fn snat_address(config: &Config, link: Option<&Link>) -> Self {
                match link {
                    Some(link) if link.$link != Self::default() => link.$link,
                    _ => config.$node,
                }
            }
        }
    };
}
family!(Ip4, SIEVE4 FRAGMENTS4 FLOWS4 EVICTABLE4 FRONTENDS4 FRONTEND_INFO4 NODES4 RANGES4 AFFINITY4 BACKENDS4 SNAT4 CONNECTED4 SOCKETS4 SCRATCH4 LEAVING4,
    pods4 services4 node4 address4);
family!(Ip6, SIEVE6 FRAGMENTS6 FLOWS6 EVICTABLE6 FRONTENDS6 FRONTEND_INFO6 NODES6 RANGES6 AFFINITY6 BACKENDS6 SNAT6 CONNECTED6 SOCKETS6 SCRATCH6 LEAVING6,
    pods6 services6 node6 address6);

/// Map `config`; none until userspace has written it.
#[inline(always)]
pub(crate) fn config() -> Option<&'static Config> {
    CONFIG
        .get(0)
        .filter(|config| config.layout_version == limits::LAYOUT_VERSION)
}

/// Jiffies in a second.
#[inline(always)]
pub(crate) fn hz() -> u32 {
    config().map_or(1, |config| config.hz)
}

/// Map `slots`.
#[inline(always)]
pub(crate) fn slot(index: u32) -> Option<u32> {
    SLOTS.get(index).copied()
}

/// Map `links`.
#[inline(always)]
pub(crate) fn link(ifindex: u32) -> Option<&'static Link> {
    // SAFETY: a link's element is replaced only when the link changes, and every field of a torn
    // one is a value that the link had before or has after.
    unsafe { LINKS.get(ifindex) }
}

/// Counts a drop or refusal.
#[inline(always)]
pub(crate) fn count(hook: Hook, reason: DropReason) {
    if let Some(counter) = DROPS.get_ptr_mut(drops::counter(hook, reason)) {
        // SAFETY: the element is this CPU's own, and programs are not preempted by others of
        // their kind.
        unsafe { *counter += 1 };
    }
}

/// Whether this CPU may send one more answer of this kind in this second.
#[inline(always)]
pub(crate) fn may_answer(answer: Answer, now: u32, hz: u32) -> bool {
    let Some(pace) = ANSWERS.get_ptr_mut(answer as u32) else {
        return false;
    };
    // SAFETY: as in `count`.
    let pace = unsafe { &mut *pace };
    if now.wrapping_sub(pace.since) >= hz {
        *pace = Pace {
            since: now,
            answered: 0,
        };
    }
    pace.answered += 1;
    pace.answered <= limits::ANSWERS_PER_SECOND
}
