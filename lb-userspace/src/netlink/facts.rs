//! Which links, addresses and default routes are there? Collected from the kernel's messages, one
//! by one, whether they answer a question or tell of a change.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};

use super::Netlink;

/// What there is in this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Links by interface index.
    pub links: BTreeMap<u32, Link>,
    /// Indices of the links that default routes lead to.
    pub default_routes: BTreeSet<u32>,
}

/// A network link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, as the kernel tells it"
)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What made it: `veth`, `bridge`, `vxlan`...; empty for physical devices and loopback.
    pub kind: String,
    /// It is a loopback.
    pub loopback: bool,
    /// It is administratively up.
    pub up: bool,
    /// Its packets have an Ethernet header.
    pub ethernet: bool,
    /// Its other end is in another network namespace.
    pub peer_elsewhere: bool,
    /// Index of the bridge, bond or VRF that it is a port of.
    pub master: Option<u32>,
    /// Index of the link that it is a VLAN of, if that is what it is.
    pub vlan_of: Option<u32>,
    /// Id of the program at its XDP hook.
    pub xdp: Option<u32>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Its addresses, in the kernel's order: primary ones first.
    pub addresses: Vec<Address>,
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Valid beyond its link.
    pub global: bool,
    /// May be a source: neither deprecated, secondary nor still being checked for duplicates.
    pub preferred: bool,
}

/// What a message changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing that we collect.
    Nothing,
    /// Filters or qdiscs of the link with this index.
    Filters(u32),
    /// Links or addresses.
    Links,
    /// Default routes, or what they depend on: ask for them again, as the kernel does not tell of
    /// every route that goes.
    Routes,
}

impl Facts {
    /// Asks the kernel for everything.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn ask(netlink: &mut Netlink) -> io::Result<Self> {
        let mut facts = Self::default();
        for question in [
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        ] {
            for answer in netlink.dump(&question)? {
                facts.apply(&answer);
            }
        }
        facts.ask_routes(netlink)?;
        Ok(facts)
    }

    /// Asks the kernel for the default routes; true if they differ from those known.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn ask_routes(&mut self, netlink: &mut Netlink) -> io::Result<bool> {
        let question = RouteNetlinkMessage::GetRoute(RouteMessage::default());
        let mut default_routes = BTreeSet::new();
        for answer in netlink.dump(&question)? {
            if let RouteNetlinkMessage::NewRoute(route) = answer
                && is_default(&route)
            {
                default_routes.extend(links_of(&route));
            }
        }
        let changed = default_routes != self.default_routes;
        self.default_routes = default_routes;
        Ok(changed)
    }

    /// Takes in one message.
    pub fn apply(&mut self, message: &RouteNetlinkMessage) -> Effect {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.set_link(link),
            RouteNetlinkMessage::DelLink(link) => match self.links.remove(&link.header.index) {
                Some(_) => Effect::Routes,
                None => Effect::Nothing,
            },
            RouteNetlinkMessage::NewAddress(address) => self.set_address(address),
            RouteNetlinkMessage::DelAddress(address) => self.remove_address(address),
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)
                if is_default(route) =>
            {
                Effect::Routes
            }
            RouteNetlinkMessage::NewQueueDiscipline(tc)
            | RouteNetlinkMessage::DelQueueDiscipline(tc)
            | RouteNetlinkMessage::NewTrafficFilter(tc)
            | RouteNetlinkMessage::DelTrafficFilter(tc) => {
                Effect::Filters(tc.header.index.cast_unsigned())
            }
            _ => Effect::Nothing,
        }
    }

    fn set_link(&mut self, message: &LinkMessage) -> Effect {
        // Messages of other families (a bridge's, about its ports) do not describe the whole link.
        if message.header.interface_family != netlink_packet_route::AddressFamily::Unspec {
            return Effect::Nothing;
        }
        let before = self.links.get(&message.header.index);
        let addresses = before.map(|link| link.addresses.clone());
        let after = Link {
            addresses: addresses.unwrap_or_default(),
            ..link_of(message)
        };
        let effect = match before {
            Some(before) if *before == after => Effect::Nothing,
            Some(before) if before.up == after.up => Effect::Links,
            _ => Effect::Routes,
        };
        self.links.insert(message.header.index, after);
        effect
    }

    fn set_address(&mut self, message: &AddressMessage) -> Effect {
        let Some((link, address)) = self.address_of(message) else {
            return Effect::Nothing;
        };
        match link.addresses.iter_mut().find(|a| a.ip == address.ip) {
            Some(known) if *known == address => return Effect::Nothing,
            Some(known) => *known = address,
            None => link.addresses.push(address),
        }
        Effect::Links
    }

    fn remove_address(&mut self, message: &AddressMessage) -> Effect {
        let Some((link, address)) = self.address_of(message) else {
            return Effect::Nothing;
        };
        link.addresses.retain(|known| known.ip != address.ip);
        Effect::Links
    }

    fn address_of(&mut self, message: &AddressMessage) -> Option<(&mut Link, Address)> {
        let link = self.links.get_mut(&message.header.index)?;
        Some((link, address_of(message)?))
    }
}

