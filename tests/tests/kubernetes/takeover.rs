//! Do connections outlive a change from kube-proxy itself to `lb`, and the way back?

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use lb_tests::app::App;
use lb_tests::handover::{self, Course, TARGET_PORT, backends, there_and_back};
use lb_tests::kubernetes::{ControlPlane, KubeProxy, Mode};
use lb_tests::manifests::Manifests;
use lb_tests::topology::Cluster;
use lb_tests::{need, wait};

use super::{SOON, in_cluster};

/// kube-proxy and its rules.
struct Real<'c> {
    control: &'c Arc<ControlPlane>,
    cluster: &'c Cluster,
    mode: Mode,
    running: Option<KubeProxy>,
}

impl handover::KubeProxy for Real<'_> {
    fn start(&mut self) -> Result<()> {
        let here = self.cluster.here();
        self.running = Some(self.control.kube_proxy(here, self.mode, &[])?);
        wait::until("kube-proxy has written its rules", SOON, || {
            let is_there = |mut list: Command| here.place().netns().output(&mut list);
            let lists = rules(self.mode).map(is_there);
            // The rules of a table come at once, in all modes.
            Ok(lists
                .into_iter()
                .all(|list| list.is_ok_and(|list| list.contains("kubia"))))
        })
    }

    fn remove(&mut self) -> Result<()> {
        let mut running = self.running.take().context("it does not run")?;
        running.check()?;
        running.stop()?;
        self.control
            .clean_up_after_kube_proxy(self.cluster.here(), self.mode)
    }
}

/// What lists the rules for Services of each family.
fn rules(mode: Mode) -> [Command; 2] {
    let command = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    };
    match mode {
        Mode::Nftables => {
            ["ip", "ip6"].map(|family| command(&["nft", "list", "table", family, "kube-proxy"]))
        }
        Mode::Iptables => ["iptables-nft", "ip6tables-nft"]
            .map(|program| command(&[program, "-t", "nat", "-S", "KUBE-SERVICES"])),
        Mode::IptablesLegacy => ["iptables-legacy", "ip6tables-legacy"]
            .map(|program| command(&[program, "-t", "nat", "-S", "KUBE-SERVICES"])),
    }
}

fn connections_outlive(mode: Mode) {
    in_cluster(|cluster, control| {
        if mode == Mode::IptablesLegacy && !need::old_iptables(cluster.here().place().netns()) {
            return Ok(());
        }
        let manifests = Manifests::in_cluster(control)?;
        manifests.write("kubia.yaml", &[handover::service().object()])?;
        let app = App::new(&manifests, "kubia", TARGET_PORT);
        let [backend, ..] = backends(cluster, &app)?;
        let mut proxy = Real {
            control,
            cluster,
            mode,
            running: None,
        };
        let course = Course {
            keeps_nat: mode != Mode::Nftables,
            standby: true,
        };
        there_and_back(cluster, &manifests, &backend, &mut proxy, course)
    });
}

#[test]
fn connections_outlive_kube_proxy_and_lb() {
    connections_outlive(Mode::Nftables);
}

#[test]
fn connections_outlive_kube_proxy_with_iptables_and_lb() {
    connections_outlive(Mode::Iptables);
}

#[test]
fn connections_outlive_kube_proxy_with_the_old_iptables_and_lb() {
    connections_outlive(Mode::IptablesLegacy);
}
