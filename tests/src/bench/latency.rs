//! How long does it take from the update of an EndpointSlice to the packet that honours it? With a real
//! API server, by `lb` and by kube-proxy in turn, among many Services that do not change.
//!
//! Changes come at a steady rate, whether or not earlier ones have been followed, each to another Service,
//! whose one endpoint is replaced by another. The clock starts where the API server is asked; it stops
//! where the first datagram is sent that the new endpoint answers. A client asks from then on, at first
//! every millisecond, later after every fiftieth part of the time that has passed.

mod asker;
pub(super) mod many;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use self::asker::{Asker, PATIENCE};
use self::many::{frontend, others};
use crate::kubernetes::{ControlPlane, KubeProxy, Mode, programs};
use crate::lb::Lb;
use crate::manifests::Manifests;
use crate::need;
use crate::peer::{Dial, Server, Transport};
use crate::topology::{Cluster, Family, Place};
use crate::wait;

/// What is not answered by then is lost.
const LOST: Duration = Duration::from_millis(250);
/// The endpoints.
const SIDES: [&str; 2] = ["left", "right"];
const PORT: u16 = 8080;

/// What `lb-bench latency` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many Services there are, one run for each.
    pub services: Vec<u32>,
    /// How many of them change under each subject, once each.
    pub changes: u32,
    /// How many change in a second.
    pub rate: u32,
    /// Where the figures go, too.
    pub json: Option<PathBuf>,
}

/// Who makes packets follow the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Lb,
    /// kube-proxy with these flags.
    KubeProxy(&'static [&'static str]),
}

impl Subject {
    /// `lb` at both ends, so that what else the machine does shows.
    const ALL: [Self; 4] = [
        Self::Lb,
        Self::KubeProxy(&["--iptables-min-sync-period=0s"]),
        Self::KubeProxy(&[]),
        Self::Lb,
    ];

    fn name(self) -> String {
        match self {
            Self::Lb => "lb".into(),
            Self::KubeProxy(flags) => ["kube-proxy --proxy-mode=nftables", &flags.join(" ")]
                .join(" ")
                .trim_end()
                .into(),
        }
    }
}

/// A subject at work.
enum Running {
    Lb(Box<Lb>),
    KubeProxy(KubeProxy),
}

/// Times changes under each subject, and prints them.
///
/// # Errors
/// Kubernetes is not built, or somebody does not follow it.
pub fn latency(options: &Options) -> Result<()> {
    need::root();
    let programs = programs().context("nothing to measure with: `cargo xtask kubernetes`")?;
    let mut rows = Vec::new();
    for services in &options.services {
        let cluster = Cluster::routed_veth()?;
        let control = Arc::new(ControlPlane::start(&programs, &cluster)?);
        rows.extend(measure(&cluster, &control, *services, options)?);
    }
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&rows)?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn measure(
    cluster: &Cluster,
    control: &Arc<ControlPlane>,
    services: u32,
    options: &Options,
) -> Result<Vec<Value>> {
    let here = cluster.here();
    let pods = [here.pod(SIDES[0])?, here.pod(SIDES[1])?];
    let mut servers = Vec::new();
    for (pod, name) in pods.iter().zip(SIDES) {
        servers.push(Server::start(pod, name, PORT)?);
    }
    let client = here.pod("client")?;
    ensure!(
        options.changes <= services,
        "{services} Services are too few for {} changes, each of another one",
        options.changes
    );
    let slices = |side: usize| {
        let address = pods[side].address(Family::V4);
        (0..options.changes).map(move |n| many::endpoint(n, address))
    };
    control.api().apply(&others(services - options.changes))?;
    let changing = (0..options.changes).map(many::service);
    let objects: Vec<_> = changing.chain(slices(0)).collect();
    control.api().apply(&objects)?;
    let mut rows = Vec::new();
    for (turn, subject) in Subject::ALL.into_iter().enumerate() {
        let [from, to] = [turn % 2, (turn + 1) % 2];
        let mut running = start(subject, cluster, control)?;
        await_side(&client, options.changes - 1, from)?;
        let times = changes(control, options, &client, slices(to).collect(), to);
        if let Running::KubeProxy(proxy) = &mut running {
            proxy.check()?;
        }
        let row = row(services, options.rate, subject, times?);
        println!("{}", line(&row));
        rows.push(row);
        match running {
            Running::Lb(lb) => lb.uninstall()?,
            Running::KubeProxy(proxy) => {
                proxy.stop()?;
                let mut command = std::process::Command::new("nft");
                here.place()
                    .netns()
                    .output(command.args(["flush", "ruleset"]))?;
            }
        }
    }
    Ok(rows)
}

/// Waits until the last Service is served, by the endpoint that it has.
fn await_side(client: &Place, service: u32, side: usize) -> Result<()> {
    let dial = Dial::new(Transport::UdpUnconnected, frontend(service)).within(LOST);
    wait::until("Services are served", PATIENCE, || {
        Ok(dial
            .ask(client)
            .is_ok_and(|answer| answer.by == SIDES[side]))
    })
}

fn start(subject: Subject, cluster: &Cluster, control: &Arc<ControlPlane>) -> Result<Running> {
    let here = cluster.here();
    Ok(match subject {
        Subject::Lb => {
            let manifests = Manifests::in_cluster(control)?;
            Running::Lb(Lb::started(here, &manifests, "tc")?.into())
        }
        Subject::KubeProxy(flags) => {
            Running::KubeProxy(control.kube_proxy(here, Mode::Nftables, flags)?)
        }
    })
}

/// Replaces the endpoint of one Service after the other; the seconds of each.
fn changes(
    control: &ControlPlane,
    options: &Options,
    client: &Place,
    slices: Vec<Value>,
    side: usize,
) -> Result<Vec<f64>> {
    let mut asker = Asker::start(client)?;
    let began = Instant::now();
    control.api().apply_each(slices, |number| {
        // Not in step with anybody's timer.
        let late = Duration::from_millis(number as u64 * 7_919 % 50);
        let due = Duration::from_secs(number as u64) / options.rate + late;
        sleep(due.saturating_sub(began.elapsed()));
        asker.ask(frontend(number as u32), side)
    })?;
    asker.answered(options.changes)
}

fn row(services: u32, rate: u32, subject: Subject, mut seconds: Vec<f64>) -> Value {
    seconds.sort_by(f64::total_cmp);
    let at = |percent: usize| seconds[(seconds.len() - 1) * percent / 100] * 1_000.0;
    json!({
        "services": services,
        "changes_per_second": rate,
        "subject": subject.name(),
        "changes": seconds.len(),
        "p50_ms": at(50),
        "p99_ms": at(99),
        "least_ms": at(0),
        "most_ms": at(100),
    })
}

fn line(row: &Value) -> String {
    let ms = |field: &str| row[field].as_f64().unwrap_or_default();
    format!(
        "{:>6} Services  p50 {:>8.1} ms  p99 {:>8.1} ms  ({:.1} to {:.1})  {:>4} changes  {}",
        row["services"],
        ms("p50_ms"),
        ms("p99_ms"),
        ms("least_ms"),
        ms("most_ms"),
        row["changes"],
        row["subject"].as_str().unwrap_or_default(),
    )
}
