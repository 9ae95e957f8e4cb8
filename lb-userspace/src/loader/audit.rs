//! Is everything still in the kernel as it was put there? Somebody may have detached a link, removed
//! a pin or a filter, or put a program before ours; the kernel tells of few of these.

use std::os::fd::AsFd as _;
use std::path::Path;

use lb_common::drops::Hook;

use super::attach::tc_program;
use super::hooks::device_of;
use super::maps::PINNED;
use super::programs::Header;
use super::{Datapath, LoadError, Pins, pins};
use crate::bpf::program::{self, ProgramInfo};
use crate::bpf::{Held, Link, MapInfo};
use crate::netlink::filters::Direction;

/// Something that is not as it was put there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    /// What kind of thing, as the metric's label has it.
    pub kind: &'static str,
    /// Which one, for people.
    pub name: String,
}

impl Drift {
    fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }
}

impl Datapath {
    /// Compares what is pinned and attached with what was put there. Pins are mended at once; links
    /// and filters by the next [`Datapath::attach`], which therefore has to follow where anything
    /// was found.
    pub fn audit(&mut self) -> Vec<Drift> {
        let mut found = self.audit_links();
        found.extend(self.audit_order());
        found.extend(self.audit_filters());
        found.extend(self.audit_link_map());
        found.extend(self.audit_pins());
        found.sort();
        found
    }

    /// Names of the pins of links that are attached, for whoever compares.
    #[must_use]
    pub fn attached_pins(&self) -> Vec<String> {
        let links = self.hooks.links.all().into_iter();
        let mut names: Vec<_> = links.map(|(_, pinned)| file_name(&pinned.path)).collect();
        names.sort();
        names
    }

    /// Links of the kernel's: each must be pinned, attached, and run our program.
    fn audit_links(&mut self) -> Vec<Drift> {
        let mut found = Vec::new();
        for (target, pinned) in self.hooks.links.all() {
            let info = Link::open(&pinned.path).and_then(|link| link.info());
            let is_well = info.is_ok_and(|info| {
                (info.id, info.program, info.target) == (pinned.id, pinned.program, Some(target))
            });
            if is_well {
                continue;
            }
            found.push(Drift::new("link", file_name(&pinned.path)));
            self.hooks.links.lose(target);
            self.stale.extend(device_of(target));
        }
        found
    }

    /// Programs at tcx hooks: ours must be outermost.
    fn audit_order(&mut self) -> Vec<Drift> {
        let mut found = Vec::new();
        for (&index, (_, link, _)) in &self.attached {
            for direction in Direction::ALL {
                if self.hooks.is_out_of_place(index, direction) {
                    let name = format!("{} {}", link.name, direction.name());
                    found.push(Drift::new("order", name));
                    self.stale.insert(index);
                }
            }
        }
        found
    }

    /// Filters, where a link's traffic control has no link of ours: one must run our program.
    fn audit_filters(&mut self) -> Vec<Drift> {
        let mut found = Vec::new();
        if !self.options.hooks.contains(&Hook::Tc) {
            return found;
        }
        for (&index, (role, link, _)) in &self.attached {
            for direction in Direction::ALL {
                // A link that was lost just now is told already.
                if self.hooks.has_tcx(index, direction) || self.stale.contains(&index) {
                    continue;
                }
                let header = Header::of(link.ethernet);
                let expected = self.programs.id_of(header, tc_program(*role, direction));
                let filters = self.hooks.filters.list(index, direction);
                let is_there = filters.is_ok_and(|(ours, _)| {
                    ours.iter()
                        .any(|filter| expected.is_some() && filter.program == expected)
                });
                // A link that could never be attached to is a Problem already.
                if !is_there && !self.problems.contains_key(&index) {
                    let name = format!("{} {}", link.name, direction.name());
                    found.push(Drift::new("filter", name));
                    self.stale.insert(index);
                }
            }
        }
        found
    }

    /// Map `links`, which the loader writes.
    fn audit_link_map(&mut self) -> Vec<Drift> {
        let Ok(links) = self.tables.links() else {
            return Vec::new();
        };
        let found = links.into_iter().collect();
        if self.written.is_empty() || self.written == found {
            return Vec::new();
        }
        // What is there counts as written, so that the difference is written anew.
        self.written = found;
        vec![Drift::new("map", "links")]
    }

    /// Pins of maps and programs: what is pinned is what is used, or the next start would take over
    /// something else.
    fn audit_pins(&self) -> Vec<Drift> {
        let pins = &self.hooks.pins;
        let mut found = Vec::new();
        for (name, held) in &self.held {
            let path = pins.map(name);
            if MapInfo::of(&path).is_ok_and(|map| map.id == held.id) {
                continue;
            }
            found.push(mended(name, held.pin_over(&path)));
        }
        for (path, loaded) in self.programs.pinned() {
            let pinned = program::open(&path).and_then(|fd| ProgramInfo::of(fd.as_fd()));
            if pinned.is_ok_and(|info| info.id == loaded.id) {
                continue;
            }
            found.push(mended(
                &file_name(&path),
                program::pin_over(loaded.fd(), &path),
            ));
        }
        found
    }
}

/// A pin that was wrong; one that cannot be mended is found again by the next audit.
fn mended(name: &str, result: std::io::Result<()>) -> Drift {
    if let Err(error) = result {
        tracing::warn!(pin = name, %error, "not pinned again");
    }
    Drift::new("pin", name)
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

/// What of the pins is not as a daemon left it, looked at from outside; `attached` are the names of
/// the pins of its links.
#[must_use]
pub fn inspect_pins(pin_dir: &Path, attached: &[String]) -> Vec<Drift> {
    let pins = Pins::new(pin_dir);
    let mut found = Vec::new();
    for name in PINNED {
        if MapInfo::of(&pins.map(name)).is_err() {
            found.push(Drift::new("pin", name));
        }
    }
    let programs = pins::list(&pins.programs()).unwrap_or_default();
    let programs = programs.iter().filter_map(|path| {
        let program = program::open(path).ok()?;
        Some(ProgramInfo::of(program.as_fd()).ok()?.id)
    });
    let programs: Vec<u32> = programs.collect();
    for name in attached {
        let link = Link::open(&pins.attached().join(name));
        let is_well = link
            .and_then(|link| link.info())
            .is_ok_and(|info| info.target.is_some() && programs.contains(&info.program));
        if !is_well {
            found.push(Drift::new("link", name.as_str()));
        }
    }
    found
}
