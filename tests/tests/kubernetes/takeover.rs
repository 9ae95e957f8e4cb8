//! Do connections outlive a change from kube-proxy itself to `lb`, and the way back?

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use lb_tests::app::App;
use lb_tests::handover::{self, Course, TARGET_PORT, backends, there_and_back};
use lb_tests::kubernetes::{ControlPlane, KubeProxy};
use lb_tests::manifests::Manifests;
use lb_tests::topology::Cluster;
use lb_tests::wait;

use super::{SOON, in_cluster};

/// kube-proxy and its rules.
struct Real<'c> {
    control: &'c Arc<ControlPlane>,
    cluster: &'c Cluster,
    running: Option<KubeProxy>,
}

impl handover::KubeProxy for Real<'_> {
    fn start(&mut self) -> Result<()> {
        let here = self.cluster.here();
        self.running = Some(self.control.kube_proxy(here, &[])?);
        wait::until("kube-proxy has written its rules", SOON, || {
            let is_there = |family| {
                let mut list = Command::new("nft");
                list.args(["list", "table", family, "kube-proxy"]);
                here.place().netns().output(&mut list).is_ok()
            };
            Ok(["ip", "ip6"].into_iter().all(is_there))
        })
    }

    fn remove(&mut self) -> Result<()> {
        let mut running = self.running.take().context("it does not run")?;
        running.check()?;
        running.stop()?;
        self.control.clean_up_after_kube_proxy(self.cluster.here())
    }
}

#[test]
fn connections_outlive_kube_proxy_and_lb() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        manifests.write("kubia.yaml", &[handover::service().object()])?;
        let app = App::new(&manifests, "kubia", TARGET_PORT);
        let [backend, ..] = backends(cluster, &app)?;
        let mut proxy = Real {
            control,
            cluster,
            running: None,
        };
        let course = Course {
            other_nat: false,
            standby: true,
        };
        there_and_back(cluster, &manifests, &backend, &mut proxy, course)
    });
}
