//! What do clients dial, and where may they end up? Userspace writes these maps.

use crate::addr::Family;

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

impl<A: Family> FrontendKey<A> {
    /// The key of this address, port (host order) and protocol: all but the address in one store, as in
    /// [`super::FlowKey::set_ports`].
    #[inline(always)]
    #[must_use]
    pub fn new(address: A, port: u16, protocol: u8) -> Self {
        let word = if cfg!(target_endian = "little") {
            u32::from(port) | u32::from(protocol) << 16
        } else {
            u32::from(port) << 16 | u32::from(protocol) << 8
        };
        let mut key = Self {
            address,
            ..Self::default()
        };
        if let Some(last) = bytemuck::bytes_of_mut(&mut key).last_chunk_mut() {
            *last = word.to_ne_bytes();
        }
        key
    }
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
/// On a loopback address: only sockets of the node itself can mean it.
pub const FRONTEND_LOOPBACK: u32 = 128;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frontend_ref_is_the_word_that_holds_it() {
        let reference = FrontendRef {
            info: 7,
            service_port: 9,
        };
        assert_eq!(FrontendRef::from_word(bytemuck::cast(reference)), reference);
    }
}
