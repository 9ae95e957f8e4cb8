//! Which program goes to which hook of which link, as links come, change and go?

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::drops::Hook;
use lb_common::layout::{self, LINK_POD, LINK_UPLINK, LINK_XDP};

use super::programs::{Header, Programs};
use super::roles::{self, Role};
use super::{Datapath, Device, LoadError, Remark};
use crate::model::{Object, ObjectName, Problem};
use crate::netlink::Facts;
use crate::netlink::facts::Link;
use crate::netlink::filters::Direction;
use crate::settings::XdpMode;

/// Stands for the node where a link's index stands otherwise; no link has it.
const NODE: u32 = 0;

/// The program for uplinks at XDP.
const XDP_UPLINK: &str = "xdp_uplink";

/// The program at traffic control.
pub(super) const fn tc_program(role: Role, direction: Direction) -> &'static str {
    match (role, direction) {
        (Role::Pod, Direction::In) => "tc_pod_in",
        (Role::Pod, Direction::Out) => "tc_pod_out",
        (Role::Uplink, Direction::In) => "tc_uplink_in",
        (Role::Uplink, Direction::Out) => "tc_uplink_out",
    }
}

/// Loads what links with Ethernet headers need, so that a new one need not wait for the verifier.
pub(super) fn preload(programs: &mut Programs, hooks: &[Hook]) -> Result<(), LoadError> {
    if hooks.contains(&Hook::Tc) {
        for role in [Role::Pod, Role::Uplink] {
            for direction in Direction::ALL {
                programs.get(Header::Ethernet, tc_program(role, direction))?;
            }
        }
    }
    if hooks.contains(&Hook::Xdp) {
        programs.get(Header::Ethernet, XDP_UPLINK)?;
    }
    Ok(())
}

impl Datapath {
    /// Brings programs to their hooks, in place of those that are there: to socket calls, and to the
    /// links that are there now; takes them from links that are no longer meant, and writes map
    /// `links`. What has not changed since the last time, and is well, costs nothing. Returns what
    /// is wrong now.
    pub fn attach(&mut self, facts: &Facts, node_addresses: &BTreeSet<IpAddr>) -> Vec<Problem> {
        let stale = std::mem::take(&mut self.stale);
        let roles = roles::roles(facts, &self.options.patterns, node_addresses);
        self.detach_others(facts, &roles);
        for (&index, &role) in &roles {
            let link = &facts.links[&index];
            let before = self.attached.get(&index);
            let now = (role, link.clone(), has_vlans(facts, index));
            let is_known = before == Some(&now);
            if !is_known || stale.contains(&index) || self.problems.contains_key(&index) {
                let results = self.attach_link(index, &now);
                self.note(index, &link.name, results);
                let before = self.attached.insert(index, now);
                if before.is_none_or(|(before, ..)| before != role) {
                    tracing::info!(link = link.name, index, ?role, "programs attached");
                }
            }
        }
        let results = [self.attach_sockets(), self.write_links(facts, &roles)];
        let results = results.map(|result| result.map(|()| None));
        self.note(NODE, "", results.into());
        self.problems.values().flatten().cloned().collect()
    }

    fn attach_link(
        &mut self,
        index: u32,
        (role, link, has_vlans): &Attached,
    ) -> Vec<Result<Remark, LoadError>> {
        let role = *role;
        let device = Device {
            index,
            name: &link.name,
        };
        let header = Header::of(link.ethernet);
        let mut results = Vec::new();
        if self.options.hooks.contains(&Hook::Tc) {
            for direction in Direction::ALL {
                results.push(self.attach_tc(device, direction, header, role));
            }
        } else {
            results.push(self.hooks.clear_tc(device).map(|()| None));
        }
        let takes_xdp =
            role == Role::Uplink && link.ethernet && self.options.hooks.contains(&Hook::Xdp);
        if takes_xdp && !has_vlans {
            results.push(self.attach_xdp(device, link.mtu));
        } else {
            let why = takes_xdp.then(|| VLANS_SHARE_XDP.to_owned());
            results.push(self.hooks.clear_xdp(device).map(|()| why));
        }
        results
    }

