//! How do the programs get into the kernel for a test, and how is one run over a packet?

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{Program, ProgramError, TestRun as _, XdpMode};
use aya::{Ebpf, EbpfLoader, TestRunOptions};
use lb_common::addr::Family;
use lb_common::drops::Hook;
use lb_common::layout::{Flow, FlowKey, Link};
use lb_common::limits::ENTRIES_PER_EVICTABLE;
use lb_userspace::dataplane::kernel::KernelTables;
use lb_userspace::loader::features;
use lb_userspace::tables::{PerFamily, Tables, sieve};

use super::maps::{self, Drops};

/// Sizes for the big maps: what rows need, with room for what the kernel holds back per CPU.
const SIZES: [(&str, u32); 8] = [
    ("snat4", 1 << 10),
    ("snat6", 1 << 10),
    ("affinity4", 1 << 12),
    ("affinity6", 1 << 12),
    ("sockets4", 1 << 12),
    ("sockets6", 1 << 12),
    ("fragments4", 1 << 12),
    ("fragments6", 1 << 12),
];

/// Flow entries of each family, likewise.
pub(super) const FLOWS: u32 = 1 << 14;

/// The programs that see packets.
pub const PROGRAMS: [&str; 5] = [
    "tc_pod_in",
    "tc_pod_out",
    "tc_uplink_in",
    "tc_uplink_out",
    "xdp_uplink",
];

/// Where `ifindex` and what GSO is about are in `__sk_buff`, `ifindex` in `xdp_md`, and `data_end` in the latter, in bytes.
const SKB_IFINDEX: usize = 40;
const SKB_GSO_SEGMENTS: usize = 164;
const SKB_GSO_SIZE: usize = 176;
const XDP_IFINDEX: usize = 12;
const XDP_DATA_END: usize = 4;
/// A packet may grow by so much.
const HEADROOM: usize = 256;

/// The BPF object that the tests are about.
///
/// # Errors
/// It has not been built; the message says how to.
pub fn object() -> Result<Vec<u8>> {
    let path = object_file();
    std::fs::read(&path).with_context(|| {
        format!(
            "{}: build the BPF object with `cargo xtask build-ebpf`",
            path.display()
        )
    })
}

/// Where that object is.
#[must_use]
pub fn object_file() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/lb.o");
    std::env::var_os("LB_OBJECT").map_or_else(|| PathBuf::from(built), PathBuf::from)
}

/// The programs in the kernel, with maps of their own.
pub struct Kernel {
    /// Always there, but while this is dropped.
    bpf: Option<Ebpf>,
    written: Tables,
    links: Vec<Link>,
    xdp: Option<XdpLinkId>,
    /// Others write to the maps, too.
    is_shared: bool,
}

/// Programs that nobody uses at the moment: the verifier takes longer than most tests, and much
/// longer where the processor is emulated.
static IDLE: Mutex<Vec<Ebpf>> = Mutex::new(Vec::new());

fn idle() -> MutexGuard<'static, Vec<Ebpf>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if self.is_shared || self.clean_up().is_err() {
            return;
        }
        idle().extend(self.bpf.take());
    }
}

/// What a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it returned.
    pub code: Code,
    /// The packet as it left it.
    pub bytes: Vec<u8>,
}

/// What a program says shall become of the packet, whatever the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `TC_ACT_UNSPEC`, `XDP_PASS`: whoever comes next decides.
    Next,
    /// `TC_ACT_SHOT`, `XDP_DROP`.
    Drop,
    /// `TC_ACT_REDIRECT`, `XDP_TX`, `XDP_REDIRECT`.
    Send,
}

impl Code {
    fn of(hook: Hook, code: u32) -> Result<Self> {
        Ok(match (hook, code.cast_signed()) {
            (Hook::Tc, -1) | (Hook::Xdp, 2) => Self::Next,
            (Hook::Tc, 2) | (Hook::Xdp, 1) => Self::Drop,
            (Hook::Tc, 7) | (Hook::Xdp, 3 | 4) => Self::Send,
            _ => bail!("{} program returned {}", hook.name(), code.cast_signed()),
        })
    }
}

/// The first kernel whose test-run says to an XDP program which link a packet came from; before,
/// it is the loopback of the namespace.
const XDP_CONTEXT: (u8, u8) = (5, 14);

/// The loopback's index is 1 in every network namespace.
pub(super) const LOOPBACK: u32 = 1;

