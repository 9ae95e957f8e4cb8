//! What is counted for Prometheus, and under which names? kube-proxy's where the meaning is the same
//! (Kubernetes 1.36, `pkg/proxy/metrics`), so that dashboards go on working; ours begin with the
//! product's name.

mod kernel;
mod kube_proxy;
mod local;
mod own;
mod process;
mod text;
mod traffic;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lb_common::names;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::dataplane::kernel::KernelTables;
use crate::http::{Answers, Reply};
use crate::input::Trigger;
use crate::loader::Drift;
use crate::model::{Change, Problem};
use crate::tables::{Capacities, Tables};

use kernel::Kernel;
use kube_proxy::KubeProxy;
pub use local::{Counts, LacksLocal};
use own::Own;
use process::Process;

/// Labels of a metric: names and values.
type Labels<const N: usize> = [(&'static str, String); N];

/// Everything that is counted; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    kube_proxy: Arc<KubeProxy>,
    own: Arc<Own>,
}

/// What the daemon's own state amounts to.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'d> {
    /// What the maps must hold.
    pub tables: &'d Tables,
    /// Services that are known.
    pub services: usize,
    /// Changes wait to be written.
    pub is_behind: bool,
    /// Everything that was there at the start is served.
    pub is_ready: bool,
    /// Writes to maps since the start: done, failed.
    pub writes: [u64; 2],
}

impl Metrics {
    /// An answer to `/healthz` was 200, or 503.
    pub fn healthz(&self, is_well: bool) {
        self.kube_proxy.healthz(is_well);
    }

    /// An answer to `/livez` was 200, or 503.
    pub fn livez(&self, is_well: bool) {
        self.kube_proxy.livez(is_well);
    }

    /// These changes came in.
    pub fn arrived(&self, changes: &[Change]) {
        self.kube_proxy.arrived(changes);
    }

    /// Changes were written, all in one step that took so long.
    pub fn wrote(&self, took: Duration) {
        self.kube_proxy.wrote(took);
    }

    /// The maps hold what follows from these.
    pub fn honoured(&self, triggers: &[Trigger]) {
        self.kube_proxy.honoured(triggers);
    }

    /// Ports that have endpoints, but none on this node, as their policy wants it.
    pub fn lacks_local(&self, counts: Counts) {
        self.kube_proxy.lacks_local(counts);
    }

    /// How everything is now.
    pub fn stands(&self, standing: &Standing<'_>) {
        if !standing.is_behind {
            self.kube_proxy.caught_up();
        }
        self.own.stands(standing);
    }

    /// An audit took so long.
    pub fn audited(&self, took: Duration) {
        self.own.audited(took);
    }

    /// This was not as it must be.
    pub fn drifted(&self, found: &[Drift]) {
        self.own.drifted(found);
    }

    /// The maps have room for so much.
    pub fn has_room(&self, capacities: &Capacities) {
        self.own.has_room(capacities);
    }

    /// These are all the problems now.
    pub fn has_problems(&self, problems: &[Problem]) {
        self.own.has_problems(problems);
    }
}

/// Answers to whoever collects.
#[derive(Debug)]
pub struct MetricsAnswers {
    registry: Registry,
}

impl MetricsAnswers {
    /// Answers with what was counted, and what the maps say when they are asked.
    #[must_use]
    pub fn new(metrics: &Metrics, kernel: KernelTables) -> Self {
        let mut registry = Registry::default();
        metrics
            .kube_proxy
            .register(registry.sub_registry_with_prefix("kubeproxy"));
        let own = registry.sub_registry_with_prefix(names::NAME);
        metrics.own.register(own);
        own.register_collector(Box::new(Kernel::new(kernel)));
        registry.register_collector(Box::new(Process));
        Self { registry }
    }
}

impl MetricsAnswers {
    /// The format and what is told in it.
    fn tell(&self, is_open: bool) -> Result<(&'static str, String), fmt::Error> {
        let mut open = String::new();
        encode(&mut open, &self.registry)?;
        if is_open {
            return Ok((text::OPEN, open));
        }
        Ok((text::CLASSIC, text::classic(&open)?))
    }
}

impl Answers for MetricsAnswers {
    fn answer(&self, path: &str, accept: &str) -> Option<Reply> {
        let (content_type, body) = match path {
            "/metrics" => {
                let told = self.tell(text::is_open(accept));
                // A text takes everything; only a collector's own failure ends up here.
                told.inspect_err(|error| tracing::warn!(%error, "metrics"))
                    .ok()?
            }
            // As kube-proxy: installers and conformance tests ask which proxy this is.
            "/proxyMode" => ("text/plain; charset=utf-8", names::NAME.to_owned()),
            _ => return None,
        };
        Some(Reply {
            status: 200,
            content_type,
            headers: Vec::new(),
            body,
        })
    }
}
