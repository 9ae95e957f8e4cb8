//! How long does it take from the update of an EndpointSlice to the packet that honours it? With a real
//! API server, by `lb` and by kube-proxy in turn, among many Services that do not change.
//!
//! One Service has one endpoint, which is replaced by the other one and back. The clock starts where the
//! API server is asked; it stops where the first datagram is sent that the new endpoint answers. A
//! client sends one about every millisecond, each from a port of its own.

pub(super) mod many;

use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use self::many::{ADDRESS, measured, others};
use crate::kubernetes::{ControlPlane, KubeProxy, Mode, programs};
use crate::lb::Lb;
use crate::manifests::Manifests;
use crate::need;
use crate::peer::{Dial, Server, Transport};
use crate::topology::{Cluster, Family, Place};

/// Between two datagrams.
const TICK: Duration = Duration::from_millis(1);
/// What is not answered by then is lost.
const LOST: Duration = Duration::from_millis(250);
/// A slow machine, and somebody who writes all rules anew.
const PATIENCE: Duration = Duration::from_mins(3);
/// The client's, in turn: none is used again while anybody remembers a conversation of it, which would
/// go on with the endpoint that it began with.
const PORTS: RangeInclusive<u16> = 1_024..=u16::MAX;
/// The endpoints.
const SIDES: [&str; 2] = ["left", "right"];
const PORT: u16 = 8080;

/// What `lb-bench latency` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many Services there are beside the one that changes, one run for each.
    pub services: Vec<u32>,
    /// How many changes are timed of each subject.
    pub changes: u32,
    /// No subject is measured for longer than this: it has fewer changes then.
    pub at_most: Duration,
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
    let slice = |side: usize| measured(pods[side].address(Family::V4));
    control.api().apply(&others(services))?;
    control.api().apply(&[many::service(), slice(0)])?;
    let mut rows = Vec::new();
    for subject in Subject::ALL {
        control.api().apply(&[slice(0)])?;
        let mut running = start(subject, cluster, control)?;
        let mut prober = Prober::start(&client)?;
        prober.await_side(0)?;
        let times = changes(control, options, &mut prober, slice);
        if let Running::KubeProxy(proxy) = &mut running {
            proxy.check()?;
        }
        let row = row(services, subject, times?);
        println!("{}", line(&row));
        rows.push(row);
        drop(prober);
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

/// Replaces the endpoint by the other one again and again; the seconds of each.
fn changes(
    control: &ControlPlane,
    options: &Options,
    prober: &mut Prober,
    slice: impl Fn(usize) -> Value,
) -> Result<Vec<f64>> {
    let began = Instant::now();
    let mut seconds = Vec::new();
    let mut sides = (0..options.changes).map(|change| usize::from(change % 2 == 0));
    let objects: Vec<_> = sides.clone().map(slice).collect();
    control.api().apply_each(objects, |asked| {
        let side = sides.next().context("one too many")?;
        let sent = prober.await_side(side)?;
        seconds.push(sent.saturating_duration_since(asked).as_secs_f64());
        // Not in step with anybody's timer.
        sleep(TICK * (seconds.len() as u32 * 7_919 % 50));
        Ok(began.elapsed() < options.at_most)
    })?;
    ensure!(!seconds.is_empty(), "nothing was measured");
    Ok(seconds)
}

fn row(services: u32, subject: Subject, mut seconds: Vec<f64>) -> Value {
    seconds.sort_by(f64::total_cmp);
    let at = |percent: usize| seconds[(seconds.len() - 1) * percent / 100] * 1_000.0;
    json!({
        "services": services,
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

/// A client that asks until the right one answers; it goes when dropped.
struct Prober {
    wanted: Option<Sender<usize>>,
    sent: Receiver<Result<Instant>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Prober {
    fn start(client: &Place) -> Result<Self> {
        let dial = Dial::new(Transport::UdpUnconnected, format!("{ADDRESS}:80").parse()?);
        let dial = dial.within(LOST);
        let client = client.clone();
        let mut ports = PORTS.cycle();
        let (wanted, orders) = channel();
        let (reports, sent) = channel();
        let thread = thread::spawn(move || {
            for side in orders {
                if reports
                    .send(probe(&client, dial, &mut ports, side))
                    .is_err()
                {
                    return;
                }
            }
        });
        Ok(Self {
            wanted: Some(wanted),
            sent,
            thread: Some(thread),
        })
    }

    /// When the first datagram was sent that this side answered.
    fn await_side(&mut self, side: usize) -> Result<Instant> {
        let wanted = self.wanted.as_ref().context("it is over")?;
        wanted.send(side).ok().context("the client is gone")?;
        self.sent.recv()?
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.wanted = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the client failed");
        }
    }
}

fn probe(
    client: &Place,
    dial: Dial,
    ports: &mut impl Iterator<Item = u16>,
    side: usize,
) -> Result<Instant> {
    let own = client.address(Family::V4);
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < PATIENCE {
        let port = ports.next().context("no port")?;
        let dial = dial.from_port(SocketAddr::new(own, port));
        let sent = Instant::now();
        match dial.ask(client) {
            Ok(answer) if answer.by == SIDES[side] => return Ok(sent),
            other => last = Some(other),
        }
        sleep(TICK.saturating_sub(sent.elapsed()));
    }
    bail!(
        "{} did not answer within {PATIENCE:?}: {last:?}",
        SIDES[side]
    )
}
