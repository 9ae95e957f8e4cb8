//! What does planning cost, and does the cost of a change follow the size of the change?
//!
//! Pure code, so it is timed as it is: no kernel, no root.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::model::{
    Change, Endpoint, Node, ObjectName, Protocol, Service, ServicePort, Slice, SlicePort,
    TargetPort,
};
use lb_userspace::plan::{CompleteList, ConfigBase, Planner};
use lb_userspace::tables::{Capacities, Tables};
use serde_json::json;

use super::rounds::{Series, Spread, interleave};

/// Services of the cluster that is measured.
const BIG: u32 = 10_000;
/// Services of the one that it is compared with.
const SMALL: u32 = 100;
/// Endpoints of each Service, all in one slice.
const ENDPOINTS: u32 = 10;
/// A change of one slice may cost so much more in the big cluster than in the small one.
const AT_MOST: f64 = 2.0;
/// Between two changes, so that nothing of the one before is in quarantine any more.
const PAUSE_MILLIS: u64 = 2_000;
/// Changes go through the Services in steps of this prime.
const STEP: u32 = 7_919;
/// ClusterIPs and endpoints are counted from here.
const CLUSTER_IPS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const PODS: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 1);

/// What `lb-bench plan` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many changes of one slice are timed in each cluster.
    pub rounds: u32,
    /// Where the figures go, too.
    pub json: Option<PathBuf>,
}

/// Times a fresh plan and changes of one slice, and prints them.
///
/// # Errors
/// Something is not planned that should be, or the figures cannot be written.
pub fn plan(options: &Options) -> Result<()> {
    // The small one first: what it leaves of the heap would hide what the big one needs.
    let mut clusters = [Cluster::planned(SMALL)?, Cluster::planned(BIG)?];
    let changes = interleave(clusters.len(), options.rounds, |i, round| {
        clusters[i].change_one_slice(round)
    })?;
    let spreads: Vec<_> = changes.iter().map(Series::spread).collect();
    let ratio = spreads[1].median / spreads[0].median;
    for (cluster, spread) in clusters.iter().zip(&spreads) {
        println!("{}", cluster.line(spread));
    }
    println!(
        "one-slice change, {BIG} Services : {SMALL} Services: {ratio:.2} ({} {AT_MOST})",
        if ratio <= AT_MOST { "at most" } else { "above" },
    );
    if let Some(file) = &options.json {
        let rows = clusters.iter().zip(&spreads);
        let rows: Vec<_> = rows.map(|(cluster, spread)| cluster.row(spread)).collect();
        let text = serde_json::to_string_pretty(&json!({"clusters": rows, "ratio": ratio}))?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// A cluster, and what its first plan cost.
struct Cluster {
    services: u32,
    planner: Planner,
    fresh: Duration,
    /// KiB that the process grew by, objects and all.
    memory_kib: u32,
    now: u64,
}

impl Cluster {
    /// Plans everything at once, as after a start with empty maps.
    fn planned(services: u32) -> Result<Self> {
        let before = resident_kib()?;
        let mut everything = vec![Change::Node(node())];
        for i in 0..services {
            everything.push(Change::Service(name(i), Some(service(i).into())));
            everything.push(Change::Slice(name(i), Some(slice(i, 0).into())));
        }
        let base = ConfigBase {
            hash_key: 0x5eed,
            snat_ports: [1_024, 29_999],
            hz: 1_000,
            ..ConfigBase::default()
        };
        let began = Instant::now();
        let mut planner = Planner::adopt(base, Capacities::default(), Tables::default(), 0);
        planner.complete(CompleteList(everything), 0);
        let fresh = began.elapsed();
        let problems = planner.problems();
        ensure!(problems.is_empty(), "the bench's Services: {problems:?}");
        let backends = planner.tables().v4.backends.len();
        ensure!(
            backends == (services * ENDPOINTS) as usize,
            "{backends} backends are planned of {services} Services"
        );
        Ok(Self {
            services,
            planner,
            fresh,
            memory_kib: resident_kib()?.saturating_sub(before),
            now: 0,
        })
    }

    /// One pod of one Service is replaced by another; the nanoseconds until it is known what to
    /// write.
    fn change_one_slice(&mut self, round: u32) -> Result<f64> {
        let i = round.wrapping_mul(STEP) % self.services;
        // Each Service in turn, and all over again with other pods.
        let age = 1 + round / self.services;
        let change = Change::Slice(name(i), Some(slice(i, age).into()));
        self.now += PAUSE_MILLIS;
        let began = Instant::now();
        let delta = self.planner.apply(vec![change], self.now);
        let took = began.elapsed();
        ensure!(
            delta.parts.len() == 1,
            "{} Services planned",
            delta.parts.len()
        );
        self.planner.due(&BTreeSet::new(), self.now + PAUSE_MILLIS);
        Ok(took.as_secs_f64() * 1e9)
    }

    fn line(&self, change: &Spread) -> String {
        format!(
            "{:>6} Services × {ENDPOINTS} endpoints: fresh plan {:>7.1} ms, one-slice change {:>6.1} µs \
             ({:.1} to {:.1}), memory {:>6.1} MiB",
            self.services,
            self.fresh.as_secs_f64() * 1e3,
            change.median / 1e3,
            change.least / 1e3,
            change.most / 1e3,
            f64::from(self.memory_kib) / 1024.0,
        )
    }

    fn row(&self, change: &Spread) -> serde_json::Value {
        json!({
            "services": self.services,
            "endpoints": ENDPOINTS,
            "freshNanoseconds": self.fresh.as_nanos() as u64,
            "changeNanoseconds": change.median,
            "memoryBytes": u64::from(self.memory_kib) << 10,
        })
    }
}

/// KiB of memory that this process has.
fn resident_kib() -> Result<u32> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.context("/proc/self/status has no VmRSS")?.parse()?)
}

