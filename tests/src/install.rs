//! What does a test install into the kernel, where, and is it all gone afterwards?

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_common::drops::Hook;
use lb_userspace::bpf::program::ProgramInfo;
use lb_userspace::bpf::{Link, MapInfo};
use lb_userspace::loader::features::Features;
use lb_userspace::loader::roles::Patterns;
use lb_userspace::loader::{Datapath, LoadError, Options};
use lb_userspace::model::Problem;
use lb_userspace::netlink::{Facts, Netlink};
use lb_userspace::object;
use lb_userspace::settings::{SocketScope, XdpMode};

use crate::leftovers::{self, Guard};
use crate::netns::Netns;

/// A pin directory of a test's own; what is left in it goes with it.
#[derive(Debug)]
pub struct Install {
    /// How the datapath is started: at traffic control only, unless the test says otherwise.
    pub options: Options,
    /// The directory that the pin directory is in: that one is made and removed by the loader.
    _above: Guard,
}

impl Install {
    /// A place to install to.
    ///
    /// # Errors
    /// There is no bpffs.
    pub fn new(test: &str) -> Result<Self> {
        let above = leftovers::pin_dir(test)?;
        Ok(Self {
            options: Options {
                pin_dir: above.path().join("pins"),
                cgroup: None,
                hooks: vec![Hook::Tc],
                socket: SocketScope::Off,
                connected_udp: true,
                xdp: XdpMode::Native,
                patterns: Patterns::default(),
                sizes: [].into(),
                features: Features::probe(),
            },
            _above: above,
        })
    }

    /// The pin directory.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.options.pin_dir
    }

    /// Loads the datapath without attaching it.
    ///
    /// # Errors
    /// See [`LoadError`].
    ///
    /// # Panics
    /// There are no kernel programs in this binary.
    pub fn start(&self) -> Result<Datapath, LoadError> {
        let object = object::embedded().expect("`cargo xtask build-ebpf` was run before");
        Datapath::start(&self.options, object)
    }

    /// Loads the datapath and attaches it to the links of this thread's namespace.
    ///
    /// # Errors
    /// It could not be loaded, or something is wrong with a link.
    pub fn run(&self) -> Result<Datapath> {
        let mut datapath = self.start()?;
        let problems = attach(&mut datapath)?;
        ensure!(problems.is_empty(), "{problems:?}");
        Ok(datapath)
    }

    /// Names of what is pinned in a directory below the pin directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn pinned(&self, directory: &str) -> Result<Vec<String>> {
        let names = list(&self.pins().join(directory))?.into_iter().map(|path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        });
        Ok(names.collect())
    }

    /// Id of each attached program's link and of the program, by the pin's name.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn attached(&self) -> Result<Vec<(String, u32, u32)>> {
        let mut attached = Vec::new();
        for path in list(&self.pins().join("attached"))? {
            let info = Link::open(&path)?.info()?;
            let name = path.file_name().unwrap_or_default();
            attached.push((name.to_string_lossy().into_owned(), info.id, info.program));
        }
        Ok(attached)
    }

    /// Everything in the kernel that the pins keep there.
    ///
    /// # Errors
    /// Something pinned cannot be opened.
    pub fn traces(&self) -> Result<Traces> {
        let mut traces = Traces::default();
        for (_, link, program) in self.attached()? {
            traces.links.insert(link);
            traces.programs.insert(program);
        }
        for path in list(self.pins())? {
            if path.is_file() {
                traces.maps.insert(MapInfo::of(&path)?.id);
            }
        }
        Ok(traces)
    }
}

/// Attaches the datapath to the links that are in this thread's namespace now.
///
/// # Errors
/// The kernel does not tell of its links.
pub fn attach(datapath: &mut Datapath) -> Result<Vec<Problem>> {
    let facts = Facts::ask(&mut Netlink::connect()?)?;
    Ok(datapath.attach(&facts, &[].into()))
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Ids of what somebody has in the kernel.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    links: BTreeSet<u32>,
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
}

/// The kernel removes programs and maps some time after the last user is gone.
const GONE_WITHIN: Duration = Duration::from_secs(3);

impl Traces {
    /// Waits until nothing of it is there any more.
    ///
    /// # Errors
    /// Something stayed.
    pub fn are_gone(&self) -> Result<()> {
        ensure!(!self.maps.is_empty(), "there was nothing to begin with");
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            let links = self.links.iter().filter(|id| Link::by_id(**id).is_ok());
            let programs = self.programs.iter();
            let programs = programs.filter(|id| ProgramInfo::by_id(**id).is_ok());
            let maps = self.maps.iter().filter(|id| MapInfo::by_id(**id).is_ok());
            let (links, programs, maps) = (links.count(), programs.count(), maps.count());
            if (links, programs, maps) == (0, 0, 0) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "still in the kernel: {links} links, {programs} programs, {maps} maps of {self:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A node with an uplink `eth0`, which has index 2, and a pod's link `pod0`, which has index 3.
#[derive(Debug)]
pub struct SmallNode {
    netns: Netns,
    /// The other ends of its links.
    others: [Netns; 2],
}

impl SmallNode {
    /// Makes the node and its links.
    ///
    /// # Errors
    /// The kernel refuses, which it does unless the caller is root.
    pub fn new() -> Result<Self> {
        let netns = Netns::new("node")?;
        let (outside, pod) = (Netns::new("outside")?, Netns::new("pod")?);
        netns.ip(&format!(
            "link add eth0 type veth peer name eth0 netns {outside}\n\
             link add pod0 type veth peer name eth0 netns {pod}\n\
             address add 192.0.2.1/24 dev eth0\n\
             link set eth0 up\n\
             link set pod0 up\n\
             route add default via 192.0.2.254",
            outside = outside.path().display(),
            pod = pod.path().display(),
        ))?;
        Ok(Self {
            netns,
            others: [outside, pod],
        })
    }

    /// Its namespace.
    #[must_use]
    pub const fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The namespace that `pod0` leads to.
    #[must_use]
    pub const fn pod(&self) -> &Netns {
        &self.others[1]
    }
}
