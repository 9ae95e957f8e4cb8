//! Is everything still in the kernel as it was put there? Somebody may have detached a link, removed
//! a pin or a filter, or put a program before ours; the kernel tells of few of these.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use super::hooks::{device_of, direction_of, tcx};
use super::maps::PINNED;
use super::placed::{Amiss, Drift, Filters, Found, Placed, PlacedFilter};
use super::{Datapath, LoadError, Pins};
use crate::bpf::program::{self, ProgramInfo};
use crate::bpf::{Held, Link, LinkInfo, MapInfo, Target};
use crate::dataplane::kernel::KernelTables;
use crate::netlink::Netlink;
use crate::netlink::filters::Direction;
use crate::tables::Digest;

impl Datapath {
    /// Compares what is pinned and attached with what was put there. Pins are mended at once; links
    /// and filters by the next [`Datapath::attach`], which therefore has to follow where anything
    /// was found.
    pub fn audit(&mut self) -> Vec<Drift> {
        let placed = self.placed();
        let found = look(&self.hooks.pins, Some(&self.tables), &placed);
        let amiss = placed.amiss(&found);
        for part in &amiss {
            self.mend(part);
        }
        sorted(amiss)
    }

    /// Somebody has changed the filters of these network links: the next [`Datapath::attach`] looks
    /// at them again. Those of ours that are gone are told; that others come before ours is what
    /// happens wherever they begin later.
    pub fn filters_changed(&mut self, devices: &BTreeSet<u32>) -> Vec<Drift> {
        let ours = |device: &&u32| self.attached.contains_key(device);
        let devices: BTreeSet<u32> = devices.iter().filter(ours).copied().collect();
        let filters = self.placed_filters();
        let placed = Placed {
            filters: filters
                .filter(|filter| devices.contains(&filter.device))
                .collect(),
            ..Placed::default()
        };
        self.stale.extend(devices);
        if placed.filters.is_empty() {
            return Vec::new();
        }
        let amiss = placed.amiss(&look(&self.hooks.pins, None, &placed));
        let gone = amiss.into_iter();
        gone.filter(|amiss| matches!(amiss, Amiss::Filter(..)))
            .map(Drift::from)
            .collect()
    }

    fn mend(&mut self, amiss: &Amiss) {
        match amiss {
            Amiss::Map(name) => {
                let path = self.hooks.pins.map(name);
                if let Some((_, held)) = self.held.iter().find(|(held, _)| held == name) {
                    warn_unless(name, held.pin_over(&path));
                }
            }
            Amiss::Program(name) => {
                let mut pinned = self.programs.pinned();
                if let Some((path, loaded)) = pinned.find(|(path, _)| file_name(path) == *name) {
                    warn_unless(name, program::pin_over(loaded.fd(), &path));
                }
            }
            Amiss::Link(_, target) => {
                if let Some(target) = target {
                    self.hooks.links.lose(*target);
                    self.stale.extend(device_of(*target));
                }
            }
            Amiss::Order(_, device) | Amiss::Filter(_, device) => {
                self.stale.insert(*device);
            }
            // What is there counts as written, so that the difference is written anew.
            Amiss::LinkMap => {
                if let Ok(links) = self.tables.links() {
                    self.written = links.into_iter().collect();
                }
            }
        }
    }

    /// What was put into the kernel, for whoever compares.
    #[must_use]
    pub fn placed(&self) -> Placed {
        let maps = self.held.iter();
        let programs = self.programs.pinned();
        let links = self.hooks.links.all().into_iter();
        let link = |(target, pinned): (Target, super::links::Pinned)| {
            let info = LinkInfo {
                id: pinned.id,
                program: pinned.program,
                target: Some(target),
            };
            (file_name(&pinned.path), info)
        };
        Placed {
            maps: maps
                .map(|(name, held)| ((*name).to_owned(), held.id))
                .collect(),
            programs: programs
                .map(|(path, loaded)| (file_name(&path), loaded.id))
                .collect(),
            links: links.map(link).collect(),
            filters: self.placed_filters().collect(),
            link_map: (!self.written.is_empty()).then(|| Digest::of_elements(self.written.iter())),
        }
    }

