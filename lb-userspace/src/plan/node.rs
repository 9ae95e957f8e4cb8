//! What of the tables is the node's: its configuration and its addresses?

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::addr::{Ip4, Ip6};
use lb_common::layout::{
    CONFIG_ANSWER_PING, CONFIG_MASQUERADE_ALL, CONFIG_STANDBY, CONFIG_TAKEOVER, Config, Prefix,
};
use lb_common::limits::{LAYOUT_VERSION, PREFIXES};

use crate::model::{Node, Object, ObjectName, Problem};
use crate::tables::{PerFamily, Tables, prefix};

/// What the configuration holds that no object says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigBase {
    /// Key of the hash that draws slots; that of adopted tables wins.
    pub hash_key: u64,
    /// First and last port that SNAT may use.
    pub snat_ports: [u16; 2],
    /// Jiffies in a second.
    pub hz: u32,
    /// This node's address for SNAT where the link that a packet leaves by has none; zero = none.
    pub node4: Ip4,
    /// As `node4`.
    pub node6: Ip6,
    /// Packets of flows from before us still arrive: pass TCP packets that have no flow.
    pub takeover: bool,
    /// Somebody else serves what begins: pass packets that have no flow.
    pub standby: bool,
}

/// The node's elements, and what of its wishes found no room.
#[must_use]
pub(super) fn rows(base: &ConfigBase, node: &Node) -> (Tables, Vec<Problem>) {
    let mut tables = Tables::default();
    let mut problems = Vec::new();
    tables.config = Config {
        layout_version: LAYOUT_VERSION,
        flags: flags(base, node),
        hash_key: base.hash_key,
        snat_ports: base.snat_ports,
        hz: base.hz,
        node4: base.node4,
        node6: base.node6,
        ..Config::default()
    };
    let config = &mut tables.config;
    for (field, fits) in [
        ("podCIDRs", fill(&mut config.pods4, &node.pod_cidrs)),
        ("podCIDRs", fill(&mut config.pods6, &node.pod_cidrs)),
        (
            "serviceCIDRs",
            fill(&mut config.services4, &node.service_cidrs),
        ),
        (
            "serviceCIDRs",
            fill(&mut config.services6, &node.service_cidrs),
        ),
    ] {
        if !fits {
            let why = format!(
                "only the first {PREFIXES} networks of each family count; join neighbouring ones"
            );
            problems.push(problem(node, field, why));
        }
    }
    tables.v4.nodes = addresses(&node.addresses);
    tables.v6.nodes = addresses(&node.addresses);
    (tables, problems)
}

fn flags(base: &ConfigBase, node: &Node) -> u32 {
    let mut flags = 0;
    if node.masquerade_all {
        flags |= CONFIG_MASQUERADE_ALL;
    }
    if node.answer_ping {
        flags |= CONFIG_ANSWER_PING;
    }
    if base.takeover {
        flags |= CONFIG_TAKEOVER;
    }
    if base.standby {
        flags |= CONFIG_STANDBY;
    }
    flags
}

/// Fills the list with the family's networks, sorted and each once; false if there is no room for
/// all of them.
fn fill<A: PerFamily>(list: &mut [Prefix<A>; PREFIXES], networks: &[IpNet]) -> bool {
    let networks: BTreeSet<IpNet> = networks.iter().map(IpNet::trunc).collect();
    let mut prefixes = networks.into_iter().filter_map(prefix);
    for (to, from) in list.iter_mut().zip(&mut prefixes) {
        *to = from;
    }
    prefixes.next().is_none()
}

/// Something about the node.
pub(super) fn problem(node: &Node, field: impl Into<String>, why: impl Into<String>) -> Problem {
    Problem {
        object: Object {
            kind: "Node".to_owned(),
            name: ObjectName::new("", &node.name),
        },
        field: field.into(),
        why: why.into(),
        place: None,
    }
}

fn addresses<A: PerFamily>(addresses: &BTreeSet<IpAddr>) -> BTreeSet<A> {
    addresses.iter().copied().filter_map(A::from_ip).collect()
}
