//! Which capabilities does `lb run` need? Those of `deploy/kustomize/least-privilege`, and no less.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Dial, Transport};
use lb_tests::topology::{Cluster, Family, Pair, on};
use lb_tests::wait;

/// On kernels with tcx.
const ENOUGH: [&str; 3] = ["bpf", "perfmon", "net_admin"];
const SOON: Duration = Duration::from_secs(10);

#[test]
fn three_capabilities_are_enough_and_none_is_too_much() {
    on(Cluster::routed_veth, |cluster| {
        let kubia = Pair::new("10.43.165.39", "fd00:10:43::a539");
        let manifests = Manifests::new()?;
        let service = Service::new("kubia", "kubia").at(&kubia.both());
        manifests.write("kubia.yaml", &[service.port(80, 8080).object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.elsewhere(), "kubia-there")?;
        let client = cluster.here().pod("client")?;

        for missing in ENOUGH {
            let fewer: Vec<_> = ENOUGH.into_iter().filter(|c| *c != missing).collect();
            let lb = Lb::new(cluster.here(), &manifests, "tc,socket")?;
            let mut lb = lb.confined(&fewer);
            let is_well = lb.start().is_ok() && problems(&lb)?.is_empty();
            ensure!(!is_well, "{missing} is not needed");
            lb.uninstall()?;
        }

        let lb = Lb::new(cluster.here(), &manifests, "tc,socket")?;
        let mut lb = lb.confined(&ENOUGH).with("LB_AUDIT_INTERVAL", "1s");
        lb.start()?;
        let dial = Dial::new(Transport::Tcp, kubia.port(Family::V4, 80));
        dial.ask(&client).context("from a pod")?;
        dial.ask(lb.node()).context("from the node")?;
        // A restart takes over what is pinned, and the audit mends, with no more than these.
        lb.stop()?;
        lb.start()?;
        std::fs::remove_file(lb.pin_dir().join("slots"))?;
        wait::until("the pin is renewed", SOON, || {
            Ok(lb.pin_dir().join("slots").exists())
        })?;
        let problems = problems(&lb)?;
        ensure!(problems.is_empty(), "{problems:?}");
        lb.uninstall()
    });
}

fn problems(lb: &Lb) -> Result<Vec<serde_json::Value>> {
    let state = lb.state()?.context("no state")?;
    Ok(state["problems"].as_array().cloned().unwrap_or_default())
}
