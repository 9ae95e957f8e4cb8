//! How much of everything is there, and why just that much?

/// Version of everything in [`crate::layout`], of the maps that are pinned and of what their values
/// mean; an unknown one is never adopted.
///
/// It goes up once for each release in which any of these differs from the release before, as an
/// upgrade then ends connections. A map that is only new needs none: it is made where it is missing.
/// `tests/tests/loader/layout.txt` shows what cannot be seen there.
pub const LAYOUT_VERSION: u32 = 4;

/// Frontends per family by default: 10,000 Services with a ClusterIP, a NodePort on two addresses
/// and the entry that marks the VIP itself, with room to spare.
pub const FRONTENDS: u32 = 1 << 16;

/// Pools per family: one for each frontend, plus those waiting to be reused.
pub const POOLS: u32 = FRONTENDS + (FRONTENDS / 2);

/// Backends per family: 10,000 Services × 10 endpoints, plus those waiting to be reused.
pub const BACKENDS: u32 = 1 << 17;

/// Slots, shared by both families: two scopes for each of the backends, plus those waiting.
pub const SLOTS: u32 = 1 << 19;

/// Service ports, the unit of counters and names.
pub const SERVICE_PORTS: u32 = 1 << 16;

/// Flow entries per family (two for each flow).
pub const FLOWS: u32 = 1 << 18;

/// Of so many flow entries there is one place in the queue of flows that may go: these can fill half
/// of the table at most, as each has two entries.
pub const ENTRIES_PER_EVICTABLE: u32 = 4;

/// Flows per family that may go when others need room: those that only begin, and those that are
/// over. As many must come after one before it goes.
pub const EVICTABLE: u32 = FLOWS / ENTRIES_PER_EVICTABLE;

/// Datagrams in fragments per family whose first one is remembered. Those of a second at 1 Gbit/s
/// are fewer, at 8 kB each.
pub const FRAGMENTS: u32 = 1 << 14;

/// Fragments follow their first for so long, in seconds: what RFC 791 gives a datagram to be put
/// together again.
pub const FRAGMENT_SECONDS: u32 = 15;

/// Extension headers that are read before the transport header: bounds the verifier's loop.
pub const EXTENSION_HEADERS: u32 = 8;

/// Bytes that these may have in all. Who sends more is up to something else than to reach a Service.
pub const EXTENSION_BYTES: usize = 512;

/// SNAT reservations per family; each holds one (address, port, backend, protocol).
pub const RESERVATIONS: u32 = 1 << 16;

/// Affinity entries per family: one for each client and service port.
pub const AFFINITIES: u32 = 1 << 16;

/// Unconnected sockets and backends that they sent to, per family: so many pairs know which frontend was named.
pub const SOCKETS: u32 = 1 << 16;

/// Connected sockets whose frontend is noted in one set.
pub const CONNECTED_WAYS: usize = 4;

/// Sets in an element of map `connected4|6`: what says who is in them fills a cache line.
pub const CONNECTED_SETS: usize = 8;

/// Elements of map `connected4|6`: in all, sets for 65,536 open sockets per family that dialled a frontend.
pub const CONNECTED: u32 = 1 << 11;

/// Source ranges per family.
pub const RANGES: u32 = 1 << 14;

/// Addresses of this node per family.
pub const NODE_ADDRESSES: u32 = 1 << 8;

/// Words of marks in a sieve: 16 bits for each of [`BACKENDS`], 256 KiB in each family, so that even
/// with a full table hardly one packet in eight is looked at in vain.
pub const SIEVE_WORDS: usize = 1 << 15;

/// Links that programs are attached to or that transit leaves by.
pub const LINKS: u32 = 1 << 12;

/// Prefixes of each kind and family in [`crate::layout::Config`]: the packet path compares them
/// one by one, so there are few.
pub const PREFIXES: usize = 8;

/// Candidates tried before SNAT gives up on a port: bounds the verifier's loop.
pub const SNAT_TRIES: u32 = 16;

/// Answers of each kind (refusals, a router's errors, pings) that one CPU sends in a second; the rest
/// is dropped in silence, so that a flood is not doubled.
pub const ANSWERS_PER_SECOND: u32 = 1_000;

/// Bytes of a namespace, Service or port name with its final zero: DNS labels have up to 63.
pub const TEXT: usize = 64;

/// A ClientIP affinity lasts so long, in seconds, unless the Service says otherwise (Kubernetes).
pub const AFFINITY_SECONDS: u32 = 10_800;

/// An id, a pool or an extent of slots is reused only so long after the last reference went, in
/// milliseconds: no packet is under way in a program for as long as that.
pub const REUSE_AFTER_MILLIS: u64 = 1_000;

const _: () = assert!(CONNECTED.is_power_of_two() && CONNECTED_SETS.is_power_of_two());
const _: () = assert!(POOLS > FRONTENDS && SLOTS > 2 * BACKENDS);
