//! How is a node connected to the others: by a link as it is, or by one that is made of others?

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;

use super::addresses::{self, Family, Pair};
use super::node::{Node, UPLINK};
use super::place::Place;

/// What the node's uplink is made of.
pub const TRUNK: &str = "trunk";
/// Below VLANs of a VLAN.
const OUTER: &str = "outer";
/// The longest packet of an uplink.
const MTU: u32 = 1_500;
/// Bytes of a tag: the kernel has room for one beyond what a link takes, and not for two.
const TAG: u32 = 4;
/// Between two looks at whether a bond's member is up, in milliseconds.
const MONITORED: u32 = 50;

/// What a node's uplink is; its name is [`UPLINK`] in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uplink {
    /// The end of a veth pair.
    Veth,
    /// Two of them, of which one is in use.
    Bond,
    /// A VLAN of [`TRUNK`], the end of a veth pair. The tag is beside the packet, as most cards leave it.
    Vlan,
    /// A VLAN of a VLAN of [`TRUNK`], a bond. The tags are in the frame.
    QinqOfBond,
}

/// A tag's protocol and its number.
type Tag = (&'static str, u16);

impl Uplink {
    /// The node's ends of the veth pairs.
    const fn members(self) -> &'static [&'static str] {
        match self {
            Self::Veth => &[UPLINK],
            Self::Vlan => &[TRUNK],
            Self::Bond | Self::QinqOfBond => &["eth1", "eth2"],
        }
    }

    /// What they are bonded to.
    const fn bond(self) -> Option<&'static str> {
        match self {
            Self::Veth | Self::Vlan => None,
            Self::Bond => Some(UPLINK),
            Self::QinqOfBond => Some(TRUNK),
        }
    }

    /// From the outermost to the innermost.
    const fn tags(self) -> &'static [Tag] {
        match self {
            Self::Veth | Self::Bond => &[],
            Self::Vlan => &[("802.1Q", 100)],
            Self::QinqOfBond => &[("802.1ad", 200), ("802.1Q", 100)],
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
        let mtu = if self.tags().is_empty() {
            MTU
        } else {
            MTU + TAG
        };
        let mut at_router = String::new();
        for ((end, index), member) in self.ends(node).iter().zip(self.members()) {
            let netns = there.path();
            let netns = netns.display();
            writeln!(
                at_router,
                "link add {end} index {index} mtu {mtu} type veth peer name {member} mtu {mtu} netns {netns}
                 link set {end} up"
            )?;
            let names = |of: usize| match of {
                0 => end.clone(),
                of => format!("{end}.{of}"),
            };
            at_router += &stack(self.tags(), names)?;
            let port = names(self.tags().len());
            writeln!(at_router, "link set {port} master {lan} up")?;
        }
        router.netns().ip(&at_router)?;
        let mut at_node = String::new();
        if let Some(bond) = self.bond() {
            let monitored = format!("mode active-backup miimon {MONITORED}");
            writeln!(at_node, "link add {bond} mtu {mtu} type bond {monitored}")?;
            for member in self.members() {
                writeln!(at_node, "link set {member} master {bond}")?;
            }
            writeln!(at_node, "link set {bond} up")?;
        }
        if !self.tags().is_empty() {
            // A network of its own besides, so that it is an uplink, too.
            let n = node.number() + 2;
            writeln!(
                at_node,
                "link set {TRUNK} up
                 addr add 192.0.2.{n}/24 dev {TRUNK}"
            )?;
        }
        at_node += &stack(self.tags(), |of| {
            let name = match of {
                0 => TRUNK,
                of if of == self.tags().len() => UPLINK,
                _ => OUTER,
            };
            name.to_owned()
        })?;
        at_node += &up(node)?;
        there.ip(&at_node)?;
        if self == Self::QinqOfBond {
            self.keep_tags_in_frames(router, node)?;
        }
        Ok(())
    }

    /// A link that cannot take a tag beside a packet gets it in the frame.
    fn keep_tags_in_frames(self, router: &Place, node: &Node) -> Result<()> {
        let ends = self.ends(node);
        let at_router = ends.iter().map(|(end, _)| (router, end.as_str()));
        let at_node = self.members().iter().map(|member| (node.place(), *member));
        for (place, link) in at_router.chain(at_node) {
            let mut ethtool = Command::new("ethtool");
            ethtool.args(["-K", link, "txvlan", "off"]);
            place
                .netns()
                .output(ethtool.args(["tx-vlan-stag-hw-insert", "off"]))?;
        }
        Ok(())
    }
}

/// Commands that make VLANs of VLANs; the link below them all has the name number 0.
fn stack(tags: &[Tag], name: impl Fn(usize) -> String) -> Result<String> {
    let mut commands = String::new();
    for (below, (protocol, id)) in tags.iter().enumerate() {
        let (below, above) = (name(below), name(below + 1));
        writeln!(
            commands,
            "link add link {below} name {above} mtu {MTU} type vlan protocol {protocol} id {id}
             link set {above} up"
        )?;
    }
    Ok(commands)
}

/// Commands that give the node's uplink its addresses and routes.
fn up(node: &Node) -> Result<String> {
    let [bits4, bits6] = addresses::LAN_BITS;
    let Pair { v4, v6 } = addresses::router();
    let mut commands = String::new();
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