fn node() -> Node {
    Node {
        name: "here".to_owned(),
        ..Node::default()
    }
}

fn name(i: u32) -> ObjectName {
    ObjectName::new("bench", format!("service-{i}"))
}

fn after(first: Ipv4Addr, i: u32) -> IpAddr {
    Ipv4Addr::from_bits(first.to_bits() + i).into()
}

fn service(i: u32) -> Service {
    Service {
        cluster_ips: vec![after(CLUSTER_IPS, i)],
        ports: vec![ServicePort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
            target_port: TargetPort::Number(8_080),
        }],
        ..Service::default()
    }
}

/// The slice of a Service once so often a pod of it has been replaced: first by new ones, one after
/// the other, then back.
fn slice(i: u32, age: u32) -> Slice {
    let turned = age % (2 * ENDPOINTS);
    let pod = |k: u32| {
        let is_new = k < turned.min(2 * ENDPOINTS - turned);
        let all = BIG * ENDPOINTS;
        after(PODS, i * ENDPOINTS + k + if is_new { all } else { 0 })
    };
    let endpoints = (0..ENDPOINTS).map(|k| Endpoint {
        node: Some("elsewhere".into()),
        target: Some(format!("Pod/service-{i}-{k}").into()),
        ..Endpoint::at(pod(k))
    });
    Slice {
        service: name(i),
        ports: vec![SlicePort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: Some(8_080),
        }],
        endpoints: endpoints.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_replaces_one_pod_of_one_service() -> Result<()> {
        let mut cluster = Cluster::planned(3)?;
        for round in 0..40 {
            let before = cluster.planner.tables().v4.backends.clone();
            cluster.change_one_slice(round)?;
            let after = &cluster.planner.tables().v4.backends;
            assert_eq!(after.len(), before.len(), "round {round}");
            assert_ne!(*after, before, "round {round}");
        }
        Ok(())
    }
}