fn has_xdp_context() -> bool {
    features::kernel_version() >= XDP_CONTEXT
}

impl Kernel {
    /// The programs, with empty tables: those of a test that ended, or loaded anew.
    ///
    /// # Errors
    /// There is no object, or the kernel refuses it.
    pub fn load() -> Result<Self> {
        let there = idle().pop();
        match there {
            Some(bpf) => Ok(Self::of(bpf)),
            None => Ok(Self::of(Self::load_anew(FLOWS)?)),
        }
    }

    /// As [`Self::load`], with room for so many flow entries of each family.
    ///
    /// # Errors
    /// As there.
    pub fn with_flows(entries: u32) -> Result<Self> {
        let mut kernel = Self::of(Self::load_anew(entries)?);
        // Other tests could do nothing with it.
        kernel.is_shared = true;
        Ok(kernel)
    }

    fn of(bpf: Ebpf) -> Self {
        Self {
            bpf: Some(bpf),
            written: Tables::default(),
            links: Vec::new(),
            xdp: None,
            is_shared: false,
        }
    }

    fn load_anew(flows: u32) -> Result<Ebpf> {
        let mut bpf = load_maps(&object()?, flows)?;
        for name in PROGRAMS {
            let program = bpf
                .program_mut(name)
                .with_context(|| format!("no program {name}"))?;
            load(program).with_context(|| format!("loading program {name}"))?;
        }
        Ok(bpf)
    }

    fn bpf(&self) -> &Ebpf {
        self.bpf.as_ref().expect("it goes when this goes")
    }

    fn bpf_mut(&mut self) -> &mut Ebpf {
        self.bpf.as_mut().expect("it goes when this goes")
    }

    /// Leaves programs and maps as they were after loading.
    fn clean_up(&mut self) -> Result<()> {
        if let Some(link) = self.xdp.take() {
            self.xdp_uplink()?.detach(link)?;
        }
        self.reset(&Tables::default())
    }

    fn xdp_uplink(&mut self) -> Result<&mut aya::programs::Xdp> {
        match self.bpf_mut().program_mut("xdp_uplink") {
            Some(Program::Xdp(program)) => Ok(program),
            _ => bail!("no program xdp_uplink"),
        }
    }

    /// Begins anew: these tables, and nothing of what packets left behind.
    ///
    /// # Errors
    /// A map refuses.
    pub fn reset(&mut self, tables: &Tables) -> Result<()> {
        let before = std::mem::take(&mut self.written);
        maps::erase(self.bpf_mut(), &before)?;
        maps::forget(self.bpf_mut())?;
        maps::write(self.bpf_mut(), tables)?;
        self.written = tables.clone();
        self.links.clear();
        maps::write_sieves(self.bpf(), &self.written, &self.links)
    }

    /// Says what transit needs to know of a link.
    ///
    /// # Errors
    /// The map refuses.
    pub fn set_link(&mut self, ifindex: u32, link: Link) -> Result<()> {
        maps::set_link(self.bpf_mut(), ifindex, link)?;
        self.links.push(link);
        maps::write_sieves(self.bpf(), &self.written, &self.links)
    }

