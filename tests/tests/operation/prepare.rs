//! What does `lb run` change of the machine? Only what it is asked to.

use std::fs;

use anyhow::{Result, ensure};
use lb_tests::lb::Lb;
use lb_tests::manifests::Manifests;
use lb_tests::topology::{Cluster, Place, on};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// As the place's own network namespace has it.
fn forwarding(place: &Place) -> Result<String> {
    place.netns().run(|| Ok(fs::read_to_string(FORWARDING)?))
}

#[test]
fn forwarding_is_switched_on_only_where_that_is_asked_for() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let place = cluster.here().place();
        place.netns().sysctl("net.ipv4.ip_forward", "0")?;
        let mut lb = Lb::started(cluster.here(), &manifests, "tc")?;
        ensure!(forwarding(place)?.trim() == "0", "switched on unasked");
        lb.stop()?;
        let mut lb = lb.with("LB_PREPARE", "sysctls");
        lb.start()?;
        ensure!(forwarding(place)?.trim() == "1", "not switched on");
        lb.uninstall()
    });
}
