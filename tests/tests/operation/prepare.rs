//! What does `lb run` change of the machine? Only what it is asked to.

use std::fs;

use anyhow::{Result, ensure};
use lb_tests::lb::Lb;
use lb_tests::manifests::Manifests;
use lb_tests::topology::{Cluster, Place, on};

const FORWARDING: [&str; 2] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
];

/// Of both families, as the place's own network namespace has it.
fn forwarding(place: &Place) -> Result<[String; 2]> {
    let read = |path| Ok(fs::read_to_string(path)?.trim().to_owned());
    let [v4, v6] = FORWARDING.map(|path| place.netns().run(|| read(path)));
    Ok([v4?, v6?])
}

#[test]
fn forwarding_is_switched_on_only_where_that_is_asked_for() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let place = cluster.here().place();
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            place.netns().sysctl(name, "0")?;
        }
        let mut lb = Lb::started(cluster.here(), &manifests, "tc")?;
        ensure!(forwarding(place)? == ["0", "0"], "switched on unasked");
        lb.stop()?;
        let mut lb = lb.with("LB_PREPARE", "sysctls");
        lb.start()?;
        let switched_on = forwarding(place)?;
        ensure!(switched_on == ["1", "1"], "{switched_on:?}");
        lb.uninstall()
    });
}

/// What is mounted at `/sys/fs/bpf`, as the process sees it.
fn mounted(pid: u32) -> Result<Vec<String>> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let mounts = mounts
        .lines()
        .filter(|mount| mount.contains(" /sys/fs/bpf "));
    Ok(mounts.map(str::to_owned).collect())
}

#[test]
fn the_bpf_file_system_is_mounted_only_where_that_is_asked_for() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let lb = Lb::new(cluster.here(), &manifests, "tc")?;
        let mut lb = lb.without_bpffs();
        let refused = lb.start();
        ensure!(refused.is_err(), "started without a BPF file system");
        let said = lb.said();
        ensure!(said.contains("not on bpffs"), "{said}");
        let mut lb = lb.with("LB_PREPARE", "bpffs");
        lb.start()?;
        let mounts = mounted(lb.pid()?)?;
        let is_ours = matches!(&mounts[..], [mount] if mount.contains(" - bpf "));
        ensure!(is_ours, "{mounts:?}");
        // It has what the daemon pinned, which nobody else sees.
        let pins = lb.pin_dir();
        let seen = format!("/proc/{}/root{}", lb.pid()?, pins.display());
        ensure!(fs::exists(format!("{seen}/slots"))? && !pins.exists());
        lb.stop()
    });
}