    fn attach_tc(
        &mut self,
        device: Device<'_>,
        direction: Direction,
        header: Header,
        role: Role,
    ) -> Result<Remark, LoadError> {
        let name = tc_program(role, direction);
        let id = self.programs.get(header, name)?.id;
        let program = if self.hooks.must_move(device.index, direction, id) {
            self.programs.again(header, name)?
        } else {
            self.programs.get(header, name)?
        };
        self.hooks.set_tc(device, direction, program)
    }

    fn attach_xdp(&mut self, device: Device<'_>, mtu: u32) -> Result<Remark, LoadError> {
        let program = self.programs.get(Header::Ethernet, XDP_UPLINK)?;
        let remark = self.hooks.set_xdp(device, self.options.xdp, program)?;
        Ok(remark.map(|why| match xdp_needs_one_buffer(mtu) {
            Some(hint) => format!("{why}; {hint}"),
            None => why,
        }))
    }

    /// Takes our programs from links that have no role any more, or that are gone.
    fn detach_others(&mut self, facts: &Facts, roles: &BTreeMap<u32, Role>) {
        let first_time = self.attached.is_empty();
        let mut others = self.hooks.devices();
        others.extend(self.attached.keys());
        if first_time {
            // Filters of ours are known by looking only.
            others.extend(facts.links.keys());
        }
        others.retain(|index| !roles.contains_key(index));
        for index in others {
            let was_attached = self.attached.remove(&index).is_some();
            let result = match facts.links.get(&index) {
                Some(link) => self.detach_link(index, &link.name),
                None => self.hooks.forget(index),
            };
            self.note(index, &index.to_string(), vec![result.map(|()| None)]);
            if was_attached {
                tracing::info!(index, "programs detached");
            }
        }
    }

    fn detach_link(&mut self, index: u32, name: &str) -> Result<(), LoadError> {
        let device = Device { index, name };
        self.hooks.clear_xdp(device)?;
        self.hooks.clear_tc(device)
    }

    /// Keeps what is wrong with a link, and only that.
    fn note(&mut self, index: u32, name: &str, results: Vec<Result<Remark, LoadError>>) {
        let whys = results.into_iter().filter_map(|result| match result {
            Ok(remark) => remark,
            Err(error) => Some(error.to_string()),
        });
        let kind = if index == NODE { "Node" } else { "Link" };
        let problems: Vec<Problem> = whys.map(|why| problem(kind, name, why)).collect();
        if problems.is_empty() {
            self.problems.remove(&index);
        } else if self.problems.get(&index) != Some(&problems) {
            for problem in &problems {
                tracing::warn!(kind, name, why = problem.why, "problem");
            }
            self.problems.insert(index, problems);
        }
    }

    /// Writes what changed of map `links`.
    fn write_links(&mut self, facts: &Facts, roles: &BTreeMap<u32, Role>) -> Result<(), LoadError> {
        if self.written.is_empty() {
            self.written = self.tables.links()?.into_iter().collect();
        }
        let mut wanted = BTreeMap::new();
        for (&index, link) in facts.links.iter().filter(|(_, link)| !link.loopback) {
            let native = self.options.xdp == XdpMode::Native && self.hooks.has_xdp(index);
            wanted.insert(index, entry(link, roles.get(&index).copied(), native));
        }
        for (index, entry) in &wanted {
            if self.written.get(index) != Some(entry) {
                self.tables.set_link(*index, Some(entry))?;
            }
        }
        for index in self
            .written
            .keys()
            .filter(|index| !wanted.contains_key(index))
        {
            self.tables.set_link(*index, None)?;
        }
        self.written = wanted;
        Ok(())
    }
}

