//! What do clients notice of a scale-up and of a pod that is drained? Nothing.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::show::{heading, line};
use crate::app::App;
use crate::lb::Lb;
use crate::manifests::{Health, Manifests, Service};
use crate::peer::{Dial, Load, Transport};
use crate::topology::{Cluster, Family, Pair};
use crate::wait;

/// New connections a second; no client tries twice.
const PER_SECOND: u32 = 100;
/// Between two changes.
const PAUSE: Duration = Duration::from_secs(2);
/// A change takes effect long before.
const PATIENCE: Duration = Duration::from_secs(5);

/// Changes a Service's pods while clients connect.
pub(super) fn under_load(cluster: &Cluster, manifests: &Manifests, lb: &Lb) -> Result<()> {
    heading("Scale up, drain a pod, stop it: 100 new connections a second, none tried twice");
    let vip = Pair::new("10.43.77.77", "fd00:10:43::7777");
    manifests.write(
        "web.yaml",
        &[Service::new("web", "web")
            .at(&vip.both())
            .port(80, 8_080)
            .object()],
    )?;
    let web = App::new(manifests, "web", 8_080);
    web.pod_at(cluster.here(), 70, "web-0")?;
    web.pod_at(cluster.elsewhere(), 70, "web-1")?;
    for pod in ["web-0", "web-1"] {
        await_status(lb, pod, "Ready")?;
    }
    let client = cluster.here().pod_at(5, "client")?;
    let dial = Dial::new(Transport::Tcp, vip.port(Family::V4, 80));
    let load = Load::start(&client, dial, PER_SECOND);
    sleep(PAUSE);
    web.pod_at(cluster.here(), 71, "web-2")?;
    line("at 2 s", "web-2 starts");
    sleep(PAUSE);
    web.set_health("web-0", Health::Terminating)?;
    await_status(lb, "web-0", "Draining")?;
    line("at 4 s", "web-0 terminates: no new connection goes there");
    sleep(PAUSE);
    web.remove("web-0")?;
    line("at 6 s", "web-0 is gone");
    sleep(PAUSE);
    let report = load.finish();
    ensure!(report.failures.is_empty(), "{report}");
    line(
        "connections",
        &format!(
            "{} opened, 0 failed, slowest {} ms",
            report.asked,
            report.slowest.as_millis()
        ),
    );
    for (name, count) in &report.by {
        line(&format!("  {name}"), &count.to_string());
    }
    Ok(())
}

/// Waits until `lb get backends` shows the pod with this status.
fn await_status(lb: &Lb, pod: &str, status: &str) -> Result<()> {
    wait::until(&format!("{pod} is {status}"), PATIENCE, || {
        let backends = lb.output(&["get", "backends", "--service", "web"])?;
        let mut rows = backends.lines();
        Ok(rows.any(|row| row.contains(&format!("/{pod}")) && row.contains(status)))
    })
}