fn link_of(message: &LinkMessage) -> Link {
    let header = &message.header;
    let mut link = Link {
        loopback: header.flags.contains(LinkFlags::Loopback),
        up: header.flags.contains(LinkFlags::Up),
        ethernet: header.link_layer_type == LinkLayerType::Ether,
        ..Link::default()
    };
    let mut below = None;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Link(index) => below = Some(*index),
            LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
            LinkAttribute::Xdp(xdp) => link.xdp = xdp.iter().find_map(program_of),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(kind_of).unwrap_or_default();
            }
            _ => {}
        }
    }
    link.vlan_of = below.filter(|_| link.kind == "vlan");
    link
}

fn program_of(xdp: &LinkXdp) -> Option<u32> {
    match xdp {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    }
}

fn kind_of(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(InfoKind::Other(kind)) => Some(kind.clone()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

fn address_of(message: &AddressMessage) -> Option<Address> {
    let mut ip = None;
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the other end's.
            AddressAttribute::Local(local) => ip = Some(*local),
            AddressAttribute::Address(address) => ip = ip.or(Some(*address)),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let unfit = AddressFlags::Deprecated
        | AddressFlags::Secondary
        | AddressFlags::Tentative
        | AddressFlags::Dadfailed;
    Some(Address {
        ip: ip?,
        global: matches!(
            message.header.scope,
            AddressScope::Universe | AddressScope::Site
        ),
        preferred: !flags.intersects(unfit),
    })
}

fn is_default(route: &RouteMessage) -> bool {
    let RouteHeader {
        destination_prefix_length: 0,
        kind: RouteType::Unicast,
        ..
    } = route.header
    else {
        return false;
    };
    true
}

fn links_of(route: &RouteMessage) -> impl Iterator<Item = u32> {
    route
        .attributes
        .iter()
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => vec![*index],
            RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
            _ => Vec::new(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth(index: u32, up: bool) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.link_layer_type = LinkLayerType::Ether;
        if up {
            message.header.flags |= LinkFlags::Up;
        }
        message.attributes = vec![
            LinkAttribute::IfName(format!("veth{index}")),
            LinkAttribute::Mtu(1450),
            LinkAttribute::LinkNetNsId(0),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
        ];
        RouteNetlinkMessage::NewLink(message)
    }

    fn address(index: u32, ip: &str, flags: AddressFlags) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.scope = AddressScope::Universe;
        message.attributes = vec![
            AddressAttribute::Address(ip.parse().expect("an address")),
            AddressAttribute::Flags(flags),
        ];
        message
    }

    #[test]
    fn a_link_is_told_once_and_keeps_its_addresses() {
        let mut facts = Facts::default();
        assert_eq!(facts.apply(&veth(7, false)), Effect::Routes);
        assert_eq!(facts.apply(&veth(7, false)), Effect::Nothing);
        let own = address(7, "10.42.0.1", AddressFlags::Permanent);
        assert_eq!(
            facts.apply(&RouteNetlinkMessage::NewAddress(own.clone())),
            Effect::Links
        );
        assert_eq!(facts.apply(&veth(7, true)), Effect::Routes);
        let link = &facts.links[&7];
        assert_eq!((link.name.as_str(), link.kind.as_str()), ("veth7", "veth"));
        assert!(link.ethernet && link.peer_elsewhere && link.up && link.mtu == 1450);
        assert_eq!(
            link.addresses,
            [Address {
                ip: "10.42.0.1".parse().expect("an address"),
                global: true,
                preferred: true,
            }]
        );
        facts.apply(&RouteNetlinkMessage::DelAddress(own));
        assert!(facts.links[&7].addresses.is_empty());
    }

    #[test]
    fn an_address_still_checked_for_duplicates_is_no_source() {
        let mut facts = Facts::default();
        facts.apply(&veth(7, true));
        let checked = address(7, "fd00::1", AddressFlags::Tentative);
        facts.apply(&RouteNetlinkMessage::NewAddress(checked));
        assert!(!facts.links[&7].addresses[0].preferred);
        let ready = address(7, "fd00::1", AddressFlags::Permanent);
        let effect = facts.apply(&RouteNetlinkMessage::NewAddress(ready));
        assert_eq!(effect, Effect::Links);
        assert!(facts.links[&7].addresses[0].preferred);
    }
}
