//! What was put into the kernel, and what of it is not there any more? Decided from ids alone, for the
//! daemon's audit as for `lb verify`, which knows the one from the state file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hooks::{direction_of, is_outermost};
use crate::bpf::{LinkInfo, Target};
use crate::netlink::filters::Direction;
use crate::tables::Digest;

/// What was put into the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Placed {
    /// Ids of the maps, by the names of their pins.
    pub maps: BTreeMap<String, u32>,
    /// Ids of the programs, likewise.
    pub programs: BTreeMap<String, u32>,
    /// Links of the kernel's, likewise.
    pub links: BTreeMap<String, LinkInfo>,
    /// Filters, where programs come to traffic control without such links.
    pub filters: Vec<PlacedFilter>,
    /// What map `links` holds, which the loader writes; none before it has.
    pub link_map: Option<Digest>,
}

/// A filter that runs a program of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacedFilter {
    /// Index of the network link.
    pub device: u32,
    /// Its name.
    pub name: String,
    /// Direction.
    pub direction: Direction,
    /// Id of the program.
    pub program: u32,
}

/// Programs of all filters of a device in a direction.
pub(super) type Filters = BTreeMap<(u32, Direction), Vec<Option<u32>>>;

/// What there is in its place, as far as the kernel tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) maps: BTreeMap<String, u32>,
    pub(super) programs: BTreeMap<String, u32>,
    pub(super) links: BTreeMap<String, LinkInfo>,
    /// Ids of the links at a tcx hook, in the order in which their programs run.
    pub(super) order: BTreeMap<Target, Vec<u32>>,
    pub(super) filters: Filters,
    pub(super) link_map: Option<Digest>,
}

/// Something that is not as it was put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Amiss {
    /// The pin of a map.
    Map(String),
    /// The pin of a program.
    Program(String),
    /// A link of the kernel's, or its pin.
    Link(String, Option<Target>),
    /// Our program is not the outermost one at its hook.
    Order(String, u32),
    /// A filter.
    Filter(String, u32),
    /// Elements of map `links`.
    LinkMap,
}

/// [`Amiss`] for people, and for those who count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    /// What kind of thing, as the metric's label has it.
    pub kind: &'static str,
    /// Which one, for people.
    pub name: String,
}

impl From<Amiss> for Drift {
    fn from(amiss: Amiss) -> Self {
        let (kind, name) = match amiss {
            Amiss::Map(name) | Amiss::Program(name) => ("pin", name),
            Amiss::Link(name, _) => ("link", name),
            Amiss::Order(name, _) => ("order", name),
            Amiss::Filter(name, _) => ("filter", name),
            Amiss::LinkMap => ("map", "links".to_owned()),
        };
        Self { kind, name }
    }
}

impl Placed {
    /// What of it is not there.
    pub(super) fn amiss(&self, found: &Found) -> Vec<Amiss> {
        let mut amiss = Vec::new();
        amiss.extend(others(&self.maps, &found.maps).map(Amiss::Map));
        amiss.extend(others(&self.programs, &found.programs).map(Amiss::Program));
        for (name, link) in &self.links {
            if found.links.get(name) != Some(link) {
                amiss.push(Amiss::Link(name.clone(), link.target));
            } else if let Some(device) = out_of_place(link, found) {
                amiss.push(Amiss::Order(name.clone(), device));
            }
        }
        amiss.extend(self.filters.iter().filter_map(|filter| filter.amiss(found)));
        // Where the map cannot be read, its pin is amiss.
        if found.link_map.is_some() && self.link_map.is_some() && found.link_map != self.link_map {
            amiss.push(Amiss::LinkMap);
        }
        amiss
    }
}

/// Names of what is not the one that was put there.
fn others(
    placed: &BTreeMap<String, u32>,
    found: &BTreeMap<String, u32>,
) -> impl Iterator<Item = String> {
    let differs = |(name, id): &(&String, &u32)| found.get(*name) != Some(*id);
    placed.iter().filter(differs).map(|(name, _)| name.clone())
}

/// The device where somebody's program is known to come between the link's and the wire.
fn out_of_place(link: &LinkInfo, found: &Found) -> Option<u32> {
    let target = link.target?;
    let (device, direction) = direction_of(target)?;
    let order = found.order.get(&target);
    let is_outermost = order.is_none_or(|order| is_outermost(direction, order, link.id));
    // Filters run behind tcx in both directions.
    let filters = found.filters.get(&(device, direction));
    let follow = direction == Direction::Out && filters.is_some_and(|filters| !filters.is_empty());
    (follow || !is_outermost).then_some(device)
}

