//! What happens to connections while pods, Services and `lb` itself come and go? Nothing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Health, Manifests, Service};
use lb_tests::peer::{Dial, Load, LoadReport, Stream, Transport};
use lb_tests::topology::{Cluster, Family, Pair, alone};
use lb_tests::wait;

/// How long clients work in each of these tests.
const IN_ALL: Duration = Duration::from_secs(20);
/// New connections a second, from a pod and from outside.
const RATES: [u32; 2] = [100, 100];
/// Long connections, half of them over IPv6.
const STREAMS: u64 = 50;
/// The slowest connection that is none too slow: a lost packet would cost a second.
const SLOW: Duration = Duration::from_millis(900);

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

/// Clients at work on kubia.
struct Clients {
    start: Instant,
    loads: Vec<Load>,
    streams: Vec<Stream>,
}

impl Clients {
    fn start(cluster: &Cluster) -> Result<Self> {
        let pod = cluster.here().pod_at(5, "client")?;
        // The programs come to a new link some milliseconds after it; a SYN lost meanwhile is not
        // what these tests are about.
        let first = Dial::new(Transport::Tcp, kubia().port(Family::V4, 80));
        let first = first.within(Duration::from_millis(50));
        wait::until("the new pod is served", Duration::from_secs(1), || {
            Ok(first.ask(&pod).is_ok())
        })?;
        let streams = (1..=STREAMS).map(|seed| {
            let family = Family::ALL[(seed % 2) as usize];
            Stream::start(&pod, kubia().port(family, 80), seed)
        });
        let streams = streams.collect();
        let dial = Dial::new(Transport::Tcp, kubia().port(Family::V4, 80));
        let clients = [&pod, cluster.outside()];
        let loads = clients
            .iter()
            .zip(RATES)
            .map(|(client, rate)| Load::start(client, dial, rate));
        Ok(Self {
            start: Instant::now(),
            loads: loads.collect(),
            streams,
        })
    }

    /// Lets them work until so much of the time has passed.
    fn until(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds).saturating_sub(self.start.elapsed()));
    }

    fn finish(self) -> Result<Vec<LoadReport>> {
        sleep(IN_ALL.saturating_sub(self.start.elapsed()));
        for stream in self.streams {
            let report = stream.finish();
            ensure!(report.failure.is_none() && report.bytes > 0, "{report:?}");
        }
        Ok(self.loads.into_iter().map(Load::finish).collect())
    }
}

fn ensure_nothing_failed(reports: &[LoadReport]) -> Result<()> {
    for report in reports {
        ensure!(
            report.failures.is_empty() && report.slowest < SLOW,
            "{report}"
        );
        ensure!(report.asked > 1_800, "the clients were too slow: {report}");
    }
    Ok(())
}

fn manifests() -> Result<Manifests> {
    let manifests = Manifests::new()?;
    let service = Service::new("kubia", "kubia")
        .at(&kubia().both())
        .port(80, 8080);
    manifests.write("kubia.yaml", &[service.object()])?;
    Ok(manifests)
}

#[test]
fn scaling_from_three_to_five_to_one_to_three_loses_nothing() {
    alone(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        let nodes = [cluster.here(), cluster.elsewhere()];
        for i in 0..3 {
            app.pod(nodes[i % 2], &format!("kubia-{i}"))?;
        }
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let clients = Clients::start(cluster)?;
        wait::until("both sieves are in force", Duration::from_secs(4), || {
            let status = lb.output(&["status"])?;
            Ok(["IPv4", "IPv6"]
                .iter()
                .all(|family| status.contains(&format!("{family} in force"))))
        })?;
        clients.until(4);
        app.pod(nodes[0], "kubia-3")?;
        app.pod(nodes[1], "kubia-4")?;
        clients.until(8);
        for i in 1..5 {
            app.set_health(&format!("kubia-{i}"), Health::Terminating)?;
        }
        clients.until(12);
        let before = app.answered();
        clients.until(14);
        for (before, after) in before.iter().zip(app.answered()).skip(1) {
            ensure!(
                *before == after,
                "a terminating pod got new connections: {before:?}, {after:?}"
            );
        }
        app.pod(nodes[0], "kubia-5")?;
        app.pod(nodes[1], "kubia-6")?;
        let reports = clients.finish()?;
        ensure_nothing_failed(&reports)?;
        for name in ["kubia-0", "kubia-3", "kubia-4", "kubia-5", "kubia-6"] {
            let by: u32 = reports
                .iter()
                .filter_map(|report| report.by.get(name))
                .sum();
            ensure!(
                by > 0,
                "{name} was never asked: {}; {}",
                reports[0],
                reports[1]
            );
        }
        ensure!(cluster.here().invalid_packets()? == 0);
        lb.uninstall()
    });
}

