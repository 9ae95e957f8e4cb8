//! How are Services read from files and followed as the files change?

use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;

use super::Allocations;

/// Node ports are given from here unless `--nodeport-range` says otherwise (as the API server
/// does).
pub const NODE_PORT_RANGE: RangeInclusive<u16> = 30_000..=32_767;

/// What to read, and what the API server would have known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Files and directories; `-` is standard input.
    pub paths: Vec<PathBuf>,
    /// Name of this node.
    pub node_name: String,
    /// `--service-cidr`: ClusterIPs are given from here and from ServiceCIDR objects.
    pub service_cidrs: Vec<IpNet>,
    /// `--nodeport-range`: node ports are given from here.
    pub node_port_range: RangeInclusive<u16>,
    /// What was given before the restart.
    pub allocations: Allocations,
}
