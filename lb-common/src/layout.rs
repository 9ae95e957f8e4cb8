//! What do the BPF maps hold? Keys and values, in the order in which a packet meets them.
//!
//! Rules: fixed-size integers only, no implicit padding (checked below), addresses as octets in
//! network order, ports in host order, text as `i8` (which `bpftool` prints as a string). A change
//! here needs a new [`crate::limits::LAYOUT_VERSION`].

use core::fmt::{self, Write};

use bytemuck::{Pod, Zeroable};

use crate::addr::{Family, Ip4, Ip6};
use crate::limits::{PREFIXES, TEXT};

/// Map `config`, one element: what holds for the whole node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Config {
    /// [`crate::limits::LAYOUT_VERSION`] of whoever wrote the maps.
    pub layout_version: u32,
    /// `CONFIG_*` bits.
    pub flags: u32,
    /// Key of the hash that draws slots; random per node, kept across restarts.
    pub hash_key: u64,
    /// First and last port that SNAT may use.
    pub snat_ports: [u16; 2],
    /// Jiffies in a second.
    pub hz: u32,
    /// Zero.
    pub reserved: u32,
    /// This node's address for SNAT where the link that a packet leaves by has none.
    pub node4: Ip4,
    /// As `node4`.
    pub node6: Ip6,
    /// Prefixes that pods have (`--cluster-cidr`, else the Node's podCIDRs).
    pub pods4: [Prefix<Ip4>; PREFIXES],
    /// Prefixes that ClusterIPs come from.
    pub services4: [Prefix<Ip4>; PREFIXES],
    /// As `pods4`.
    pub pods6: [Prefix<Ip6>; PREFIXES],
    /// As `services4`.
    pub services6: [Prefix<Ip6>; PREFIXES],
}

/// SNAT every connection to a frontend (`--masquerade-all`).
pub const CONFIG_MASQUERADE_ALL: u32 = 1;
/// Packets of flows from before us still arrive: pass TCP packets that have no flow.
pub const CONFIG_TAKEOVER: u32 = 2;

impl Default for Config {
    fn default() -> Self {
        Self::zeroed()
    }
}

/// A network; an entry that is not `used` matches nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Prefix<A> {
    /// The network's address, host bits zero.
    pub network: A,
    /// One bits where addresses are compared.
    pub mask: A,
    /// 1 if the entry counts.
    pub used: u32,
}

impl<A: Family> Prefix<A> {
    /// Whether the network contains the address.
    #[inline(always)]
    #[must_use]
    pub fn contains(&self, address: &A) -> bool {
        self.used != 0 && address.matches(&self.network, &self.mask)
    }
}

/// Map `flows4|6`: the packet as it arrives, before anything is changed.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct FlowKey<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Map `flows4|6`: what becomes of the packet. The other direction's entry is the mirror image:
/// [`crate::flow::mirror`] makes it from this one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Flow<A> {
    /// New source address.
    pub source: A,
    /// New destination address.
    pub destination: A,
    /// New source port, host order.
    pub source_port: u16,
    /// New destination port, host order.
    pub destination_port: u16,
    /// `FLOW_*` bits.
    pub flags: u16,
    /// `TCP_*` bits of [`crate::tcp`] seen in this direction; for UDP [`crate::tcp::SEEN`].
    pub state: u8,
    /// [`Hook`](crate::drops::Hook) that made the entry.
    pub hook: u8,
    /// Id of the service port (map `services`).
    pub service_port: u32,
    /// The backend's generation when the flow began: with address and port it names one endpoint,
    /// which an id does not, as ids are given out again.
    pub generation: u32,
    /// Jiffies, low 32 bits, when the flow began.
    pub created: u32,
    /// Jiffies, low 32 bits, when this direction was last seen.
    pub last_seen: u32,
    /// Packets in this direction (approximate where one flow's packets meet on two CPUs).
    pub packets: u64,
    /// Bytes in this direction, from the IP header on.
    pub bytes: u64,
}

/// The entry is the reply direction (backend to client).
pub const FLOW_REPLY: u16 = 1;
/// The client's address is replaced by the node's: both directions are ours at ingress and leave
/// by redirect.
pub const FLOW_SNAT: u16 = 2;
/// Client and backend are the same pod: back out of the link it came from.
pub const FLOW_HAIRPIN: u16 = 4;
/// Decided by the `outside` pool (an outside client).
pub const FLOW_OUTSIDE: u16 = 8;
/// The port was changed to keep two flows apart; the client's address was not.
pub const FLOW_RENUMBERED: u16 = 16;
/// Affinity chose the backend.
pub const FLOW_AFFINITY: u16 = 32;
/// Client and backend are ports of one bridge, and the packet stays on it.
pub const FLOW_BRIDGED: u16 = 64;