/// A terminating pod keeps the connections that it has, gets no new ones, and may close its port as
/// soon as `lb get backends` shows that it drains.
#[test]
fn a_drained_pod_is_missed_by_nobody() {
    alone(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        for name in ["kubia-0", "kubia-1", "kubia-2"] {
            app.pod(cluster.here(), name)?;
        }
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let clients = Clients::start(cluster)?;
        clients.until(5);
        ensure!(app.connections("kubia-1")? > 0);
        app.set_health("kubia-1", Health::Terminating)?;
        await_draining(&lb, "kubia-1")?;
        // What was under way to it has arrived.
        sleep(Duration::from_millis(100));
        app.close("kubia-1")?;
        ensure_nothing_failed(&clients.finish()?)?;
        lb.uninstall()
    });
}

fn await_draining(lb: &Lb, name: &str) -> Result<()> {
    wait::until("shown as draining", Duration::from_secs(2), || {
        let shown = lb.output(&["get", "backends", name, "--no-headers"])?;
        let mut lines = shown.lines().peekable();
        Ok(lines.peek().is_some() && lines.all(|line| line.contains("Draining")))
    })
}

/// Its clients fail until the manifests know, and nobody fails later than a second after.
#[test]
fn a_pod_that_dies_without_notice_is_left_within_a_second() {
    alone(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        for name in ["kubia-0", "kubia-1", "kubia-2"] {
            app.pod(cluster.here(), name)?;
        }
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let dial = Dial::new(Transport::Tcp, kubia().port(Family::V4, 80));
        let load = Load::start(cluster.outside(), dial, 200);
        sleep(Duration::from_secs(2));
        app.stop("kubia-1")?;
        sleep(Duration::from_secs(1));
        app.remove("kubia-1")?;
        let removed = load.elapsed();
        sleep(Duration::from_secs(5));
        let report = load.finish();
        ensure!(
            !report.failures.is_empty(),
            "nobody asked the dead pod: {report}"
        );
        let late = report
            .failures
            .iter()
            .filter(|(when, _)| *when > removed + Duration::from_secs(1));
        ensure!(late.count() == 0, "removed after {removed:?}: {report}");
        lb.uninstall()
    });
}

/// The state is in the kernel: nothing that flows notices, and what changed meanwhile is in effect
/// a second after the next start.
#[test]
fn killing_lb_breaks_nothing_and_the_next_start_catches_up() {
    alone(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        for name in ["kubia-0", "kubia-1", "kubia-2"] {
            app.pod(cluster.here(), name)?;
        }
        let idle = cluster.here().pod_at(6, "idle")?;
        let mut lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let clients = Clients::start(cluster)?;
        clients.until(4);
        lb.kill()?;
        clients.until(7);
        // While nobody looks: another pod, one that terminates, a link that comes, one that goes.
        app.pod(cluster.here(), "kubia-3")?;
        app.set_health("kubia-0", Health::Terminating)?;
        let late = cluster.here().pod_at(7, "late")?;
        cluster.here().remove(&idle)?;
        clients.until(10);
        let start = Instant::now();
        lb.start()?;
        let dial = Dial::new(Transport::Tcp, kubia().port(Family::V4, 80))
            .within(Duration::from_millis(100));
        wait::until("in effect", Duration::from_secs(5), || {
            Ok(dial.ask(&late).is_ok_and(|answer| answer.by == "kubia-3"))
        })?;
        let took = start.elapsed();
        ensure!(took <= Duration::from_secs(1), "in effect after {took:?}");
        ensure_nothing_failed(&clients.finish()?)?;
        lb.uninstall()
    });
}

/// A typo made while `lb` was down takes nothing away, and what was taken out meanwhile still goes.
#[test]
fn what_is_broken_while_lb_is_down_serves_on_and_what_is_removed_goes() {
    alone(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let web = Service::new("web", "kubia").at(&["10.43.77.77".parse()?]);
        manifests.write("web.yaml", &[web.port(80, 8080).object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-vs2kl")?;
        let client = cluster.here().pod("client")?;
        let mut lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let dial = Dial::new(Transport::Tcp, kubia().port(Family::V4, 80));
        let answers = || -> Result<()> {
            let answer = dial.ask(&client)?;
            ensure!(answer.by == "kubia-vs2kl", "{answer:?}");
            Ok(())
        };
        answers()?;
        for broken in [
            "kind: Service\nmetadata: {name: kubia\n",
            "apiVersion: v1\nkind: Service\nmetadata: {name: kubia}\nspec: {clusterIP: 10.43.1650.39}\n",
        ] {
            lb.stop()?;
            manifests.write_text("kubia.yaml", broken)?;
            lb.start()?;
            answers()?;
            let problems = lb.output(&["get", "problems", "-A"])?;
            ensure!(problems.contains("kubia.yaml"), "{problems}");
        }
        lb.stop()?;
        std::fs::remove_file(manifests.path().join("web.yaml"))?;
        lb.start()?;
        answers()?;
        let services = lb.output(&["get", "services"])?;
        ensure!(!services.contains("10.43.77.77"), "{services}");
        lb.uninstall()
    });
}
