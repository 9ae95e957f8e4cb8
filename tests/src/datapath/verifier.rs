//! What does a program cost the kernel's verifier, and how large does it get? Loaded past aya, which
//! throws the verifier's figures away when all is well.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::maps::{Map, MapData};
use aya::programs::loaded_programs;
use aya_obj::btf::BtfFeatures;
use aya_obj::generated::bpf_func_info;
use aya_obj::{Function, Object, Program};
use lb_userspace::bpf::program::ProgramInfo;

use super::code::{deepest_stack, refused_loop};
use super::kernel;

/// What one program costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Instructions that the verifier looked at, over all ways through the program. It gives up at
    /// a million.
    pub verified: u32,
    /// Bytes of stack of the functions that call each other and take most, as kernel 5.10 counts them.
    /// The limit is 512.
    pub stack: u32,
    /// Instructions in the kernel, after it rewrote the program.
    pub instructions: u32,
}

/// Type and place of a program, as `BPF_PROG_LOAD` names them.
#[derive(Clone, Copy)]
struct Kind {
    program: u32,
    attachment: u32,
}

const TC: u32 = 3;
const XDP: u32 = 6;
const SOCKET: u32 = 9;
const SOCKET_ADDRESS: u32 = 18;

/// What each program is.
const KINDS: [(&str, Kind); 15] = [
    ("tc_pod_in", kind(TC, 0)),
    ("tc_pod_out", kind(TC, 0)),
    ("tc_uplink_in", kind(TC, 0)),
    ("tc_uplink_out", kind(TC, 0)),
    ("clock", kind(TC, 0)),
    ("xdp_uplink", kind(XDP, 0)),
    ("sock_connect4", kind(SOCKET_ADDRESS, 10)),
    ("sock_connect6", kind(SOCKET_ADDRESS, 11)),
    ("sock_sendmsg4", kind(SOCKET_ADDRESS, 14)),
    ("sock_sendmsg6", kind(SOCKET_ADDRESS, 15)),
    ("sock_recvmsg4", kind(SOCKET_ADDRESS, 19)),
    ("sock_recvmsg6", kind(SOCKET_ADDRESS, 20)),
    ("sock_getpeer4", kind(SOCKET_ADDRESS, 29)),
    ("sock_getpeer6", kind(SOCKET_ADDRESS, 30)),
    ("sock_release", kind(SOCKET, 34)),
];

const fn kind(program: u32, attachment: u32) -> Kind {
    Kind {
        program,
        attachment,
    }
}

/// Loads every program by itself and reads what the verifier says of it. One that it refuses has its last
/// words for a cost.
///
/// # Errors
/// There is no object, or it cannot be read.
pub fn costs() -> Result<BTreeMap<String, Result<Cost>>> {
    let data = kernel::object()?;
    let maps = kernel::load_maps(&data, kernel::FLOWS)?;
    let mut object = Object::parse(&data)?;
    // What not every kernel knows of types is left out: no program needs it.
    let features = BtfFeatures::new(true, true, true, false, false, false, false, false);
    let types = object.fixup_and_sanitize_btf(&features)?;
    let types = load_types(&types.context("the object has no types")?.to_bytes())?;
    link(&mut object, &map_fds(&maps)?)?;
    let cost = |(name, program): (&String, &Program)| {
        let kind = KINDS.iter().find(|(known, _)| known == name);
        let (_, kind) = kind.with_context(|| format!("of what kind is program {name}?"))?;
        let function = &object.functions[&program.function_key()];
        Ok((name.clone(), verify(*kind, function, types.as_fd())))
    };
    object.programs.iter().map(cost).collect()
}

/// Makes each program whole, and point to these maps.
pub(super) fn link(object: &mut Object, maps: &BTreeMap<&str, RawFd>) -> Result<()> {
    let sections = sections(object);
    let definitions = object.maps.clone();
    let maps = definitions.iter().filter_map(|(name, definition)| {
        let fd = maps.get(name.as_str())?;
        Some((name.as_str(), *fd, definition))
    });
    object.relocate_maps(maps, &sections)?;
    Ok(object.relocate_calls(&sections)?)
}

/// The sections that hold instructions.
fn sections(object: &Object) -> HashSet<usize> {
    let sections = object.functions.keys().map(|(section, _)| *section);
    sections.collect()
}

/// Where kernel 5.10 would see a loop that it refuses, if anywhere, by program.
///
/// # Errors
/// There is no object, or it cannot be read.
pub fn refused_loops() -> Result<Vec<String>> {
    let mut object = Object::parse(&kernel::object()?)?;
    let sections = sections(&object);
    object.relocate_calls(&sections)?;
    let mut refused = Vec::new();
    for (name, program) in &object.programs {
        let code = &object.functions[&program.function_key()].instructions;
        if let Some((from, to)) = refused_loop(code) {
            refused.push(format!("{name}: back from instruction {from} to {to}"));
        }
    }
    Ok(refused)
}

