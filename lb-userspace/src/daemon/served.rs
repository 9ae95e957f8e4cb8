//! What does the daemon answer over HTTP, and who tells it what to say?

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::DaemonError;
use crate::dataplane::Dataplane;
use crate::dataplane::kernel::KernelTables;
use crate::health::{Health, NodeAnswers, Ports};
use crate::http::{AGAIN_AFTER, Answers, Server};
use crate::input::Trigger;
use crate::loader::Drift;
use crate::metrics::{LacksLocal, Metrics, MetricsAnswers, Standing};
use crate::model::{Change, Object, ObjectName, Problem, World};
use crate::settings::Settings;

/// Health checks and metrics.
#[derive(Debug)]
pub(super) struct Served {
    health: Health,
    metrics: Metrics,
    lacks_local: LacksLocal,
    ports: Ports,
    /// What happened in the cluster and is not in the maps yet.
    waiting: Vec<Trigger>,
    /// Servers of the node itself, by the setting that asks for them.
    servers: Vec<(&'static str, SocketAddr, Server)>,
    news: Arc<Notify>,
}

impl Served {
    /// Answers from now on: a daemon that starts is healthy, but not ready.
    pub(super) fn start(settings: &Settings) -> Result<Self, DaemonError> {
        let (health, metrics) = (Health::default(), Metrics::default());
        let tables = KernelTables::open(&settings.pin_dir)?;
        metrics.has_room(&tables.capacities());
        let of_node: Arc<dyn Answers> = Arc::new(NodeAnswers::new(health.clone(), metrics.clone()));
        let of_metrics: Arc<dyn Answers> = Arc::new(MetricsAnswers::new(&metrics, tables));
        let news = Arc::new(Notify::new());
        let wanted = [
            (
                "--healthz-bind-address",
                settings.healthz_bind_address,
                of_node,
            ),
            (
                "--metrics-bind-address",
                settings.metrics_bind_address,
                of_metrics,
            ),
        ];
        let servers = wanted.into_iter().filter_map(|(setting, listen, answers)| {
            let address = listen.address()?;
            let server = Server::start(address, answers, Arc::clone(&news));
            Some((setting, address, server))
        });
        Ok(Self {
            ports: Ports::new(health.clone(), Arc::clone(&news)),
            lacks_local: LacksLocal::default(),
            waiting: Vec::new(),
            servers: servers.collect(),
            health,
            metrics,
            news,
        })
    }

    /// Waits until an address is listened on, or no longer.
    pub(super) async fn changed(&self) {
        self.news.notified().await;
    }

    /// These changes came in, which follow these triggers; returns the Services that they touch, before
    /// the world follows them.
    pub(super) fn arrived(
        &mut self,
        world: &World,
        changes: &[Change],
        triggers: Vec<Trigger>,
    ) -> BTreeSet<ObjectName> {
        self.metrics.arrived(changes);
        let mut touched = BTreeSet::new();
        let mut same = BTreeSet::new();
        for change in changes {
            let services = world.touched_by(change);
            if let (Change::Slice(name, _), true) = (change, services.is_empty()) {
                same.insert(name);
            }
            touched.extend(services);
        }
        let triggers = triggers.into_iter();
        self.waiting
            .extend(triggers.filter(|trigger| !same.contains(&trigger.slice)));
        touched
    }

    /// The changes that touched these Services were written, which took so long.
    pub(super) fn wrote(&mut self, world: &World, touched: &BTreeSet<ObjectName>, took: Duration) {
        self.metrics.wrote(took);
        let counts = self.lacks_local.follow(world, touched);
        self.metrics.lacks_local(counts);
        self.ports.follow(world, touched);
    }

    /// Nothing that came in waits to be written any more.
    pub(super) fn caught_up(&mut self) {
        self.metrics.honoured(&std::mem::take(&mut self.waiting));
    }

    /// The daemon is at work, and everything is so.
    pub(super) fn beat(&self, standing: &Standing<'_>, leaving: bool) {
        self.health
            .beat(standing.is_ready, standing.is_behind, leaving);
        self.metrics.stands(standing);
    }

    /// An audit took so long.
    pub(super) fn audited(&self, took: Duration) {
        self.metrics.audited(took);
    }

    /// This was not as it must be.
    pub(super) fn drifted(&self, found: &[Drift]) {
        self.metrics.drifted(found);
    }

    /// These are all the problems now.
    pub(super) fn has_problems(&self, problems: &[Problem]) {
        self.metrics.has_problems(problems);
    }

    /// The addresses that are not listened on.
    pub(super) fn problems(&self, node: &str) -> Vec<Problem> {
        let mut problems = self.ports.problems();
        for (setting, address, server) in &self.servers {
            let Err(why) = server.state() else { continue };
            problems.push(Problem {
                object: Object {
                    kind: "Node".to_owned(),
                    name: ObjectName::new("", node),
                },
                field: format!("{setting} {address}"),
                why: format!(
                    "nobody answers there: {why}; end what listens there (kube-proxy?), or choose \
                     another address; it is tried again every {} seconds",
                    AGAIN_AFTER.as_secs()
                ),
                place: None,
            });
        }
        problems
    }
}
