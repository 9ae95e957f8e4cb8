//! What holds for the whole node, and for its links?

use bytemuck::Zeroable;

use crate::addr::{Family, Ip4, Ip6};
use crate::limits::PREFIXES;

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
/// Answer pings of ClusterIPs (`--answer-ping`).
pub const CONFIG_ANSWER_PING: u32 = 4;
/// Somebody else serves what begins: packets that have no flow pass.
pub const CONFIG_STANDBY: u32 = 8;

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
