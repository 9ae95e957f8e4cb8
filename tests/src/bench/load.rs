//! Which programs are timed? Those of the shipped object, and the floors beside them, each with
//! maps of its own that are pinned nowhere.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{Program, ProgramFd, ProgramInfo, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::{Ip4, Ip6};
use lb_userspace::loader::features::Features;
use lb_userspace::tables::{Capacities, PerFamily as _};

use crate::datapath::object_file;

/// The link that test runs take place on.
pub(super) const LOOPBACK: u32 = 1;

/// Whose a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// The shipped object's.
    Ours,
    /// The floors'.
    Floors,
}

/// Both objects, their programs for packets loaded.
pub(super) struct Objects {
    /// The shipped one.
    pub(super) ours: Ebpf,
    /// The floors and wrappers.
    pub(super) floors: Ebpf,
}

impl Objects {
    /// Loads both, with so much room for frontends and flows. The node of the socket programs is the namespace
    /// with this cookie.
    pub(super) fn load(node_cookie: u64, room: &Capacities, flows: u32) -> Result<Self> {
        let object = object_file();
        let checksum_ipv6 = Features::probe().checksum_ipv6;
        let mut ours = EbpfLoader::new();
        ours.override_global("CHECKSUM_IPV6", &checksum_ipv6, true)
            .override_global("NODE_COOKIE", &node_cookie, true);
        let mut floors = EbpfLoader::new();
        floors.override_global("CHECKSUM_IPV6", &checksum_ipv6, true);
        for (maps, room) in [(Ip4::MAPS, room.v4), (Ip6::MAPS, room.v6)] {
            ours.map_max_entries(maps.frontends, room.frontends)
                .map_max_entries(maps.info, room.info);
            floors.map_max_entries(maps.frontends, room.frontends);
        }
        for map in ["flows4", "flows6"] {
            ours.map_max_entries(map, flows);
            floors.map_max_entries(map, flows);
        }
        Ok(Self {
            ours: load(&mut ours, &object)?,
            floors: load(&mut floors, &object.with_file_name("floors.o"))?,
        })
    }

    /// Attaches the wrapper for XDP to this namespace's loopback, where no packets are, for as long as
    /// the result lives. A program that is attached nowhere is made known to XDP's dispatcher at the
    /// beginning of each test run and forgotten at its end: a quarter of a millisecond of patching.
    pub(super) fn make_wrapper_known(&mut self) -> Result<XdpLink> {
        let wrapper = self
            .floors
            .program_mut("xdp_restore")
            .context("the floors have no wrapper for XDP")?;
        let wrapper: &mut Xdp = wrapper.try_into()?;
        let id = wrapper.attach_to_if_index(LOOPBACK, XdpMode::Skb)?;
        Ok(wrapper.take_link(id)?)
    }

    /// What the kernel tells of a program.
    pub(super) fn program_info(&self, whose: Whose, name: &str) -> Result<ProgramInfo> {
        Ok(program(self.of(whose), name)?.info()?)
    }

    /// The object that has the program, to change it.
    pub(super) fn of_mut(&mut self, whose: Whose) -> &mut Ebpf {
        match whose {
            Whose::Ours => &mut self.ours,
            Whose::Floors => &mut self.floors,
        }
    }

    /// The object that has the program.
    pub(super) fn of(&self, whose: Whose) -> &Ebpf {
        match whose {
            Whose::Ours => &self.ours,
            Whose::Floors => &self.floors,
        }
    }
}

fn load(loader: &mut EbpfLoader<'_>, file: &Path) -> Result<Ebpf> {
    let mut ebpf = loader.load_file(file).with_context(|| {
        let file = file.display();
        format!("cannot load {file}: `cargo xtask bench` builds what is measured")
    })?;
    for (name, program) in ebpf.programs_mut() {
        match program {
            Program::SchedClassifier(program) => program.load(),
            Program::Xdp(program) => program.load(),
            Program::CgroupSockAddr(program) => program.load(),
            Program::CgroupSock(program) => program.load(),
            _ => bail!("{}: what is {name}?", file.display()),
        }
        .with_context(|| format!("cannot load program {name}"))?;
    }
    Ok(ebpf)
}

/// The loaded program of this name.
pub(super) fn program<'e>(ebpf: &'e Ebpf, name: &str) -> Result<&'e Program> {
    ebpf.program(name).with_context(|| {
        format!("the object has no program {name}: build it again with `cargo xtask build`")
    })
}

/// Its descriptor.
pub(super) fn descriptor<'e>(ebpf: &'e Ebpf, name: &str) -> Result<&'e ProgramFd> {
    Ok(program(ebpf, name)?.fd()?)
}
