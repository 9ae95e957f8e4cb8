//! Which kernels are there, and how does one come here? Fetched once, then kept outside the checkout.

use std::{
    cmp::Reverse,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::apt::Apt;
use crate::{paths, process};

/// A line of kernels, of which the newest version is taken.
pub(crate) struct Wanted {
    /// What it is asked for by: the beginning of its version, or `newest`.
    pub(super) name: &'static str,
    /// Debian's suites that have it.
    suites: &'static [&'static str],
}

/// What people run: the stable releases of Debian since the oldest kernel that we support, and what is to come.
pub(super) const KERNELS: [Wanted; 4] = [
    Wanted {
        name: "5.10",
        suites: &["bullseye-security"],
    },
    Wanted {
        name: "6.1",
        suites: &["bookworm-security"],
    },
    Wanted {
        name: "6.12",
        suites: &["trixie-security"],
    },
    Wanted {
        name: "newest",
        suites: &["trixie-backports", "sid"],
    },
];

/// Modules that tests need, and what these need.
const MODULES: &[&str] = &[
    "8021q",
    "act_bpf",
    "act_gact",
    "bonding",
    "br_netfilter",
    "bridge",
    "cls_bpf",
    "cls_matchall",
    "cls_u32",
    "dummy",
    "ip6_tunnel",
    "ipip",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_counter",
    "nft_ct",
    "nft_objref",
    "nft_reject_inet",
    "sch_fq",
    "sch_htb",
    "sch_ingress",
    "sch_netem",
    "sctp",
    "tun",
    "veth",
    "vxlan",
    "wireguard",
];

/// For so long the newest version here counts as the newest there is.
const FRESH: Duration = Duration::from_hours(7 * 24);