    fn placed_filters(&self) -> impl Iterator<Item = PlacedFilter> {
        let filters = self.hooks.filters.placed.iter();
        filters.map(|(&(device, direction), (name, program))| PlacedFilter {
            device,
            name: name.clone(),
            direction,
            program: *program,
        })
    }
}

fn sorted(amiss: Vec<Amiss>) -> Vec<Drift> {
    let mut drift: Vec<Drift> = amiss.into_iter().map(Drift::from).collect();
    drift.sort();
    drift
}

/// Looks where something was put.
fn look(pins: &Pins, tables: Option<&KernelTables>, placed: &Placed) -> Found {
    let program = |path: &Path| ProgramInfo::of(program::open(path)?.as_fd());
    let link = |path: &Path| Link::open(path)?.info();
    let links = tables.and_then(|tables| tables.links().ok());
    let links = links.map(|links| links.into_iter().collect::<BTreeMap<_, _>>());
    let mut found = Found {
        maps: there(&placed.maps, |name| Ok(MapInfo::of(&pins.map(name))?.id)),
        programs: there(&placed.programs, |name| {
            Ok(program(&pins.programs().join(name))?.id)
        }),
        links: there(&placed.links, |name| link(&pins.attached().join(name))),
        link_map: links.map(|links| Digest::of_elements(links.iter())),
        ..Found::default()
    };
    let mut hooks: BTreeSet<_> = placed
        .filters
        .iter()
        .map(|filter| (filter.device, filter.direction))
        .collect();
    for target in placed.links.values().filter_map(|link| link.target) {
        let Some((device, direction)) = direction_of(target) else {
            continue;
        };
        if let Ok(attached) = program::at_tcx(device, tcx(direction)) {
            let order = attached.iter().map(|attached| attached.link);
            found.order.insert(target, order.collect());
        }
        if direction == Direction::Out {
            hooks.insert((device, direction));
        }
    }
    found.filters = filters(hooks).unwrap_or_default();
    found
}

/// What can be looked at, of what has these names.
fn there<V, T>(
    placed: &BTreeMap<String, V>,
    look: impl Fn(&str) -> io::Result<T>,
) -> BTreeMap<String, T> {
    let names = placed.keys();
    names
        .filter_map(|name| Some((name.clone(), look(name).ok()?)))
        .collect()
}

/// All filters of these devices, as far as they can be listed.
fn filters(hooks: BTreeSet<(u32, Direction)>) -> io::Result<Filters> {
    let mut netlink = Netlink::connect()?;
    let mut filters = Filters::new();
    for (device, direction) in hooks {
        if let Ok(listed) = netlink.filters(device, direction) {
            let programs = listed.iter().map(|filter| filter.program);
            filters.insert((device, direction), programs.collect());
        }
    }
    Ok(filters)
}

/// A pin that cannot be mended is found again by the next audit.
fn warn_unless(name: &str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(pin = name, %error, "not pinned again");
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Opens the maps that are pinned now. By their ids they could be opened later as well, but that
/// takes CAP_SYS_ADMIN.
pub(super) fn hold(pins: &Pins) -> Result<Vec<(&'static str, Held)>, LoadError> {
    let open = |name: &&'static str| {
        let path = pins.map(name);
        let held = Held::open(&path).map_err(LoadError::pin(&path, "open"))?;
        Ok((*name, held))
    };
    PINNED.iter().map(open).collect()
}

/// What is not as a daemon put it there, looked at from outside, in the node's network namespace;
/// `tables` are the maps that are pinned there, if they can be opened.
#[must_use]
pub fn inspect(pin_dir: &Path, tables: Option<&KernelTables>, placed: &Placed) -> Vec<Drift> {
    sorted(placed.amiss(&look(&Pins::new(pin_dir), tables, placed)))
}
