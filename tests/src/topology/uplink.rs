//! How is a node connected to the others: by a link as it is, or by one that is made of others?

use std::fmt::Write as _;

use anyhow::Result;

use super::addresses::{self, Family, Pair};
use super::node::{Node, UPLINK};
use super::place::Place;

/// What the node's uplink is a VLAN of.
pub const TRUNK: &str = "trunk";
/// That VLAN.
const VLAN: &str = "type vlan id 100";
/// Two links of which one is in use; whether it is up is looked at so often, in milliseconds.
const BOND: &str = "type bond mode active-backup miimon 50";

/// What a node's uplink is; its name is [`UPLINK`] in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// The end of a veth pair.
    Veth,
    /// Two of them, of which one is in use.
    Bond,
    /// A VLAN of [`TRUNK`], the end of a veth pair. The tag is beside the packet, as most cards leave it.
    Vlan,
}

impl Uplink {
    /// The node's ends of the veth pairs.
    const fn members(self) -> &'static [&'static str] {
        match self {
            Self::Veth => &[UPLINK],
            Self::Vlan => &[TRUNK],
            Self::Bond => &["eth1", "eth2"],
        }
    }

    /// The router's ends of the veth pairs, with their interface indexes.
    pub(super) fn ends(self, node: &Node) -> Vec<(String, u32)> {
        // The other numbers are below, or the outside's.
        const SECOND: u8 = 100;
        let end = |(i, _)| {
            let number = node.number() + SECOND * i as u8;
            (format!("{}.{i}", node.name()), super::index(number))
        };
        self.members().iter().enumerate().map(end).collect()
    }

    /// Connects the node with the router's bridge `lan`.
    pub(super) fn connect(self, router: &Place, lan: &str, node: &Node) -> Result<()> {
        let there = node.place().netns();
        let netns = there.path();
        let mut commands = String::new();
        for ((end, index), member) in self.ends(node).iter().zip(self.members()) {
            writeln!(
                commands,
                "link add {end} index {index} type veth peer name {member} netns {netns}
                 link set {end} up",
                netns = netns.display(),
            )?;
            let port = if self == Self::Vlan {
                writeln!(commands, "link add link {end} name {end}.vlan {VLAN}")?;
                format!("{end}.vlan")
            } else {
                end.clone()
            };
            writeln!(commands, "link set {port} master {lan} up")?;
        }
        router.netns().ip(&commands)?;
        there.ip(&self.make(node)?)
    }

    /// Commands that make the node's uplink of the links that it has, with addresses and routes.
    fn make(self, node: &Node) -> Result<String> {
        let mut commands = String::new();
        match self {
            Self::Veth => {}
            Self::Bond => {
                writeln!(commands, "link add {UPLINK} {BOND}")?;
                for member in self.members() {
                    writeln!(commands, "link set {member} master {UPLINK}")?;
                }
            }
            Self::Vlan => writeln!(
                commands,
                "link set {TRUNK} up
                 link add link {TRUNK} name {UPLINK} {VLAN}"
            )?,
        }
        let [bits4, bits6] = addresses::LAN_BITS;
        let Pair { v4, v6 } = addresses::router();
        writeln!(
            commands,
            "link set {UPLINK} up
             addr add {own4}/{bits4} dev {UPLINK}
             addr add {own6}/{bits6} dev {UPLINK} nodad
             route add default via {v4}
             route add default via {v6}",
            own4 = node.place().address(Family::V4),
            own6 = node.place().address(Family::V6),
        )?;
        Ok(commands)
    }
}