/// What the packages of a cloud kernel are called, but for the version in between.
const PACKAGES: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel that is here.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` says it, but for Debian's flavour.
    pub(super) version: String,
    /// Its files: `vmlinuz`, and `modules/` as below `/lib/modules`.
    dir: PathBuf,
}

impl Kernel {
    pub(super) fn image(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The directory that stands for `/` where its modules are concerned.
    pub(super) fn modules_root(&self) -> PathBuf {
        self.dir.join("root")
    }
}

/// The newest kernel of that line; one that is here already where no other can be had.
pub(super) fn get(wanted: &Wanted, update: bool) -> Result<Kernel> {
    let dir = paths::cache()?.join("kernels").join(wanted.name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let here = here(&dir)?;
    let is_fresh = || -> Option<bool> {
        let age = fs::metadata(dir.join("asked")).ok()?.modified().ok()?;
        Some(age.elapsed().ok()? < FRESH)
    };
    match here {
        Some(kernel) if !update && is_fresh() == Some(true) => Ok(kernel),
        Some(kernel) => Ok(fetch(wanted, &dir).unwrap_or_else(|error| {
            eprintln!(
                "kernel {}: {error:#}; {} is here and has to do",
                wanted.name, kernel.version
            );
            kernel
        })),
        None => fetch(wanted, &dir),
    }
}

/// The newest kernel in the cache that has the modules that we want now.
fn here(dir: &Path) -> Result<Option<Kernel>> {
    let mut kernels = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let modules = fs::read_to_string(entry.path().join("wanted")).unwrap_or_default();
        if modules == MODULES.join("\n") {
            kernels.push(Kernel {
                version: entry.file_name().to_string_lossy().into_owned(),
                dir: entry.path(),
            });
        }
    }
    kernels.sort_by_key(|kernel| Reverse(numbers(&kernel.version)));
    Ok(kernels.into_iter().next())
}

/// Fetches the newest version that the archive has, unless it is here.
fn fetch(wanted: &Wanted, dir: &Path) -> Result<Kernel> {
    let apt = Apt::update(&dir.join("apt"), wanted.suites)?;
    let names = apt.names()?;
    let Some(version) = newest(&names, wanted.name) else {
        bail!(
            "{} has no kernel {}",
            wanted.suites.join(" or "),
            wanted.name
        );
    };
    let kernel = match here(dir)? {
        Some(kernel) if kernel.version == version => kernel,
        _ => {
            println!("kernel {}: fetching {version}", wanted.name);
            unpack(&apt, &names, version, dir).with_context(|| format!("fetching {version}"))?
        }
    };
    fs::write(dir.join("asked"), "")?;
    Ok(kernel)
}

fn unpack(apt: &Apt, names: &[String], version: &str, dir: &Path) -> Result<Kernel> {
    let temporary = dir.join("new");
    remove(&temporary)?;
    let (packages, tree) = (temporary.join("packages"), temporary.join("tree"));
    fs::create_dir_all(&packages)?;
    fs::create_dir_all(&tree)?;
    let called = PACKAGES.map(|kind| format!("{kind}{version}{FLAVOUR}"));
    let there: Vec<_> = called
        .into_iter()
        .filter(|name| names.contains(name))
        .collect();
    apt.download(&there, &packages)?;
    for package in fs::read_dir(&packages)? {
        let mut extract = process::host("dpkg-deb", dir);
        process::output(extract.arg("--extract").arg(package?.path()).arg(&tree))?;
    }
    let root = temporary.join("root");
    let release = format!("{version}{FLAVOUR}");
    copy_modules(&tree, &root, &release)?;
    let images = [
        format!("boot/vmlinuz-{release}"),
        format!("depmod/lib/modules/{release}/vmlinuz"),
    ];
    let image = images.map(|image| tree.join(image));
    let image = image
        .iter()
        .find(|image| image.is_file())
        .context("the packages have no kernel image")?;
    fs::copy(image, temporary.join("vmlinuz"))?;
    remove(&packages)?;
    remove(&tree)?;
    fs::write(temporary.join("wanted"), MODULES.join("\n"))?;
    let place = dir.join(version);
    remove(&place)?;
    fs::rename(&temporary, &place)?;
    Ok(Kernel {
        version: version.to_owned(),
        dir: place,
    })
}

/// Copies the modules that tests need, and those that these need, uncompressed.
fn copy_modules(tree: &Path, root: &Path, release: &str) -> Result<()> {
    let place = ["lib/modules", "usr/lib/modules"]
        .map(|place| tree.join(place).join(release))
        .into_iter()
        .find(|place| place.join("kernel").is_dir())
        .context("the packages have no modules")?;
    let mut find = process::host("find", &place);
    find.args(["kernel", "-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"]);
    process::output(&mut find)?;
    let below = Path::new("lib/modules").join(release);
    let all = tree.join("depmod").join(&below);
    fs::create_dir_all(all.parent().context("a path below lib")?)?;
    fs::rename(&place, &all)?;
    let list = depmod(&tree.join("depmod"), release)?;
    for module in MODULES {
        let line = list.lines().find(|line| {
            line.split(':')
                .next()
                .is_some_and(|path| is_module(path, module))
        });
        // What is not a module is built in, or the tests that need it say that it is missing.
        for path in line
            .unwrap_or_default()
            .split([':', ' '])
            .filter(|path| !path.is_empty())
        {
            let to = root.join(&below).join(path);
            fs::create_dir_all(to.parent().context("a module is in a directory")?)?;
            fs::copy(all.join(path), &to).with_context(|| format!("copying {path}"))?;
        }
    }
    depmod(root, release)?;
    Ok(())
}

fn is_module(path: &str, module: &str) -> bool {
    path.rsplit('/')
        .next()
        .and_then(|file| file.strip_suffix(".ko"))
        .is_some_and(|name| name.replace('-', "_") == module)
}

/// Notes which module needs which, and returns the notes.
fn depmod(root: &Path, release: &str) -> Result<String> {
    let mut command = process::host("busybox", root);
    process::output(command.args(["depmod", "-b"]).arg(root).arg(release))?;
    let file = root.join("lib/modules").join(release).join("modules.dep");
    fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}

/// The newest of these packages' versions that begins so.
fn newest<'n>(names: &'n [String], line: &str) -> Option<&'n str> {
    let versions = names.iter().filter_map(|name| {
        let version = name.strip_prefix(PACKAGES[0])?.strip_suffix(FLAVOUR)?;
        let numbers = numbers(version);
        // Metapackages have the first two only, those of other flavours words before them.
        let is_kernel = version.starts_with(|c: char| c.is_ascii_digit()) && numbers.len() > 2;
        (is_kernel && belongs(version, line)).then_some(version)
    });
    versions.max_by_key(|version| numbers(version))
}

fn belongs(version: &str, line: &str) -> bool {
    line == "newest"
        || version
            .strip_prefix(line)
            .is_some_and(|rest| rest.starts_with('.'))
}

/// The numbers in a version, which order versions.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    ensure!(!dir.exists(), "{} is still there", dir.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn the_newest_version_of_a_line_is_taken_and_no_metapackage() {
        let names = [
            "linux-image-5.10-cloud-amd64",
            "linux-image-5.10.0-9-cloud-amd64",
            "linux-image-5.10.0-46-cloud-amd64",
            "linux-image-5.10.0-46-cloud-amd64-dbg",
            "linux-image-cloud-amd64",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.12.115+deb13-cloud-amd64",
            "linux-image-6.12.115+deb13.1-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ]
        .map(str::to_owned);
        assert_eq!(newest(&names, "5.10"), Some("5.10.0-46"));
        assert_eq!(newest(&names, "6.1"), Some("6.1.0-0.deb11.52"));
        assert_eq!(newest(&names, "6.12"), Some("6.12.115+deb13.1"));
        assert_eq!(newest(&names, "newest"), Some("6.12.115+deb13.1"));
        assert_eq!(newest(&names, "5.1"), None);
    }
}
