//! How does the datapath get into the kernel, stay there over restarts, and leave it without a
//! trace?
//!
//! [`Datapath::start`] checks and makes maps and loads programs; nothing is attached yet, so that
//! tables can be filled first. [`Datapath::attach`] brings the programs to their hooks, in place of
//! those that are there, and follows links from then on. [`uninstall`] is the way back.

mod attach;
mod audit;
mod cgroup;
mod clock;
mod error;
pub mod features;
mod filters;
mod hooks;
pub mod kube_proxy;
mod links;
mod maps;
mod pins;
mod placed;
pub mod probe;
mod programs;
mod reuse;
pub mod roles;
mod uninstall;
mod xtables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use lb_common::drops::Hook;
use lb_common::layout;

pub use attach::xdp_needs_one_buffer;
pub use audit::inspect;
pub use clock::Clock;
pub use error::LoadError;
pub use maps::PINNED;
pub use pins::Pins;
pub use placed::{Drift, Placed, PlacedFilter};
pub use uninstall::{Removed, uninstall};

use self::features::Features;
use self::filters::Filters;
use self::hooks::{Cgroup, Hooks};
use self::links::Links;
use self::programs::{Globals, Programs};
use self::roles::Patterns;
use crate::bpf::Held;
use crate::dataplane::kernel::KernelTables;
use crate::model::Problem;
use crate::settings::{Settings, SocketScope, XdpMode};

/// What is to be loaded and where it is to be attached.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory on bpffs for maps, programs and links.
    pub pin_dir: PathBuf,
    /// Directory of the cgroup whose sockets are served; none = the root of cgroup2.
    pub cgroup: Option<PathBuf>,
    /// Where to attach programs.
    pub hooks: Vec<Hook>,
    /// Whose sockets are served.
    pub socket: SocketScope,
    /// Whether UDP sockets that connect are among them.
    pub connected_udp: bool,
    /// Which kind of XDP to use.
    pub xdp: XdpMode,
    /// Which links are which.
    pub patterns: Patterns,
    /// Sizes of maps that are not the object's.
    pub sizes: BTreeMap<String, u32>,
    /// What the kernel can do, or is to be taken for.
    pub features: Features,
}

impl From<&Settings> for Options {
    fn from(settings: &Settings) -> Self {
        Self {
            pin_dir: settings.pin_dir.clone(),
            cgroup: settings.cgroup.clone(),
            hooks: settings.hooks.clone(),
            socket: settings.socket_scope(),
            connected_udp: settings.socket_connected_udp,
            xdp: settings.xdp,
            patterns: Patterns {
                uplinks: settings.uplink.clone(),
                pod_links: settings.pod_link.clone(),
            },
            sizes: settings
                .maps
                .iter()
                .map(|size| (size.map.to_owned(), size.elements))
                .collect(),
            features: Features::probe(),
        }
    }
}

/// A network link, for whoever attaches something to it.
#[derive(Clone, Copy, Debug)]
struct Device<'f> {
    index: u32,
    name: &'f str,
}

/// What of an attachment is not as it should be, why, and what helps; for people.
type Remark = Option<String>;

/// The datapath in the kernel.
#[derive(Debug)]
pub struct Datapath {
    options: Options,
    /// Where sockets are served; none = nowhere.
    cgroup: Option<Cgroup>,
    programs: Programs,
    hooks: Hooks,
    tables: KernelTables,
    /// The maps in use, by name.
    held: Vec<(&'static str, Held)>,
    clock: Clock,
    /// The links that programs are attached to, as they were then.
    attached: BTreeMap<u32, attach::Attached>,
    /// Map `links` as it was written.
    written: BTreeMap<u32, layout::Link>,
    /// Links whose filters somebody has changed since the last time.
    stale: BTreeSet<u32>,
    /// What is wrong, by index of the link; 0 = with the node as a whole.
    problems: BTreeMap<u32, Vec<Problem>>,
}

impl Datapath {
    /// Makes the maps that are missing and loads the programs; what is pinned is checked and taken
    /// over. Nothing is attached or switched yet.
    ///
    /// # Errors
    /// [`LoadError`] says what is in the way and what helps.
    pub fn start(options: &Options, object: &'static [u8]) -> Result<Self, LoadError> {
        let pins = Pins::new(&options.pin_dir);
        let cgroup = cgroup::wanted(options)?;
        raise_memory_limit();
        pins.create()?;
        let definitions = maps::definitions(object, &options.sizes)?;
        maps::check(&pins, &definitions)?;
        let globals = Globals {
            node_cookie: features::netns_cookie().unwrap_or(0),
            socket_pods: options.socket == SocketScope::All,
            socket_connected_udp: options.connected_udp,
            socket_refuses: options.features.set_retval,
            egress_refuses: options.socket != SocketScope::Off && !options.features.set_retval,
            checksum_ipv6: options.features.checksum_ipv6,
        };
        let mut programs = Programs::new(object, pins.clone(), &definitions, globals)?;
        attach::preload(&mut programs, &options.hooks)?;
        cgroup::preload(&mut programs, cgroup.as_ref())?;
        let clock = Clock::measure(&mut programs)?;
        Ok(Self {
            held: audit::hold(&pins)?,
            hooks: Hooks {
                tcx: options.features.tcx,
                links: Links::adopt(&pins)?,
                filters: Filters::new(pins.clone())?,
                pins,
            },
            tables: KernelTables::open(&options.pin_dir)?,
            options: options.clone(),
            cgroup,
            programs,
            clock,
            attached: BTreeMap::new(),
            written: BTreeMap::new(),
            stale: BTreeSet::new(),
            problems: BTreeMap::new(),
        })
    }

    /// Tells the kernel's time.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The maps, for whoever fills them.
    ///
    /// # Errors
    /// They are not pinned any more.
    pub fn tables(&self) -> Result<KernelTables, LoadError> {
        Ok(KernelTables::open(&self.options.pin_dir)?)
    }
}

/// Lets maps take as much locked memory as they need: kernels before 5.11 count them as such. What
/// cannot be raised shows when a map is made, with the remedy.
fn raise_memory_limit() {
    let unlimited = nix::sys::resource::RLIM_INFINITY;
    let limit = nix::sys::resource::Resource::RLIMIT_MEMLOCK;
    if let Err(error) = nix::sys::resource::setrlimit(limit, unlimited, unlimited) {
        tracing::debug!(%error, "limit of locked memory stays");
    }
}
