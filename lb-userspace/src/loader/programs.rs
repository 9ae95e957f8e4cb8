//! How do the programs get into the kernel? From one object, with the maps that are pinned, and
//! what is fixed for this kernel and node frozen into them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use aya::maps::Map;
use aya::programs::{Program, ProgramError, SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};

use super::maps::Definition;
use super::{LoadError, Pins, reuse};
use crate::bpf::program;

/// What is frozen into the programs.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a global of the programs, which know numbers only"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Globals {
    /// Cookie of the network namespace that is the node.
    pub(super) node_cookie: u64,
    /// The socket hook serves sockets of other namespaces, too.
    pub(super) socket_pods: bool,
    /// The socket hook serves UDP sockets that connect.
    pub(super) socket_connected_udp: bool,
    /// The kernel has `bpf_set_retval`.
    pub(super) socket_refuses: bool,
    /// What the socket hook cannot refuse is refused where it leaves.
    pub(super) egress_refuses: bool,
    /// Flag that `bpf_l4_csum_replace` wants for IPv6.
    pub(super) checksum_ipv6: u64,
}

/// Which links an instance of the programs is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Header {
    /// Packets begin with an Ethernet header.
    Ethernet,
    /// Packets begin with their IP header.
    Bare,
}

impl Header {
    /// Which instance a link with or without Ethernet headers needs.
    pub(super) const fn of(ethernet: bool) -> Self {
        if ethernet { Self::Ethernet } else { Self::Bare }
    }

    const fn bytes(self) -> u32 {
        match self {
            Self::Ethernet => 14,
            Self::Bare => 0,
        }
    }

    /// What the names of pins end with.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Ethernet => "",
            Self::Bare => "-bare",
        }
    }
}

/// A program in the kernel.
#[derive(Debug)]
pub(super) struct Loaded {
    fd: OwnedFd,
    /// Its id on this kernel.
    pub(super) id: u32,
    /// Its name.
    pub(super) name: String,
}

impl Loaded {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The object and what of it is in the kernel.
#[derive(Debug)]
pub(super) struct Programs {
    object: &'static [u8],
    pins: Pins,
    sizes: BTreeMap<String, u32>,
    globals: Globals,
    instances: BTreeMap<Header, Ebpf>,
    loaded: BTreeMap<(Header, String), Loaded>,
}

impl Programs {
    /// Makes the maps that are missing and pins them; programs follow as they are asked for.
    pub(super) fn new(
        object: &'static [u8],
        pins: Pins,
        definitions: &BTreeMap<String, Definition>,
        globals: Globals,
    ) -> Result<Self, LoadError> {
        let sizes = definitions
            .iter()
            .map(|(name, definition)| (name.clone(), definition.max_entries))
            .collect();
        let mut programs = Self {
            object,
            pins,
            sizes,
            globals,
            instances: BTreeMap::new(),
            loaded: BTreeMap::new(),
        };
        programs.instance(Header::Ethernet)?;
        Ok(programs)
    }

    /// The program of this name for such links, loaded when it is asked for the first time.
    pub(super) fn get(&mut self, header: Header, name: &str) -> Result<&Loaded, LoadError> {
        let key = (header, name.to_owned());
        if !self.loaded.contains_key(&key) {
            let loaded = match self.reuse(header, name)? {
                Some(loaded) => loaded,
                None => self.load(header, name)?,
            };
            self.loaded.insert(key.clone(), loaded);
        }
        Ok(&self.loaded[&key])
    }

    /// The programs that are loaded, and where each is pinned.
    pub(super) fn pinned(&self) -> impl Iterator<Item = (PathBuf, &Loaded)> {
        let loaded = self.loaded.iter();
        loaded.map(|((header, name), loaded)| (self.pin(*header, name), loaded))
    }

    fn pin(&self, header: Header, name: &str) -> PathBuf {
        let name = format!("{name}{}", header.suffix());
        self.pins.programs().join(name)
    }

    /// The program once more, as another one to the kernel: for hooks where the one that is there
    /// must give way to one at a better place, and which take no program twice.
    pub(super) fn again(&mut self, header: Header, name: &str) -> Result<&Loaded, LoadError> {
        let instance = self.load_maps(header)?;
        self.instances.insert(header, instance);
        let loaded = self.load(header, name)?;
        let key = (header, name.to_owned());
        self.loaded.insert(key.clone(), loaded);
        Ok(&self.loaded[&key])
    }