/// Map `frontends4|6`: what a client dials. Port and protocol zero mark the address itself as one
/// whose other ports are refused.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct FrontendKey<A> {
    /// The VIP.
    pub address: A,
    /// Port, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// Map `frontends4|6`: read in one 64-bit load, so that a change is seen whole or not at all.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C, align(8))]
pub struct FrontendRef {
    /// Index into map `frontend_info4|6`.
    pub info: u32,
    /// Id of the service port (map `services`).
    pub service_port: u32,
}

impl FrontendRef {
    /// The reference from the 64-bit word that holds it.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        let b = word.to_ne_bytes();
        Self {
            info: u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            service_port: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        }
    }
}

/// Map `frontend_info4|6`: all about a frontend. Never changed while a [`FrontendRef`] names it;
/// its key is repeated because a hash element may be recycled under its reader.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct FrontendInfo<A> {
    /// Whose information this is.
    pub key: FrontendKey<A>,
    /// Id of the service port (map `services`).
    pub service_port: u32,
    /// `FRONTEND_*` bits.
    pub flags: u32,
    /// Seconds that ClientIP affinity lasts; 0 = no affinity.
    pub affinity_seconds: u32,
    /// Serves pods and nodes.
    pub inside: Pool,
    /// Serves everybody else.
    pub outside: Pool,
}

/// A ClusterIP.
pub const FRONTEND_CLUSTER_IP: u32 = 1;
/// A node's address with a nodePort.
pub const FRONTEND_NODE_PORT: u32 = 2;
/// One of `spec.externalIPs`.
pub const FRONTEND_EXTERNAL_IP: u32 = 4;
/// An ingress address of a load balancer.
pub const FRONTEND_LOAD_BALANCER: u32 = 8;
/// Only sources in map `ranges4|6` are served.
pub const FRONTEND_SOURCE_RANGES: u32 = 16;
/// Not a frontend but its address: other ports of it are refused.
pub const FRONTEND_ADDRESS: u32 = 32;
/// The slots are a Maglev table.
pub const FRONTEND_MAGLEV: u32 = 64;

/// The slots that a frontend chooses from.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Pool {
    /// Index into map `slots`.
    pub first: u32,
    /// How many slots; 0 = nobody to serve.
    pub count: u32,
    /// `POOL_*` bits.
    pub flags: u32,
}

/// Only endpoints on this node (a `Local` policy).
pub const POOL_LOCAL: u32 = 1;
/// If empty: drop in silence, because other nodes have endpoints (a `Local` policy's way).
pub const POOL_DROP: u32 = 2;

/// Map `backends4|6`: a destination that the datapath may choose.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Backend<A> {
    /// Address of the endpoint.
    pub address: A,
    /// Port, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// `BACKEND_*` bits; the only field that changes while a slot names the entry.
    pub flags: u8,
    /// Id of the service port (map `services`).
    pub service_port: u32,
    /// A number that no other backend of this node had before: counts up with each new one.
    pub generation: u32,
}

/// The endpoint is on this node.
pub const BACKEND_LOCAL: u8 = 1;
/// The endpoint's address is the node's own.
pub const BACKEND_HOST_NETWORK: u8 = 2;
/// The endpoint is terminating.
pub const BACKEND_TERMINATING: u8 = 4;
/// Pools without [`POOL_LOCAL`] have a slot of it.
pub const BACKEND_IN_CLUSTER: u8 = 8;
/// Pools with [`POOL_LOCAL`] have a slot of it.
pub const BACKEND_IN_LOCAL: u8 = 16;

/// Map `ranges4|6` (longest prefix match): the sources that a service port admits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct RangeKey<A> {
    /// Bits that count, the 32 of the service port included.
    pub prefix_length: u32,
    /// Id of the service port, compared exactly.
    pub service_port: u32,
    /// The network's address.
    pub network: A,
}

/// Map `affinity4|6`: who asks.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct AffinityKey<A> {
    /// The client's address.
    pub client: A,
    /// Id of the service port (map `services`).
    pub service_port: u32,
}

/// Map `affinity4|6`: whom it got.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Affinity {
    /// Id of the backend.
    pub backend: u32,
    /// The backend's generation then: an id given to another backend is no affinity.
    pub generation: u32,
    /// Jiffies, low 32 bits, of the last use.
    pub last_used: u32,
}

