//! How is a batch of runs timed? Through a wrapper that restores the packet, on one CPU, by the CPU
//! time that this thread took: the kernel's own figure is in whole nanoseconds.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::ProgramArray;
use aya::programs::{Program, TestRun as _, TestRunOptions};
use bytemuck::{Pod, Zeroable};
use lb_common::drops::Hook;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use super::load::{Objects, descriptor, program};
use super::subject::{Runs, Subject};
use crate::datapath::maps::{missing, put_array};
use crate::packet::ETHERNET;

/// Words of the wrapper's template.
const WORDS: usize = 10;

/// As in the floors' `maps.rs`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Template {
    words: [u64; WORDS],
    transport: u32,
    port_mask: u32,
    address: u32,
    address_mask: u32,
    header_checksum: u32,
    port_bits: u32,
}

/// Keeps this thread on the machine's last CPU, away from whatever runs on the first.
pub(super) fn stay_on_one_cpu() -> Result<()> {
    let last = std::thread::available_parallelism()?.get() - 1;
    let mut cpus = CpuSet::new();
    cpus.set(last)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on one CPU")
}

/// Times one batch and checks what its last run left; the result is in nanoseconds for each run,
/// wrapper included.
pub(super) fn time(objects: &mut Objects, subject: &Subject, batch: u32) -> Result<f64> {
    set_template(&mut objects.floors, subject, batch)?;
    set_target(objects, subject)?;
    let wrapper = match subject.hook {
        Hook::Xdp => "xdp_restore",
        Hook::Tc | Hook::Socket => "tc_restore",
    };
    let runs = subject.runs.per_batch();
    let packet = subject.packet_of(batch, 0).bytes();
    let wrapper = program(&objects.floors, wrapper)?;
    if matches!(subject.runs, Runs::ManyFlows(_)) {
        // A flow that was quiet for a while looks after its other direction, and since the last batch
        // all were: these are to come in turn as fast as they can.
        run(wrapper, &packet, runs)?;
    }
    let before = cpu_time()?;
    let (verdict, bytes) = run(wrapper, &packet, runs)?;
    let took = cpu_time()?.saturating_sub(before);
    subject.check(batch, verdict, &bytes)?;
    Ok(took.as_secs_f64() * 1e9 / f64::from(runs))
}

fn set_template(floors: &mut Ebpf, subject: &Subject, batch: u32) -> Result<()> {
    let packet = subject.packet_of(batch, 0);
    let ip = ETHERNET as u32;
    // The last four bytes of the source address, the header's checksum, what follows the header.
    let [address, header_checksum, transport] = if packet.source.is_ipv4() {
        [ip + 12, ip + 10, ip + 20]
    } else {
        [ip + 20, 0, ip + 40]
    };
    let mut bytes = packet.bytes();
    bytes.truncate(WORDS * 8);
    let mut template = Template {
        words: [0; WORDS],
        transport,
        port_mask: subject.runs.port_mask().into(),
        address,
        address_mask: subject.runs.address_mask(),
        header_checksum,
        port_bits: subject.runs.port_mask().count_ones(),
    };
    bytemuck::cast_slice_mut::<u64, u8>(&mut template.words).copy_from_slice(&bytes);
    put_array(floors, "template", [(0, template)])?;
    put_array(floors, "runs", [(0, 0_u64)])
}

fn set_target(objects: &mut Objects, subject: &Subject) -> Result<()> {
    let target = descriptor(objects.of(subject.whose), subject.program)?.try_clone()?;
    let name = match subject.hook {
        Hook::Xdp => "target_xdp",
        Hook::Tc | Hook::Socket => "target_tc",
    };
    let map = objects
        .floors
        .map_mut(name)
        .with_context(|| missing(name))?;
    ProgramArray::try_from(map)?
        .set(0, &target, 0)
        .with_context(|| format!("{} cannot be called by the wrapper", subject.program))
}

/// Runs a program on a packet; the verdict and the packet that the last run left.
pub(super) fn run(program: &Program, packet: &[u8], repeat: u32) -> Result<(u32, Vec<u8>)> {
    let mut bytes = vec![0; packet.len()];
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut bytes),
        repeat,
        ..TestRunOptions::default()
    };
    let result = match program {
        Program::Xdp(program) => program.test_run(options),
        Program::SchedClassifier(program) => program.test_run(options),
        other => anyhow::bail!("{:?} takes no packets", other.prog_type()),
    }
    .context("a test run failed")?;
    bytes.truncate(result.data_size_out as usize);
    Ok((result.return_value, bytes))
}

fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
