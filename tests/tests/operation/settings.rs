//! The configuration file changes while the daemon runs.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::lb::Lb;
use lb_tests::leftovers;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::ping;
use lb_tests::topology::{Cluster, Pair, on};
use lb_tests::wait;

/// The file is looked at every other second.
const SOON: Duration = Duration::from_secs(15);

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

fn with_kubia() -> Result<Manifests> {
    let manifests = Manifests::new()?;
    let service = Service::new("kubia", "kubia").at(&kubia().both());
    manifests.write("kubia.yaml", &[service.port(80, 8080).object()])?;
    Ok(manifests)
}

/// What can change takes effect at once; what cannot is named; a slip of the pen changes nothing.
#[test]
fn the_configuration_file_is_followed() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = with_kubia()?;
        let directory = leftovers::temporary_dir("config")?;
        let file = directory.path().join("lb.yaml");
        let write = |text: &str| -> Result<()> {
            // As a ConfigMap is replaced: in one step, by another file.
            let beside = file.with_extension("new");
            fs::write(&beside, format!("apiVersion: lb/v1\n{text}\n"))?;
            Ok(fs::rename(&beside, &file)?)
        };
        write("")?;
        let lb = Lb::new(cluster.here(), &manifests, "tc")?;
        let mut lb = lb.with("LB_CONFIG", &file.display().to_string());
        lb.start()?;
        let client = cluster.here().pod("client")?;
        let answers = || ping(&client, kubia().v4.into(), Duration::from_millis(300));
        let problems =
            || -> Result<String> { Ok(lb.state()?.context("no state")?["problems"].to_string()) };
        ensure!(!answers()?, "a ClusterIP answers pings unasked");

        write("answerPing: true")?;
        wait::until("it answers pings", SOON, answers)?;
        write("answerPing: perhaps")?;
        wait::until("the slip is told", SOON, || {
            let problems = problems()?;
            Ok(problems.contains("lb.yaml:2: answerPing") && problems.contains("perhaps"))
        })?;
        ensure!(answers()?, "a slip of the pen has changed something");
        write("metricsBindAddress: 127.0.0.1:10250")?;
        wait::until("what waits for a start is named", SOON, || {
            let problems = problems()?;
            Ok(problems.contains("--metrics-bind-address") && !problems.contains("--answer-ping"))
        })?;
        wait::until("the rest is followed", SOON, || Ok(!answers()?))?;
        write("")?;
        wait::until("nothing waits any more", SOON, || {
            Ok(!problems()?.contains("--metrics-bind-address"))
        })?;
        lb.uninstall()
    });
}

/// SIGHUP has the file read again, whether its bytes differ or not, and ends nothing.
#[test]
fn the_configuration_file_is_read_again_on_sighup() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = with_kubia()?;
        let directory = leftovers::temporary_dir("config")?;
        let file = directory.path().join("lb.yaml");
        fs::write(&file, "apiVersion: lb/v1\n")?;
        let lb = Lb::new(cluster.here(), &manifests, "tc")?;
        let mut lb = lb.with("LB_CONFIG", &file.display().to_string());
        lb.start()?;
        let pid = lb.pid()?;
        let times = || lb.said().matches("settings read again").count();
        ensure!(times() == 0, "read again unasked: {}", lb.said());
        // Nobody could tell by looking at the file.
        for time in 1..=2 {
            lb.hang_up()?;
            wait::until("the file is read again", SOON, || Ok(times() == time))?;
        }

        fs::write(&file, "apiVersion: lb/v1\nanswerPing: true\n")?;
        lb.hang_up()?;
        let client = cluster.here().pod("client")?;
        let answers = || ping(&client, kubia().v4.into(), Duration::from_millis(300));
        wait::until("what it says now counts", SOON, answers)?;
        let state = lb.state()?.context("no state")?;
        ensure!(state["pid"] == pid && lb.pid()? == pid, "{state}");
        lb.uninstall()
    });
}
