//! `lb doctor`: can this machine do what is asked of it?

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::error::CliError;
use super::print::Output;
use super::select::Query;
use super::show::{Answer, show};
use super::view::{Machine, Verdict, doctor};
use crate::bpf::Attachment;
use crate::bpf::program::{self, ProgramInfo};
use crate::loader::features::{Features, kernel_version};
use crate::loader::{Pins, cgroup_root};
use crate::netlink::{Facts, Netlink};
use crate::object;
use crate::settings::Settings;

/// Examine whether this machine can do what the settings ask for, and say what helps if not
///
/// Changes nothing, and needs no `lb run`. The exit code is 1 if something that was asked for does
/// not work here.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    #[command(flatten)]
    output: Output,
}

/// Sysctls without which packets to pods are not forwarded.
const SYSCTLS: [(&str, &str); 2] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
];

impl Doctor {
    /// Answers.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        let examine = || Ok::<_, CliError>(doctor(&machine(settings)?, settings));
        let is_well = examine()?
            .iter()
            .all(|finding| finding.verdict != Verdict::Bad);
        show(&Query::default(), &self.output, || {
            Ok(Answer {
                records: examine()?,
                remark: None,
            })
        })?;
        Ok(if is_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// What the machine is like.
fn machine(settings: &Settings) -> Result<Machine, CliError> {
    let mut netlink = Netlink::connect().map_err(CliError::Netlink)?;
    let links = Facts::ask(&mut netlink).map_err(CliError::Netlink)?;
    let pins = Pins::new(&settings.pin_dir);
    Ok(Machine {
        object_missing: object::embedded().err().map(|missing| missing.to_string()),
        kernel: kernel_version(),
        features: Features::probe(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        capabilities: capabilities(),
        bpffs: pins.is_on_bpffs(),
        cgroup: cgroup_root().map(|dir| dir.display().to_string()),
        sysctls: SYSCTLS
            .into_iter()
            .filter(|(name, value)| sysctl(name).is_some_and(|is| is != *value))
            .collect(),
        foreign: foreign(&links, &pins),
        links,
    })
}

/// Effective capabilities of this process, as a bit set.
fn capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0)
}

/// A sysctl's value; none if the kernel has no such sysctl.
fn sysctl(name: &str) -> Option<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Programs at the tcx hooks of links that are not ours.
fn foreign(links: &Facts, pins: &Pins) -> Vec<(String, &'static str, usize)> {
    let ours = own_programs(pins);
    let mut foreign = Vec::new();
    for (&index, link) in &links.links {
        for (attachment, direction) in [
            (Attachment::TcxIngress, "ingress"),
            (Attachment::TcxEgress, "egress"),
        ] {
            let there = program::at_tcx(index, attachment).unwrap_or_default();
            let others = there.iter().filter(|tcx| !ours.contains(&tcx.program));
            match others.count() {
                0 => {}
                count => foreign.push((link.name.clone(), direction, count)),
            }
        }
    }
    foreign
}

/// Ids of the programs that we have pinned.
fn own_programs(pins: &Pins) -> Vec<u32> {
    let pinned = fs::read_dir(pins.programs())
        .into_iter()
        .flatten()
        .flatten();
    let programs = pinned.filter_map(|entry| program::open(&entry.path()).ok());
    let known = programs.filter_map(|program| ProgramInfo::of(program.as_fd()).ok());
    known.map(|info| info.id).collect()
}
