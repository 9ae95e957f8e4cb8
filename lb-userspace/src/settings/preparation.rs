//! What may be changed of the machine?

use clap::ValueEnum;

/// Something of the machine that is changed where it lacks, if the user asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preparation {
    /// The BPF file system is mounted at /sys/fs/bpf.
    Bpffs,
    /// Forwarding is switched on.
    Sysctls,
}

impl Preparation {
    /// The sysctls that are switched on: without them packets to pods are not forwarded.
    pub const SYSCTLS: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];
}
