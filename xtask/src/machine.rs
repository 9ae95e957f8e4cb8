//! What this machine is and what it lacks, as far as `setup` can tell.

use std::{env, fs, path::Path};

use anyhow::Result;

use crate::{
    kubernetes, linker, process, static_build,
    toolchain::{Compiler, Toolchain},
};

/// A program that the tests or the build call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    /// Debian's package that has it, and others that it is of no use without, with spaces between.
    pub(crate) package: &'static str,
    pub(crate) purpose: &'static str,
}

/// Compiles the C in TLS for the other architecture.
#[cfg(target_arch = "x86_64")]
const CROSS_COMPILER: Tool = Tool {
    program: "aarch64-linux-gnu-gcc",
    package: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    purpose: "the C in TLS for the other architecture",
};
#[cfg(not(target_arch = "x86_64"))]
const CROSS_COMPILER: Tool = Tool {
    program: "x86_64-linux-gnu-gcc",
    package: "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
    purpose: "the C in TLS for the other architecture",
};

/// All programs that are called by name, but for cargo, rustc, cc and apt-get, without which xtask is not built.
pub(crate) const TOOLS: &[Tool] = &[
    Tool {
        program: "bpftool",
        package: "bpftool",
        purpose: "loads the object, prints the maps",
    },
    Tool {
        program: "ip",
        package: "iproute2",
        purpose: "network namespaces of the tests",
    },
    Tool {
        program: "nft",
        package: "nftables",
        purpose: "the rules that packets must survive",
    },
    Tool {
        program: "iptables-legacy",
        package: "iptables",
        purpose: "kube-proxy's rules in its other modes",
    },
    Tool {
        program: "conntrack",
        package: "conntrack",
        purpose: "what conntrack saw",
    },
    Tool {
        program: "ethtool",
        package: "ethtool",
        purpose: "offloads off on test links",
    },
    Tool {
        program: "wg",
        package: "wireguard-tools",
        purpose: "a tunnel between nodes of the tests",
    },
    Tool {
        program: "iperf3",
        package: "iperf3",
        purpose: "what others measure by",
    },
    Tool {
        program: "dig",
        package: "bind9-dnsutils",
        purpose: "what a DNS client sees",
    },
    CROSS_COMPILER,
    Tool {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        purpose: "runs other kernels",
    },
    Tool {
        program: "busybox",
        package: "busybox-static",
        purpose: "the shell's programs in these machines",
    },
    Tool {
        program: "cpio",
        package: "cpio",
        purpose: "packs the files of these machines",
    },
    Tool {
        program: "xz",
        package: "xz-utils",
        purpose: "unpacks their kernels' modules",
    },
    Tool {
        program: "strip",
        package: "binutils",
        purpose: "makes test binaries fit into them",
    },
    Tool {
        program: "buildah",
        package: "buildah",
        purpose: "the container image",
    },
];

/// The facts on which `setup` decides.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) is_root: bool,
    pub(crate) is_debian: bool,
    pub(crate) missing_tools: Vec<&'static Tool>,
    pub(crate) bpf: Bpf,
    /// Whether there is no Go that builds the real Kubernetes.
    pub(crate) needs_go: bool,
    /// Debian's release by its name; empty where there is none.
    pub(crate) codename: String,
    /// The standard libraries for static binaries that rustup has yet to fetch.
    pub(crate) missing_targets: Vec<String>,
}

/// How far the way to a BPF object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bpf {
    Complete,
    /// Debian's compiler is there, its bpf-linker is not.
    NoLinker {
        llvm_major: u32,
        has_llvm_files: bool,
    },
    NoCompiler,
}

impl Machine {
    pub(crate) fn look(root: &Path) -> Result<Self> {
        Ok(Self {
            is_root: is_root(),
            is_debian: is_debian(),
            missing_tools: TOOLS
                .iter()
                .filter(|tool| process::find(tool.program).is_none())
                .collect(),
            bpf: bpf(root)?,
            needs_go: kubernetes::check_go(root).is_err(),
            codename: os_release("VERSION_CODENAME").unwrap_or_default(),
            missing_targets: missing_targets(root),
        })
    }
}

/// Whether this runs in CI, where nobody can be asked.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

/// Whether this process may install packages and make network namespaces.
pub(crate) fn is_root() -> bool {
    // std has no geteuid; the owner of /proc/self is the effective user.
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn is_debian() -> bool {
    os_release("ID").is_some_and(|id| id == "debian")
}

/// A field of /etc/os-release.
fn os_release(field: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

fn bpf(root: &Path) -> Result<Bpf> {
    if Toolchain::detect(root).is_ok() {
        return Ok(Bpf::Complete);
    }
    if !Compiler::installed(root).contains(&Compiler::Debian) {
        return Ok(Bpf::NoCompiler);
    }
    let llvm_major = Compiler::Debian.llvm_major(root)?;
    Ok(Bpf::NoLinker {
        llvm_major,
        has_llvm_files: linker::llvm_prefix(llvm_major)
            .join("bin/llvm-config")
            .is_file(),
    })
}

fn missing_targets(root: &Path) -> Vec<String> {
    let Ok(list) =
        process::output(process::host("rustup", root).args(["target", "list", "--installed"]))
    else {
        return Vec::new();
    };
    static_build::ARCHITECTURES
        .map(static_build::target)
        .into_iter()
        .filter(|target| !list.lines().any(|line| line == target))
        .collect()
}
