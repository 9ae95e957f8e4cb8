//! How does an overlay carry packets between pods of different nodes? In VXLAN, with every
//! neighbour written down, as Flannel does.

use std::process::Command;

use anyhow::Result;

use super::UPLINK;
use super::addresses;
use super::node::Node;
use crate::command;

/// The tunnel's device.
const TUNNEL: &str = "flannel.1";

/// Gives every node a tunnel to all others.
pub(super) fn connect(nodes: &[Node]) -> Result<()> {
    for node in nodes {
        let own = addresses::pod(node.number(), 0);
        let local = addresses::node(node.number()).v4;
        let netns = node.place().netns();
        netns.ip(&format!(
            "link add {TUNNEL} address {mac} type vxlan id 1 dev {UPLINK} local {local} dstport 8472 nolearning
             link set {TUNNEL} up
             addr add {v4}/32 dev {TUNNEL}
             addr add {v6}/128 dev {TUNNEL} nodad",
            mac = mac(node),
            v4 = own.v4,
            v6 = own.v6,
        ))?;
        for other in nodes.iter().filter(|other| other.number() != node.number()) {
            let (theirs, mac) = (addresses::pod(other.number(), 0), mac(other));
            let (v4, v6) = (theirs.v4, theirs.v6);
            netns.ip(&format!(
                "neigh add {v4} lladdr {mac} dev {TUNNEL} nud permanent
                 neigh add {v6} lladdr {mac} dev {TUNNEL} nud permanent
                 route add {v4}/24 via {v4} dev {TUNNEL} onlink
                 route add {v6}/64 via {v6} dev {TUNNEL} onlink"
            ))?;
            let remote = addresses::node(other.number()).v4;
            let entry = format!("fdb append {mac} dev {TUNNEL} dst {remote}");
            netns.run(|| command::feed(Command::new("bridge").args(["-batch", "-"]), &entry))?;
        }
    }
    Ok(())
}

/// The tunnel's link-layer address on a node.
fn mac(node: &Node) -> String {
    format!("0e:00:00:00:00:{:02x}", node.number() + 1)
}
