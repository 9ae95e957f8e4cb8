//! Who changes what is ours in the kernel? Whoever it is, it is noticed, told and mended.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::command;
use lb_tests::http::get;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Dial, Transport};
use lb_tests::topology::{Cluster, Family, Pair, on};
use lb_tests::wait;
use lb_userspace::dataplane::Dataplane;
use lb_userspace::dataplane::kernel::KernelTables;
use lb_userspace::tables::{FamilyRowKey, Op, RowKey};

/// An audit a second, and time for a slow machine.
const INTERVAL: &str = "1s";
const SOON: Duration = Duration::from_secs(10);
const METRICS: &str = "127.0.0.1:10249";

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

fn manifests() -> Result<Manifests> {
    let manifests = Manifests::new()?;
    let service = Service::new("kubia", "kubia").at(&kubia().both());
    manifests.write("kubia.yaml", &[service.port(80, 8080).object()])?;
    Ok(manifests)
}

/// Takes a frontend out of its map.
fn delete_frontend(lb: &Lb) -> Result<()> {
    let mut maps = KernelTables::open(&lb.pin_dir())?;
    let tables = maps.read()?;
    let key = *tables.v4.frontends.keys().next().context("no frontend")?;
    maps.apply(&Op::Delete(RowKey::V4(FamilyRowKey::Frontend(key))))?;
    Ok(())
}

/// The pins of all links, sorted.
fn links(lb: &Lb) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(lb.pin_dir().join("attached"))?;
    let mut links = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    links.sort();
    Ok(links)
}

fn detach(link: &PathBuf) -> Result<()> {
    let mut bpftool = Command::new("bpftool");
    command::run(bpftool.args(["link", "detach", "pinned"]).arg(link))?;
    Ok(())
}

fn verify(lb: &Lb) -> Result<Output> {
    let mut command = lb.command(&["verify"])?;
    lb.node().netns().run(|| Ok(command.output()?))
}

#[test]
fn what_somebody_changes_in_the_kernel_is_mended_and_told() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.elsewhere(), "kubia-there")?;
        let client = cluster.here().pod("client")?;
        let lb = Lb::new(cluster.here(), &manifests, "tc,socket")?;
        let mut lb = lb.with("LB_AUDIT_INTERVAL", INTERVAL);
        lb.start()?;
        let dial = Dial::new(Transport::Tcp, kubia().port(Family::V4, 80));
        dial.ask(&client).context("before")?;

        delete_frontend(&lb)?;
        for link in links(&lb)? {
            detach(&link)?;
        }
        fs::remove_file(lb.pin_dir().join("slots"))?;
        fs::remove_file(lb.pin_dir().join("programs/tc_pod_in"))?;
        wait::until("the client is served again", SOON, || {
            Ok(dial.ask(&client).is_ok())
        })?;
        wait::until("everything is as it was", SOON, || {
            Ok(verify(&lb)?.status.success())
        })?;
        dial.ask(lb.node()).context("the node itself")?;

        let metrics = get(lb.node(), METRICS.parse()?, "/metrics")?;
        for (kind, at_least) in [("map", 1.0), ("link", 2.0), ("pin", 2.0)] {
            let name = format!("lb_drift_total{{kind=\"{kind}\"}}");
            let count = metrics.metric(&name);
            ensure!(
                count.is_some_and(|count| count >= at_least),
                "{name}: {count:?}"
            );
        }
        let found = lb.state()?.context("no state")?["audit"]["found"].to_string();
        ensure!(
            found.contains("link tcx") || found.contains("map frontends4"),
            "{found}"
        );
        lb.uninstall()
    });
}

#[test]
fn verify_names_what_differs_and_mends_nothing() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let lb = Lb::new(cluster.here(), &manifests, "tc")?;
        let mut lb = lb.with("LB_AUDIT_INTERVAL", "0");
        lb.start()?;
        let well = verify(&lb)?;
        let text = String::from_utf8_lossy(&well.stdout);
        ensure!(well.status.success(), "{text}");
        delete_frontend(&lb)?;
        let link = links(&lb)?.into_iter().next().context("no link")?;
        detach(&link)?;
        for running in [true, false] {
            if !running {
                lb.stop()?;
            }
            let ill = verify(&lb)?;
            let text = String::from_utf8_lossy(&ill.stdout);
            ensure!(ill.status.code() == Some(1), "{text}");
            let name = link.file_name().context("a name")?.to_string_lossy();
            for told in ["frontends4 has", &*name] {
                ensure!(text.contains(told), "{told}: {text}");
            }
            ensure!(text.contains("not running") != running, "{text}");
        }
        lb.start()?;
        wait::until("the next start mends it", SOON, || {
            Ok(verify(&lb)?.status.success())
        })?;
        lb.uninstall()
    });
}