impl PlacedFilter {
    /// Its order among others' is a Problem where it is not the best; they tell when they come.
    fn amiss(&self, found: &Found) -> Option<Amiss> {
        let there = found.filters.get(&(self.device, self.direction));
        let is_there = there.is_some_and(|there| there.contains(&Some(self.program)));
        let name = format!("{} {}", self.name, self.direction.name());
        (!is_there).then_some(Amiss::Filter(name, self.device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::Attachment;

    const DEVICE: u32 = 2;

    fn link(id: u32, target: Target) -> LinkInfo {
        LinkInfo {
            id,
            program: 40,
            target: Some(target),
        }
    }

    fn tcx(attachment: Attachment) -> Target {
        Target::Tcx(DEVICE, attachment as u32)
    }

    /// A node with everything in its place, in which one thing is changed.
    fn amiss(change: impl FnOnce(&mut Found)) -> Vec<(&'static str, String)> {
        let (into, out) = (tcx(Attachment::TcxIngress), tcx(Attachment::TcxEgress));
        let named = |name: &str, id| BTreeMap::from([(name.to_owned(), id)]);
        let digest = |elements| Some(Digest { elements, sum: 7 });
        let placed = Placed {
            maps: named("slots", 10),
            programs: named("tc_pod_in", 40),
            links: BTreeMap::from([
                ("tcx-in".to_owned(), link(20, into)),
                ("tcx-out".to_owned(), link(21, out)),
                ("xdp-in".to_owned(), link(22, Target::Xdp(DEVICE))),
            ]),
            filters: vec![PlacedFilter {
                device: 3,
                name: "pod0".to_owned(),
                direction: Direction::Out,
                program: 41,
            }],
            link_map: digest(2),
        };
        let mut found = Found {
            maps: placed.maps.clone(),
            programs: placed.programs.clone(),
            links: placed.links.clone(),
            order: BTreeMap::from([(into, vec![20, 99]), (out, vec![0, 21])]),
            filters: BTreeMap::from([
                ((3, Direction::Out), vec![None, Some(41)]),
                ((DEVICE, Direction::Out), Vec::new()),
            ]),
            link_map: digest(2),
        };
        change(&mut found);
        let drift = placed.amiss(&found).into_iter().map(Drift::from);
        drift.map(|drift| (drift.kind, drift.name)).collect()
    }

    #[test]
    fn what_is_not_there_any_more_is_named() {
        let one = |kind, name: &str| vec![(kind, name.to_owned())];
        let (into, out) = (tcx(Attachment::TcxIngress), tcx(Attachment::TcxEgress));
        assert_eq!(amiss(|_| {}), []);
        assert_eq!(amiss(|found| found.maps.clear()), one("pin", "slots"));
        let another = |found: &mut Found| found.programs = [("tc_pod_in".to_owned(), 9)].into();
        assert_eq!(amiss(another), one("pin", "tc_pod_in"));
        for change in [
            |link: &mut LinkInfo| link.id = 9,
            |link: &mut LinkInfo| link.program = 9,
            |link: &mut LinkInfo| link.target = None,
        ] {
            let changed = amiss(|found| found.links.get_mut("tcx-in").into_iter().for_each(change));
            assert_eq!(changed, one("link", "tcx-in"));
        }
        for (target, order, told) in [
            (into, vec![99, 20], one("order", "tcx-in")),
            (into, vec![0, 20], one("order", "tcx-in")),
            (out, vec![21, 99], one("order", "tcx-out")),
            (out, vec![99, 0, 21], Vec::new()),
        ] {
            assert_eq!(amiss(|found| drop(found.order.insert(target, order))), told);
        }
        let filters = |device, filters| {
            amiss(|found| drop(found.filters.insert((device, Direction::Out), filters)))
        };
        assert_eq!(filters(DEVICE, vec![Some(9)]), one("order", "tcx-out"));
        assert_eq!(filters(3, vec![Some(9), None]), one("filter", "pod0 out"));
        assert_eq!(
            amiss(|found| found.filters.clear()),
            one("filter", "pod0 out")
        );
        assert_eq!(amiss(|found| found.link_map = None), []);
        let more = |found: &mut Found| found.link_map = Some(Digest::default());
        assert_eq!(amiss(more), one("map", "links"));
    }
}