/// Map `snat4|6`, by the [`FlowKey`] of the reply: who holds this port toward this backend.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Reservation<A> {
    /// The client's address.
    pub client: A,
    /// The frontend's address.
    pub frontend: A,
    /// The client's port, host order.
    pub client_port: u16,
    /// The frontend's port, host order.
    pub frontend_port: u16,
}

/// Map `sockets4|6`: a socket and the backend that it talks to.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct SocketKey<A> {
    /// The socket's cookie, lower half first.
    pub cookie: [u32; 2],
    /// The backend's address.
    pub backend: A,
    /// The backend's port, host order.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

impl<A> SocketKey<A> {
    /// The key of a socket and its backend (port in host order).
    #[inline(always)]
    #[must_use]
    pub const fn new(cookie: u64, backend: A, port: u16) -> Self {
        Self {
            cookie: [cookie as u32, (cookie >> 32) as u32],
            backend,
            port,
            reserved: 0,
        }
    }
}

/// Map `sockets4|6`: the frontend that the socket dialled.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct SocketFlow<A> {
    /// The frontend's address.
    pub frontend: A,
    /// The frontend's port, host order.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
    /// Id of the service port (map `services`).
    pub service_port: u32,
    /// The backend's generation.
    pub generation: u32,
}

/// Map `links`, by interface index: what transit needs to know of a link.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Link {
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// `LINK_*` bits.
    pub flags: u32,
    /// Interface index of the bridge that the link is a port of; 0 = of none.
    pub master: u32,
    /// Source of packets that SNAT sends out here; zero = the link has none.
    pub address4: Ip4,
    /// As `address4`.
    pub address6: Ip6,
}

/// Leads to other nodes or outside.
pub const LINK_UPLINK: u32 = 1;
/// Leads to a pod.
pub const LINK_POD: u32 = 2;
/// Runs our XDP program natively, so it also takes frames that XDP redirects to it.
pub const LINK_XDP: u32 = 4;

/// Map `services`, by id: names, for people; no program reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct ServiceName {
    /// Namespace, UTF-8, zero-terminated.
    pub namespace: [i8; TEXT],
    /// Name of the Service.
    pub name: [i8; TEXT],
    /// Name of the port; empty = unnamed.
    pub port_name: [i8; TEXT],
    /// The Service's port, host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

impl Default for ServiceName {
    fn default() -> Self {
        Self::zeroed()
    }
}

/// `namespace/name:port-name`, the last part only where the port has a name.
impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(f, "", &self.namespace)?;
        write_text(f, "/", &self.name)?;
        if self.port_name[0] == 0 {
            Ok(())
        } else {
            write_text(f, ":", &self.port_name)
        }
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {}/{}", self.port, self.protocol)
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, before: &str, text: &[i8; TEXT]) -> fmt::Result {
    f.write_str(before)?;
    text_bytes(text).try_for_each(|byte| f.write_char(char::from(byte)))
}

/// Zero-terminated text as the maps hold it; what does not fit is cut at the last whole character.
#[must_use]
pub fn text(from: &str) -> [i8; TEXT] {
    let mut end = from.len().min(TEXT - 1);
    while !from.is_char_boundary(end) {
        end -= 1;
    }
    let mut to = [0; TEXT];
    for (to, from) in to.iter_mut().zip(&from.as_bytes()[..end]) {
        *to = from.cast_signed();
    }
    to
}

/// The text up to its first zero, as bytes.
pub fn text_bytes(from: &[i8; TEXT]) -> impl Iterator<Item = u8> {
    from.iter()
        .take_while(|&&c| c != 0)
        .map(|&c| c.cast_unsigned())
}

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
    AffinityKey = 1 addresses + 4;
    Reservation = 2 addresses + 4;
    SocketKey = 1 addresses + 8 + 4;
    SocketFlow = 1 addresses + 4 + 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character_and_terminated() {
        let long = "ä".repeat(40);
        let kept: std::vec::Vec<u8> = text_bytes(&text(&long)).collect();
        assert_eq!(kept, "ä".repeat(31).as_bytes());
    }

    #[test]
    fn a_frontend_ref_is_the_word_that_holds_it() {
        let reference = FrontendRef {
            info: 7,
            service_port: 9,
        };
        assert_eq!(FrontendRef::from_word(bytemuck::cast(reference)), reference);
    }
}
