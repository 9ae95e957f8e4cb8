//! What has kube-proxy's name because it means the same?
//!
//! One write serves both address families here, so what kube-proxy counts of writes for each is counted
//! under both names.

use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

use super::Labels;
use super::local::Counts;
use crate::input::Trigger;
use crate::model::Change;

/// kube-proxy's values of `ip_family`.
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;
type Seconds = Family<Labels<1>, Gauge<f64, AtomicU64>>;
type Codes = Family<Labels<1>, Counter>;

/// kube-proxy's metrics, without the prefix that the registry gives them.
#[derive(Debug)]
pub(super) struct KubeProxy {
    sync_duration: Histograms,
    network_programming: Histograms,
    lacks_local: Family<Labels<2>, Gauge>,
    last_sync: Seconds,
    last_queued: Seconds,
    endpoint_changes: Changes,
    service_changes: Changes,
    healthz: Codes,
    livez: Codes,
    /// What happened before was not waiting for us.
    started: SystemTime,
}

#[derive(Debug, Default)]
struct Changes {
    total: Counter,
    pending: Gauge,
}

impl Default for KubeProxy {
    fn default() -> Self {
        Self {
            sync_duration: Family::new_with_constructor(sync_buckets),
            network_programming: Family::new_with_constructor(network_buckets),
            lacks_local: Family::default(),
            last_sync: Family::default(),
            last_queued: Family::default(),
            endpoint_changes: Changes::default(),
            service_changes: Changes::default(),
            healthz: Family::default(),
            livez: Family::default(),
            started: SystemTime::now(),
        }
    }
}

/// 1 ms to 16 s.
fn sync_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// 250 ms to 5 minutes: the buckets of Kubernetes' network programming objective.
fn network_buckets() -> Histogram {
    let buckets = linear_buckets(0.25, 0.25, 2)
        .chain(linear_buckets(1.0, 1.0, 59))
        .chain(linear_buckets(60.0, 5.0, 12))
        .chain(linear_buckets(120.0, 30.0, 7));
    Histogram::new(buckets)
}

impl KubeProxy {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Time that it took to write changes into the maps";
        let name = "sync_proxy_rules_duration_seconds";
        registry.register(name, help, self.sync_duration.clone());
        registry.register(
            "network_programming_duration_seconds",
            "Time from a change in the cluster to the maps, by the annotation of EndpointSlices",
            self.network_programming.clone(),
        );
        registry.register(
            "sync_proxy_rules_no_local_endpoints_total",
            "Ports of Services with policy Local whose endpoints are all on other nodes",
            self.lacks_local.clone(),
        );
        registry.register(
            "sync_proxy_rules_last_timestamp_seconds",
            "When changes were written last",
            self.last_sync.clone(),
        );
        registry.register(
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "When changes came in last",
            self.last_queued.clone(),
        );
        for (what, changes) in [
            ("endpoint", &self.endpoint_changes),
            ("service", &self.service_changes),
        ] {
            registry.register(
                format!("sync_proxy_rules_{what}_changes"),
                format!("Changes of {what}s that came in"),
                changes.total.clone(),
            );
            registry.register(
                format!("sync_proxy_rules_{what}_changes_pending"),
                format!("Changes of {what}s that wait to be written"),
                changes.pending.clone(),
            );
        }
        for (what, codes) in [("healthz", &self.healthz), ("livez", &self.livez)] {
            registry.register(
                format!("proxy_{what}"),
                format!("Answers to /{what} by their code"),
                codes.clone(),
            );
        }
    }

    pub(super) fn healthz(&self, is_well: bool) {
        self.healthz.get_or_create(&code(is_well)).inc();
    }

    pub(super) fn livez(&self, is_well: bool) {
        self.livez.get_or_create(&code(is_well)).inc();
    }

    pub(super) fn arrived(&self, changes: &[Change]) {
        for change in changes {
            let counted = match change {
                Change::Service(..) => &self.service_changes,
                Change::Slice(..) => &self.endpoint_changes,
                Change::Node(_) => continue,
            };
            counted.total.inc();
            counted.pending.inc();
        }
        stamp(&self.last_queued);
    }

    pub(super) fn wrote(&self, took: Duration) {
        for family in FAMILIES {
            let duration = self.sync_duration.get_or_create(&ip_family(family));
            duration.observe(took.as_secs_f64());
        }
        stamp(&self.last_sync);
    }

    pub(super) fn honoured(&self, triggers: &[Trigger]) {
        for trigger in triggers.iter().filter(|trigger| trigger.at > self.started) {
            // A clock that is ahead of ours: then nothing is known.
            if let Ok(since) = trigger.at.elapsed() {
                let labels = ip_family(FAMILIES[usize::from(trigger.is_ipv6)]);
                let network = self.network_programming.get_or_create(&labels);
                network.observe(since.as_secs_f64());
            }
        }
    }

    pub(super) fn lacks_local(&self, counts: Counts) {
        for (policy, counts) in ["internal", "external"].into_iter().zip(counts) {
            for (family, count) in FAMILIES.into_iter().zip(counts) {
                let policy = ("traffic_policy", policy.to_owned());
                let [family] = ip_family(family);
                let gauge = self.lacks_local.get_or_create(&[policy, family]);
                gauge.set(i64::from(count));
            }
        }
    }

    pub(super) fn caught_up(&self) {
        self.endpoint_changes.pending.set(0);
        self.service_changes.pending.set(0);
    }
}

fn stamp(of: &Seconds) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs_f64();
    for family in FAMILIES {
        of.get_or_create(&ip_family(family)).set(now);
    }
}

fn ip_family(family: &str) -> Labels<1> {
    [("ip_family", family.to_owned())]
}

fn code(is_well: bool) -> Labels<1> {
    [("code", if is_well { "200" } else { "503" }.to_owned())]
}