/// What is known of a link that programs were attached to: what it is to us, what it is like, and whether
/// VLANs of it are links of their own.
pub(super) type Attached = (Role, Link, bool);

/// Whether some links are VLANs of this one.
fn has_vlans(facts: &Facts, index: u32) -> bool {
    let mut links = facts.links.values();
    links.any(|link| link.vlan_of == Some(index))
}

/// Why a link with VLANs takes no XDP. Most drivers take the tag from a frame before XDP sees it, and what
/// is answered or sent on from there would go without.
const VLANS_SHARE_XDP: &str = "VLANs of it are links of this node, whose packets XDP cannot tell from its own where the \
                               driver takes their tags, so tc alone serves it: leave xdp out of --hooks, or give XDP a \
                               link without VLANs";

/// What an XDP program and its driver have room for in one page of 4,096 bytes: without headroom
/// (256), the kernel's own notes (320) and the Ethernet header.
const XDP_MTU: u32 = 4_096 - 256 - 320 - 14;

/// What to say of a link whose packets may be too big for XDP. Ours reads and writes packets in one
/// buffer: those in several (which Linux 5.18 brought) are left to traffic control, which serves
/// everybody that XDP does.
#[must_use]
pub fn xdp_needs_one_buffer(mtu: u32) -> Option<String> {
    (mtu > XDP_MTU).then(|| {
        format!(
            "its MTU of {mtu} is more than XDP has in one buffer ({XDP_MTU} with most drivers), as is \
             what large receive offload (LRO) puts together"
        )
    })
}

/// The link as map `links` describes it.
fn entry(link: &Link, role: Option<Role>, native_xdp: bool) -> layout::Link {
    let flags = match role {
        Some(Role::Uplink) => LINK_UPLINK,
        Some(Role::Pod) => LINK_POD,
        None => 0,
    };
    layout::Link {
        mtu: link.mtu,
        flags: flags | if native_xdp { LINK_XDP } else { 0 },
        master: link.master.unwrap_or(0),
        address4: source::<Ip4>(link),
        address6: source::<Ip6>(link),
    }
}

/// The first address of the link that may be a source beyond it; zero if there is none.
fn source<A: Family>(link: &Link) -> A {
    let mut fit = link
        .addresses
        .iter()
        .filter(|address| address.global && address.preferred);
    fit.find_map(|address| A::from_ip(address.ip))
        .unwrap_or_default()
}

fn problem(kind: &str, name: &str, why: String) -> Problem {
    Problem {
        object: Object {
            kind: kind.to_owned(),
            name: ObjectName::new("", name),
        },
        field: String::new(),
        why,
        place: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::facts::Address;

    #[test]
    fn a_link_has_the_vlans_that_are_made_of_it() {
        let vlan = Link {
            vlan_of: Some(2),
            ..Link::default()
        };
        let links = [(2, Link::default()), (3, vlan)];
        let facts = Facts {
            links: links.into(),
            ..Facts::default()
        };
        assert!(has_vlans(&facts, 2) && !has_vlans(&facts, 3));
    }

    #[test]
    fn a_link_is_described_with_the_address_that_it_sends_from() {
        let address = |ip: &str, global, preferred| Address {
            ip: ip.parse().expect("an address"),
            global,
            preferred,
        };
        let link = Link {
            mtu: 1450,
            master: Some(3),
            addresses: vec![
                address("169.254.7.7", false, true),
                address("fd00::7", true, false),
                address("192.0.2.7", true, true),
                address("192.0.2.8", true, true),
                address("fd00::8", true, true),
            ],
            ..Link::default()
        };
        let entry = entry(&link, Some(Role::Uplink), true);
        assert_eq!(entry.flags, LINK_UPLINK | LINK_XDP);
        assert_eq!((entry.mtu, entry.master), (1450, 3));
        assert_eq!(entry.address4, Ip4::new(192, 0, 2, 7));
        assert_eq!(entry.address6.to_string(), "fd00::8");
    }
}
