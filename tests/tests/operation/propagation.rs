//! Do pins outlive the container that made them? A host and its containers are mount namespaces here, and the
//! propagation of the mount at /sys/fs/bpf is that of deploy/.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::lb::Lb;
use lb_tests::leftovers::{self, Guard};
use lb_tests::manifests::Manifests;
use lb_tests::topology::{Cluster, on};
use lb_tests::wait;

/// A namespace is there at once; a slow machine is given time.
const SOON: Duration = Duration::from_secs(10);

/// A mount namespace with a directory of its own that is shared, as systemd shares all of a host's. It goes
/// with its guard.
struct Host {
    keeper: Child,
    directory: Guard,
}

impl Host {
    fn new() -> Result<Self> {
        let directory = leftovers::temporary_dir("host")?;
        let path = directory.path().display().to_string();
        let script = format!(
            "set -e\nmount -t tmpfs host {path}\nmount --make-shared {path}\nmkdir {path}/bpf\nexec sleep 300"
        );
        let keeper = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()?;
        let host = Self { keeper, directory };
        wait::until("the host is there", SOON, || Ok(host.bpf()?.is_dir()))?;
        Ok(host)
    }

    /// The directory that containers have at /sys/fs/bpf, as the host sees it.
    fn bpf(&self) -> Result<PathBuf> {
        let inside = self.directory.path().strip_prefix("/")?;
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        Ok(root.join(inside).join("bpf"))
    }

    /// The daemon in a container, whose runtime binds the directory as kubelet tells it to.
    fn container(&self, lb: Lb, propagation: &str) -> Result<Lb> {
        let kind = match propagation {
            "Bidirectional" => "shared",
            "HostToContainer" => "slave",
            other => bail!("what does a runtime make of {other}?"),
        };
        let from = self.directory.path().join("bpf");
        let arrangement = format!(
            "mount --bind {} /sys/fs/bpf\nmount --make-{kind} /sys/fs/bpf",
            from.display()
        );
        let lb = lb.among_mounts_of(self.keeper.id(), &arrangement);
        Ok(lb.with("LB_PREPARE", "bpffs"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let ended = self.keeper.kill().and_then(|()| self.keeper.wait());
        if let Err(error) = ended {
            eprintln!("the host: {error}");
        }
    }
}

/// What deploy/ says of the mount.
fn deployed() -> Result<String> {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize/base/daemonset.yaml");
    let text = fs::read_to_string(&file)?;
    let (_, mount) = text
        .split_once("mountPath: /sys/fs/bpf")
        .context("no mount of the BPF file system")?;
    let (_, rest) = mount.split_once("mountPropagation: ").context("as it is")?;
    Ok(rest
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

#[test]
fn pins_outlive_the_container_as_it_is_deployed() {
    on(Cluster::routed_veth, |cluster| {
        let host = Host::new()?;
        let manifests = Manifests::new()?;
        let lb = Lb::new(cluster.here(), &manifests, "tc")?;
        let map = lb.pin_dir().join("slots");
        let map = map.strip_prefix("/sys/fs/bpf")?.to_owned();
        let pinned = || anyhow::Ok(host.bpf()?.join(&map).exists());

        let mut lb = host.container(lb, "HostToContainer")?;
        lb.start()?;
        ensure!(!pinned()?, "a container's mount came to the host unasked");
        lb.stop()?;

        let mut lb = host.container(lb, &deployed()?)?;
        lb.start()?;
        ensure!(pinned()?, "pinned where nobody else sees it");
        lb.stop()?;
        ensure!(pinned()?, "pins went with the container");
        // The next container has them, too, instead of a BPF file system of its own.
        lb.start()?;
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", lb.pid()?))?;
        let ours = mounts.lines().filter(|mount| {
            mount.contains(" /sys/fs/bpf ")
                && mount.contains(" - bpf ")
                && mount.contains("shared:")
        });
        ensure!(ours.count() == 1, "{mounts}");
        lb.stop()
    });
}