fn map_fds(bpf: &Ebpf) -> Result<BTreeMap<&str, RawFd>> {
    let fd = |map: &MapData| map.fd().as_fd().as_raw_fd();
    bpf.maps()
        .map(|(name, map)| {
            let (Map::Array(data)
            | Map::HashMap(data)
            | Map::LpmTrie(data)
            | Map::LruHashMap(data)
            | Map::PerCpuArray(data)
            | Map::PerCpuHashMap(data)
            | Map::PerCpuLruHashMap(data)
            | Map::Queue(data)
            | Map::RingBuf(data)
            | Map::Stack(data)
            | Map::Unsupported(data)) = map
            else {
                bail!("map {name} is of a type that is new here");
            };
            Ok((name, fd(data)))
        })
        .collect()
}

/// What `BPF_PROG_LOAD` reads of `union bpf_attr`.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attachment: u32,
    types: RawFd,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
}

/// What `BPF_BTF_LOAD` reads of it.
#[repr(C)]
struct LoadTypes {
    types: u64,
    log: u64,
    size: u32,
    log_size: u32,
}

/// `BPF_PROG_LOAD`.
const PROG_LOAD: libc::c_long = 5;
/// `BPF_BTF_LOAD`. Kernel 4.18.
const BTF_LOAD: libc::c_long = 18;
/// `BPF_LOG_STATS`: the verifier's figures only. Kernel 5.2.
const LOG_STATS: u32 = 4;
/// `BPF_LOG_LEVEL1`: each step.
const LOG_STEPS: u32 = 1;
/// More than kernel 5.10 takes no log to be.
const LOG_SIZE: usize = (1 << 24) - 1;
/// How many lines of it show why a program is refused.
const LAST_WORDS: usize = 60;

/// A pointer, as the kernel takes it.
fn place<T>(of: &[T]) -> u64 {
    of.as_ptr().expose_provenance() as u64
}

/// A call that opens something.
///
/// # Safety
/// Pointers in `attributes` are to what the call may read or write.
unsafe fn open<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    let attributes = std::ptr::from_mut(attributes);
    // SAFETY: as the caller promises; the length is that of what is pointed to.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    match RawFd::try_from(fd) {
        // SAFETY: the kernel just opened it for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Hands over what the programs' types are: which functions are checked by themselves is there.
fn load_types(types: &[u8]) -> Result<OwnedFd> {
    let mut load = LoadTypes {
        types: place(types),
        log: 0,
        size: u32::try_from(types.len())?,
        log_size: 0,
    };
    // SAFETY: `types` lives on, of that length.
    unsafe { open(BTF_LOAD, &mut load) }.context("loading the object's types")
}

fn verify(kind: Kind, function: &Function, types: BorrowedFd<'_>) -> Result<Cost> {
    let (opened, log) = load(kind, function, types, LOG_STATS)?;
    let Ok(program) = opened else {
        let (_, log) = load(kind, function, types, LOG_STEPS)?;
        let lines: Vec<_> = log.lines().collect();
        bail!(
            "{}",
            lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
        );
    };
    let verified = verified(&log).with_context(|| format!("not understood: {log}"))?;
    let id = ProgramInfo::of(program.as_fd())?.id;
    let mut loaded = loaded_programs().filter_map(Result::ok);
    let bytes = loaded
        .find(|program| program.id() == id)
        .and_then(|program| program.size_translated())
        .context("the kernel does not tell the program's size")?;
    Ok(Cost {
        verified,
        stack: deepest_stack(&function.instructions),
        instructions: bytes / 8,
    })
}

/// Asks the kernel for the program; what it says of it.
fn load(
    kind: Kind,
    function: &Function,
    types: BorrowedFd<'_>,
    log_level: u32,
) -> Result<(io::Result<OwnedFd>, String)> {
    let code = &function.instructions;
    let functions = &function.func_info.func_info;
    let mut log = vec![0_u8; LOG_SIZE];
    let mut load = Load {
        kind: kind.program,
        count: u32::try_from(code.len())?,
        instructions: place(code),
        license: place(c"GPL".to_bytes_with_nul()),
        log_level,
        log_size: u32::try_from(log.len())?,
        log: log.as_mut_ptr().expose_provenance() as u64,
        version: 0,
        flags: 0,
        name: [0; 16],
        ifindex: 0,
        attachment: kind.attachment,
        types: types.as_raw_fd(),
        function_size: u32::try_from(size_of::<bpf_func_info>())?,
        functions: place(functions),
        function_count: u32::try_from(functions.len())?,
        line_size: 0,
    };
    // SAFETY: what is pointed to lives on, of the lengths given; the kernel writes to `log` only.
    let opened = unsafe { open(PROG_LOAD, &mut load) };
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    log.truncate(end);
    Ok((opened, String::from_utf8_lossy(&log).into_owned()))
}

/// From a line like `processed 72667 insns (limit 1000000) …`.
fn verified(log: &str) -> Option<u32> {
    let mut lines = log.lines();
    let figures = lines.find_map(|line| line.strip_prefix("processed "))?;
    figures.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::verified;

    #[test]
    fn the_verifiers_figure_is_read() {
        let log = "verification time 3622011 usec\nstack depth 0+192+0+296+0\n\
                   processed 72667 insns (limit 1000000) max_states_per_insn 23\n";
        assert_eq!(verified(log), Some(72_667));
        assert_eq!(verified("processed nothing"), None);
    }
}
