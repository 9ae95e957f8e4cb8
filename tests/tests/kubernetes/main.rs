//! With a real API server: what is written there is what packets meet.
//!
//! Pods are objects of the API, as a kubelet would write them, whose addresses are real servers in
//! namespaces; the EndpointSlice controller makes their slices.

mod connect;
mod events;
mod fields;
mod flags;
mod life;
mod observed;
mod rbac;
mod scale;
mod scraped;
mod services;
mod takeover;
mod views;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use lb_tests::kubernetes::{ControlPlane, programs};
use lb_tests::lb::Lb;
use lb_tests::peer::{Dial, Failure, Transport};
use lb_tests::topology::{Cluster, Pair, Place, on};
use lb_tests::wait;

/// From a change of an object to the packet that meets it: a slow machine is given time.
const SOON: Duration = Duration::from_secs(30);

/// Runs a test with a control plane on the node under test, unless there is none to run.
fn in_cluster(test: impl FnOnce(&Cluster, &Arc<ControlPlane>) -> Result<()>) {
    let Some(programs) = programs() else { return };
    on(Cluster::routed_veth, |cluster| {
        let control = Arc::new(ControlPlane::start(&programs, cluster)?);
        test(cluster, &control)
    });
}

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

/// Asks until everybody of these has answered, and fails if others are left in the end.
fn await_answers(client: &Place, dial: Dial, all: &[&str]) -> Result<()> {
    /// Fewer than this in a row are no proof that somebody does not answer any more.
    const ENOUGH: usize = 24;
    let mut seen = Vec::new();
    let what = format!("{client} is answered by {all:?} alone: {dial:?}");
    let outcome = wait::until(&what, SOON, || {
        match dial.ask(client) {
            Ok(answer) => seen.push(answer.by),
            Err(_) => seen.clear(),
        }
        let last = &seen[seen.len().saturating_sub(ENOUGH)..];
        let last: BTreeSet<_> = last.iter().map(String::as_str).collect();
        Ok(seen.len() >= ENOUGH && last.iter().eq(all))
    });
    outcome.map_err(|error| {
        error.context(format!(
            "{:?}",
            seen.iter().rev().take(ENOUGH).collect::<Vec<_>>()
        ))
    })
}

/// Asks until nobody answers any more, and that at once.
fn await_refusal(client: &Place, dial: Dial) -> Result<()> {
    wait::until(&format!("{client} is refused: {dial:?}"), SOON, || {
        Ok(dial.ask(client) == Err(Failure::Refused))
    })
}

/// Waits until the problems that `lb` knows fulfil the condition.
fn await_problems(
    lb: &Lb,
    what: &str,
    mut condition: impl FnMut(&[serde_json::Value]) -> bool,
) -> Result<()> {
    let mut last = Vec::new();
    let outcome = wait::until(what, SOON, || {
        let state = lb.state()?.unwrap_or_default();
        last = state["problems"].as_array().cloned().unwrap_or_default();
        Ok(condition(&last))
    });
    outcome.map_err(|error| error.context(format!("{last:#?}")))
}

/// A TCP question.
fn tcp(to: std::net::SocketAddr) -> Dial {
    Dial::new(Transport::Tcp, to)
}
