//! What is this machine like, as far as it decides what can be served here? Facts only, for
//! `lb doctor` to judge; nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::features::{self, Features};
use super::filters::Filters;
use super::hooks::tcx;
use super::kube_proxy::{Leftover, leftovers};
use super::pins::{self, Pins};
use super::{LoadError, cgroup};
use crate::bpf::program::{self, ProgramInfo};
use crate::netlink::filters::Direction;
use crate::netlink::{Facts, Netlink};

/// What this machine is like.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Major and minor number of the kernel.
    pub kernel: (u8, u8),
    /// What it can do.
    pub features: Features,
    /// It describes its own types.
    pub btf: bool,
    /// Effective capabilities of this process, as a bit set.
    pub capabilities: u64,
    /// The pin directory is on bpffs.
    pub bpffs: bool,
    /// Where cgroup2 is mounted.
    pub cgroup: Option<PathBuf>,
    /// Values of [`SYSCTLS`] and of each link's `rp_filter`; those that the kernel lacks are missing.
    pub sysctls: BTreeMap<String, String>,
    /// Links, addresses and default routes.
    pub links: Facts,
    /// Programs and filters at links that are not ours.
    pub occupants: Vec<Occupant>,
    /// What a kube-proxy left behind, or why nobody knows.
    pub kube_proxy: Result<Vec<Leftover>, String>,
}

/// Sysctls that decide what is forwarded, filtered or slow.
pub const SYSCTLS: [&str; 6] = [
    "net.core.bpf_jit_enable",
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv6.conf.all.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
];

/// Somebody else's program or filter at a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occupant {
    /// Name of the link.
    pub link: String,
    /// Where it sits there.
    pub place: Place,
    /// Name of the program, or the kind of a filter that is none.
    pub name: String,
}

/// A hook of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The XDP hook.
    Xdp,
    /// A tcx hook.
    Tcx(Direction),
    /// A filter on the clsact qdisc, with its priority.
    Filter(Direction, u16),
}

/// Looks at this machine, for an instance with this pin directory.
///
/// # Errors
/// The kernel does not tell of its links.
pub fn probe(pin_dir: &Path) -> Result<Probe, LoadError> {
    let pins = Pins::new(pin_dir);
    let mut netlink = Netlink::connect().map_err(LoadError::netlink("connect"))?;
    let links = Facts::ask(&mut netlink).map_err(LoadError::netlink("list links"))?;
    Ok(Probe {
        kernel: features::kernel_version(),
        features: Features::probe(),
        btf: features::has_btf(),
        capabilities: capabilities(),
        bpffs: pins.is_on_bpffs(),
        cgroup: cgroup::root(),
        sysctls: sysctls(&links),
        occupants: occupants(&pins, &links)?,
        kube_proxy: leftovers(&links).map_err(|error| error.to_string()),
        links,
    })
}

/// Effective capabilities of this process.
fn capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

fn sysctls(links: &Facts) -> BTreeMap<String, String> {
    let general = SYSCTLS.iter().map(|name| {
        let path = name.replace('.', "/");
        ((*name).to_owned(), path)
    });
    // Names of links may have dots of their own.
    let per_link = links.links.values().map(|link| {
        let name = &link.name;
        (
            format!("net.ipv4.conf.{name}.rp_filter"),
            format!("net/ipv4/conf/{name}/rp_filter"),
        )
    });
    let values = general.chain(per_link).filter_map(|(name, path)| {
        let value = fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?;
        Some((name, value.trim().to_owned()))
    });
    values.collect()
}

/// Programs and filters that are not ours. What is at tcx needs root to be seen.
fn occupants(pins: &Pins, links: &Facts) -> Result<Vec<Occupant>, LoadError> {
    let ours = our_programs(pins)?;
    let mut filters = Filters::new(pins.clone())?;
    let mut occupants = Vec::new();
    for (&index, link) in &links.links {
        let mut add = |place, name| {
            occupants.push(Occupant {
                link: link.name.clone(),
                place,
                name,
            });
        };
        if let Some(id) = link.xdp
            && !ours.contains(&id)
        {
            add(Place::Xdp, name_of(id));
        }
        for direction in Direction::ALL {
            let at_tcx = program::at_tcx(index, tcx(direction)).unwrap_or_default();
            for tcx in at_tcx.iter().filter(|tcx| !ours.contains(&tcx.program)) {
                add(Place::Tcx(direction), name_of(tcx.program));
            }
            let (_, others) = filters.list(index, direction)?;
            for filter in others {
                let place = Place::Filter(direction, filter.slot.priority);
                add(place, filter.program.map_or(filter.kind, name_of));
            }
        }
    }
    Ok(occupants)
}

/// Ids of the programs that hang on our links.
fn our_programs(pins: &Pins) -> Result<BTreeSet<u32>, LoadError> {
    let mut ours = BTreeSet::new();
    for path in pins::list(&pins.attached())? {
        let info = crate::bpf::Link::open(&path).and_then(|link| link.info());
        ours.insert(info.map_err(LoadError::pin(&path, "open"))?.program);
    }
    Ok(ours)
}

fn name_of(program: u32) -> String {
    ProgramInfo::by_id(program).map_or_else(|_| format!("program {program}"), |info| info.name)
}