    /// Attaches the XDP program to a link, natively: only then can it be run as if there, from
    /// `XDP_CONTEXT` (5.14) on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn attach_xdp(&mut self, link: &str) -> Result<()> {
        if !has_xdp_context() {
            return Ok(());
        }
        let attached = self.xdp_uplink()?.attach(link, XdpMode::Driver);
        self.xdp = Some(attached.with_context(|| format!("attaching xdp_uplink to {link}"))?);
        Ok(())
    }

    /// Runs a program over a packet as if it were at that link of the present namespace.
    ///
    /// # Errors
    /// The kernel refuses, or the program returned what it never should.
    pub fn run(&self, program: &str, ifindex: u32, packet: &[u8]) -> Result<Run> {
        self.run_in_segments(program, ifindex, packet, 0)
    }

    /// The same at traffic control with a packet that stands for several with so much payload each,
    /// if that is not zero.
    ///
    /// # Errors
    /// As [`Kernel::run`].
    pub fn run_in_segments(
        &self,
        program: &str,
        ifindex: u32,
        packet: &[u8],
        segment: u32,
    ) -> Result<Run> {
        let (hook, result, bytes) = match self.bpf().program(program) {
            Some(Program::SchedClassifier(classifier)) => {
                let mut context = [0; SKB_GSO_SIZE + 4];
                context[SKB_IFINDEX..][..4].copy_from_slice(&ifindex.to_ne_bytes());
                if segment != 0 {
                    let segments = u32::try_from(packet.len())?.div_ceil(segment);
                    context[SKB_GSO_SEGMENTS..][..4].copy_from_slice(&segments.to_ne_bytes());
                    context[SKB_GSO_SIZE..].copy_from_slice(&segment.to_ne_bytes());
                }
                let (result, bytes) =
                    test_run(packet, &context, |options| classifier.test_run(options));
                (Hook::Tc, result, bytes)
            }
            Some(Program::Xdp(xdp)) => {
                let mut context = [0; XDP_IFINDEX + 8];
                let end = u32::try_from(packet.len())?;
                context[XDP_DATA_END..][..4].copy_from_slice(&end.to_ne_bytes());
                context[XDP_IFINDEX..][..4].copy_from_slice(&ifindex.to_ne_bytes());
                let context = if has_xdp_context() { &context[..] } else { &[] };
                let (result, bytes) = test_run(packet, context, |options| xdp.test_run(options));
                (Hook::Xdp, result, bytes)
            }
            _ => bail!("no program {program} for packets"),
        };
        let code = result.with_context(|| format!("running {program}"))?;
        Ok(Run {
            code: Code::of(hook, code)?,
            bytes,
        })
    }

    /// The maps as the daemon writes them, while programs run here; they are pinned in `pins`.
    ///
    /// # Errors
    /// They cannot be pinned or opened.
    pub fn pin(&mut self, pins: &Path) -> Result<KernelTables> {
        self.is_shared = true;
        for (name, map) in self.bpf().maps().filter(|(name, _)| !name.starts_with('.')) {
            map.pin(pins.join(name))
                .with_context(|| format!("pinning map {name}"))?;
        }
        Ok(KernelTables::open(pins)?)
    }

    /// The flow entries, in no order.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn flows<A: Family>(&mut self) -> Result<Vec<(FlowKey<A>, Flow<A>)>> {
        maps::flows(self.bpf_mut())
    }

    /// Changes every flow entry, as the daemon may.
    ///
    /// # Errors
    /// The map refuses.
    pub fn change_flows<A: PerFamily>(&mut self, change: impl Fn(&mut Flow<A>)) -> Result<()> {
        let frame = sieve::frame(&self.written.config);
        maps::change_flows(self.bpf_mut(), frame, change)
    }

    /// The drop counters that are not zero.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn drops(&mut self) -> Result<Drops> {
        maps::drops(self.bpf_mut())
    }
}

/// The object's maps in the kernel, small, and what is fixed for this kernel; no program yet.
pub(super) fn load_maps(object: &[u8], flows: u32) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    for (name, size) in SIZES {
        loader.map_max_entries(name, size);
    }
    let evictable = flows / ENTRIES_PER_EVICTABLE;
    for (name, size) in [
        ("flows4", flows),
        ("flows6", flows),
        ("evictable4", evictable),
        ("evictable6", evictable),
    ] {
        loader.map_max_entries(name, size);
    }
    let checksum_flag = checksum_flag()?;
    loader.override_global("CHECKSUM_IPV6", &checksum_flag, true);
    // What only old kernels need is tried on every one.
    loader.override_global("EGRESS_REFUSES", &1_u32, true);
    loader.load(object).context("loading the BPF object")
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// One run: the program's return value, and the packet afterwards.
fn test_run(
    packet: &[u8],
    context: &[u8],
    run: impl FnOnce(TestRunOptions<'_>) -> Result<aya::TestRunResult, ProgramError>,
) -> (Result<u32, ProgramError>, Vec<u8>) {
    let mut bytes = vec![0; packet.len() + HEADROOM];
    let result = run(TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut bytes),
        ctx_in: (!context.is_empty()).then_some(context),
        ..TestRunOptions::default()
    });
    let length = result.as_ref().map_or(0, |result| result.data_size_out);
    bytes.truncate(length as usize);
    (result.map(|result| result.return_value), bytes)
}

/// `BPF_F_IPV6` of `bpf_l4_csum_replace`, from kernel 6.16 on.
fn checksum_flag() -> Result<u64> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(if version >= (6, 16) { 128 } else { 0 })
}