    /// Runs a program of type `sched_cls` over an empty packet and returns its result.
    pub(super) fn test_run(&mut self, name: &str) -> Result<u32, LoadError> {
        self.get(Header::Ethernet, name)?;
        let pin = self.pin(Header::Ethernet, name);
        let program = SchedClassifier::from_pin(pin).map_err(failed(name))?;
        // The kernel takes nothing shorter than an Ethernet header.
        let packet = [0_u8; 64];
        let options = TestRunOptions {
            data_in: Some(&packet),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options).map_err(failed(name))?;
        Ok(result.return_value)
    }

    /// The pinned program, if it is what would be loaded: that spares the verifier's time, so that a
    /// restart takes effect at once.
    fn reuse(&mut self, header: Header, name: &str) -> Result<Option<Loaded>, LoadError> {
        let (pins, pin) = (self.pins.clone(), self.pin(header, name));
        let Some(frozen) = frozen_map(self.instance(header)?) else {
            return Ok(None);
        };
        // Whatever is wrong with the pin: the program that is loaded then takes its place.
        let reused = reuse::matching(&pin, &pins, frozen).unwrap_or_else(|error| {
            tracing::debug!(pin = %pin.display(), %error, "not reused");
            None
        });
        Ok(reused.map(|(fd, id)| Loaded {
            fd,
            id,
            name: name.to_owned(),
        }))
    }

    fn load(&mut self, header: Header, name: &str) -> Result<Loaded, LoadError> {
        let pin = self.pin(header, name);
        let fd = self
            .instance(header)?
            .program_mut(name)
            .ok_or_else(|| LoadError::NoProgram(name.to_owned()))
            .and_then(|program| load(program).map_err(failed(name)))?;
        let info = program::ProgramInfo::of(fd.as_fd()).map_err(LoadError::pin(&pin, "inspect"))?;
        program::pin_over(fd.as_fd(), &pin).map_err(LoadError::pin(&pin, "pin"))?;
        Ok(Loaded {
            fd,
            id: info.id,
            name: name.to_owned(),
        })
    }

    /// The object with its maps in the kernel.
    fn instance(&mut self, header: Header) -> Result<&mut Ebpf, LoadError> {
        if !self.instances.contains_key(&header) {
            let instance = self.load_maps(header)?;
            self.instances.insert(header, instance);
        }
        Ok(self.instances.get_mut(&header).expect("inserted above"))
    }

    fn load_maps(&self, header: Header) -> Result<Ebpf, LoadError> {
        let mut loader = EbpfLoader::new();
        // Nothing in the object is relocated by the kernel's types, and to read them takes long.
        loader.btf(None);
        for (name, size) in &self.sizes {
            loader.map_pin_path(name, self.pins.map(name));
            loader.map_max_entries(name, *size);
        }
        let header = header.bytes();
        let digest = reuse::digest(self.object);
        let socket_pods = u32::from(self.globals.socket_pods);
        let socket_connected_udp = u32::from(self.globals.socket_connected_udp);
        let socket_refuses = u32::from(self.globals.socket_refuses);
        let egress_refuses = u32::from(self.globals.egress_refuses);
        loader
            .override_global("ETHERNET_HEADER", &header, true)
            .override_global("OBJECT_DIGEST", &digest, true)
            .override_global("NODE_COOKIE", &self.globals.node_cookie, true)
            .override_global("SOCKET_PODS", &socket_pods, true)
            .override_global("SOCKET_CONNECTED_UDP", &socket_connected_udp, true)
            .override_global("SOCKET_REFUSES", &socket_refuses, true)
            .override_global("EGRESS_REFUSES", &egress_refuses, true)
            .override_global("CHECKSUM_IPV6", &self.globals.checksum_ipv6, true)
            .load(self.object)
            .map_err(|source| LoadError::Maps {
                source: Box::new(source),
            })
    }
}

/// Id of the map with what is frozen into an instance's programs.
fn frozen_map(instance: &Ebpf) -> Option<u32> {
    match instance.map(reuse::FROZEN)? {
        Map::Array(map) => Some(map.info().ok()?.id()),
        _ => None,
    }
}

fn load(program: &mut Program) -> Result<OwnedFd, ProgramError> {
    match program {
        Program::SchedClassifier(program) => program.load()?,
        Program::Xdp(program) => program.load()?,
        Program::CgroupSockAddr(program) => program.load()?,
        Program::CgroupSock(program) => program.load()?,
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    Ok(program.fd()?.as_fd().try_clone_to_owned()?)
}

fn failed(program: &str) -> impl Fn(ProgramError) -> LoadError {
    move |source| LoadError::Program {
        program: program.to_owned(),
        source: Box::new(source),
    }
}
