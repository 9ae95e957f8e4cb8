//! Why does no endpoint serve, or none on this node?

use std::collections::BTreeSet;

use lb_common::decide::SourceClass;
use lb_common::layout::BACKEND_IN_CLUSTER;

use super::super::answer::ServedPort;
use super::{Hinter, count};
use crate::state::Target;
use crate::tables::PerFamily;

/// So many endpoints are named before the rest is `…`.
const SHOWN: usize = 3;

impl<'a, A: PerFamily> Hinter<'a, A> {
    /// Why nobody serves: how many endpoints there are, and what is wrong with them.
    pub(super) fn endpoints_of_service(&self) -> Vec<String> {
        let Some(served) = &self.answer.served else {
            return Vec::new();
        };
        let targets = self.targets(served);
        if targets.is_empty() {
            return vec![format!(
                "Service {} has no endpoint at all: does its selector match the labels of any pod? `kubectl get endpointslices` and `kubectl get pods --show-labels` tell",
                served.service
            )];
        }
        if targets.iter().any(|target| target.ready) {
            return vec![format!(
                "{}, but none has a port for {}: does the target port's name match a container port?",
                count(targets.len(), "endpoint is there", "endpoints are there"),
                describe_port(served)
            )];
        }
        let more = if targets.len() > SHOWN { ", …" } else { "" };
        let named: Vec<_> = targets.iter().take(SHOWN).copied().map(named).collect();
        vec![format!(
            "no ready endpoint: {}, {} ({}{more}); look at their readiness probes",
            known(&targets),
            conditions(&targets),
            named.join(", "),
        )]
    }

    /// The endpoints that this node must not choose.
    pub(super) fn elsewhere(&self) -> String {
        let field = match self.answer.class {
            SourceClass::Outside if self.is_external() => "externalTrafficPolicy",
            _ => "internalTrafficPolicy",
        };
        let served = self.answer.served.as_ref();
        let backends = A::of(self.known.tables).backends.values();
        let remote = backends.filter(|backend| {
            served.is_some_and(|served| served.id == backend.service_port)
                && backend.flags & BACKEND_IN_CLUSTER != 0
        });
        let nodes: BTreeSet<&str> = served
            .map(|served| self.targets(served))
            .unwrap_or_default()
            .iter()
            .filter(|target| target.ready)
            .filter_map(|target| target.node.as_deref())
            .collect();
        let nodes = if nodes.is_empty() {
            String::new()
        } else {
            let nodes: Vec<_> = nodes.into_iter().collect();
            format!(" (on {})", nodes.join(", "))
        };
        format!(
            "`{field}: Local` and no endpoint on this node, but {}{nodes}: send the traffic there (load balancers ask the Service's healthCheckNodePort), or write `{field}: Cluster`",
            count(remote.count(), "elsewhere", "elsewhere"),
        )
    }

    /// The endpoints of a Service in this family.
    fn targets(&self, served: &ServedPort) -> Vec<&'a Target> {
        let targets = self.known.state.targets.iter();
        targets
            .filter(|target| {
                target.service == served.service && A::from_ip(target.address).is_some()
            })
            .collect()
    }
}

/// How many there are: pods that a selector picked, or endpoints of whatever kind.
fn known(targets: &[&Target]) -> String {
    let is_pod = |target: &&Target| {
        let target = target.target.as_deref();
        target.is_some_and(|target| target.starts_with("Pod/"))
    };
    if targets.iter().all(is_pod) {
        count(
            targets.len(),
            "pod matches the selector",
            "pods match the selector",
        )
    } else {
        count(targets.len(), "endpoint is known", "endpoints are known")
    }
}

/// What is wrong with targets of which none is ready.
fn conditions(targets: &[&Target]) -> String {
    let terminating = targets.iter().filter(|target| target.terminating).count();
    match (targets.len() - terminating, terminating) {
        (1, 0) => "not ready".to_owned(),
        (2, 0) => "both not ready".to_owned(),
        (_, 0) => "none of them ready".to_owned(),
        (0, _) => "terminating and no longer serving".to_owned(),
        (unready, terminating) => {
            format!("{unready} not ready, {terminating} terminating and no longer serving")
        }
    }
}

fn named(target: &Target) -> String {
    let name = target.target.clone();
    let name = name.unwrap_or_else(|| target.address.to_string().into());
    match &target.since {
        Some(since) => format!("{name} since {since}"),
        None => name.into(),
    }
}

fn describe_port(served: &ServedPort) -> String {
    if served.name.is_empty() {
        format!("port {}", served.port)
    } else {
        format!("port {} ({:?})", served.port, served.name)
    }
}
