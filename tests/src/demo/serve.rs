//! Who answers whom? From a node, from a pod, from the chosen pod itself, from outside.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Pods;
use super::show::{heading, line};
use crate::lb::Lb;
use crate::peer::{Dial, Failure, Transport, ping};
use crate::topology::{Cluster, Family, Place};

/// Questions that each client asks for a glance at who answers.
const GLANCE: u32 = 12;
/// Questions for the spread.
const MANY: u32 = 600;
/// What is refused at once takes less.
const AT_ONCE: Duration = Duration::from_millis(200);

const BACKEND_SERVICE: &str = "10.96.151.12";
const KUBIA: &str = "10.43.165.39";
const NODE_PORT: u16 = 30_123;
const DUAL_STACK: &str = "fd00:10:43::6:46";
const NAME_SERVER: &str = "10.43.0.53";

/// Shows who answers every kind of client.
pub(super) fn everybody(cluster: &Cluster, lb: &Lb, pods: &Pods) -> Result<()> {
    let client = pods.named("name-server-0")?;
    let kubia = pods.named("kubia-vs2kl")?;
    let node = cluster.here().place().address(Family::V4);

    heading("Who answers whom: one VIP, many pods");
    let asked = [
        (
            "node → backend-service",
            lb.node(),
            at(BACKEND_SERVICE, 5_000)?,
            2,
        ),
        (
            "pod  → backend-service",
            client,
            at(BACKEND_SERVICE, 5_000)?,
            2,
        ),
        ("pod  → kubia", client, at(KUBIA, 80)?, 3),
        ("kubia-vs2kl → kubia", kubia, at(KUBIA, 80)?, 3),
        (
            "outside → node:30123",
            cluster.outside(),
            SocketAddr::new(node, NODE_PORT),
            3,
        ),
        ("pod  → dual stack, v6", client, at(DUAL_STACK, 80)?, 2),
        ("node → dual stack, v6", lb.node(), at(DUAL_STACK, 80)?, 2),
    ];
    for (name, place, to, servers) in asked {
        let by = ask(place, Dial::new(Transport::Tcp, to), GLANCE)?;
        ensure!(
            by.len() <= servers,
            "{name}: {by:?} answered, {servers} pods serve"
        );
        line(name, &shown(&by));
    }
    let by = ask(
        client,
        Dial::new(Transport::UdpUnconnected, at(NAME_SERVER, 53)?),
        GLANCE,
    )?;
    line("pod  → UDP name-server", &shown(&by));

    heading("The spread: 600 connections from a pod to kubia");
    let by = ask(client, Dial::new(Transport::Tcp, at(KUBIA, 80)?), MANY)?;
    ensure!(by.len() == 3, "only {by:?} answered");
    for (name, count) in &by {
        let bar = "█".repeat(usize::try_from(count / 10)?);
        line(name, &format!("{count:>4} {bar}"));
    }
    Ok(())
}

/// Shows what a VIP is not.
pub(super) fn what_is_refused(cluster: &Cluster) -> Result<()> {
    heading("A VIP exists only together with its port");
    let pods = cluster.here().pods();
    let client = pods.first().context("node-a has no pod")?;
    let answered = ping(client, KUBIA.parse()?, Duration::from_millis(500))?;
    ensure!(!answered, "a ping of {KUBIA} was answered");
    line("ping 10.43.165.39", "no answer, which is normal");
    let refused = Dial::new(Transport::Tcp, at(KUBIA, 81)?)
        .within(AT_ONCE)
        .ask(client);
    ensure!(refused == Err(Failure::Refused), "{KUBIA}:81: {refused:?}");
    line(
        "connect 10.43.165.39:81",
        "refused at once: no port of the Service",
    );
    Ok(())
}

fn at(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, port))
}

/// Asks so often, without a retry, and counts who answered.
pub(super) fn ask(place: &Place, dial: Dial, times: u32) -> Result<BTreeMap<String, u32>> {
    let mut by = BTreeMap::new();
    for _ in 0..times {
        let answer = dial
            .ask(place)
            .with_context(|| format!("{place} asks {dial:?}"))?;
        *by.entry(answer.by).or_default() += 1;
    }
    Ok(by)
}

/// Who answered how often, in one line.
pub(super) fn shown(by: &BTreeMap<String, u32>) -> String {
    let counts = by.iter().map(|(name, count)| format!("{name} ×{count}"));
    counts.collect::<Vec<_>>().join("  ")
}
