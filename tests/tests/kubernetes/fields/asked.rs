//! Where is a row's Service, as the API server says it, and what comes of asking there?

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::kubernetes::ControlPlane;
use lb_tests::peer::{Answer, Dial, Failure, Transport, has_sctp};
use lb_tests::topology::{Family, Place, addresses};
use serde_json::Value;

use crate::{SOON, wait};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Pod,
    Node,
    Outside,
    /// From outside, too, with an address that no range admits.
    Stranger,
}

/// Where: which of the Service's addresses, as the API server says them.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    /// Its ClusterIPs, at this port.
    ClusterIp(u16),
    /// The node's addresses, at the node port of its port 80, or at that if it has none.
    NodePort,
    /// Its externalIPs, what its load balancer gave it, and what it asked that for, at port 80.
    External,
}

/// What comes of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// These answer, each now and then, and nobody else.
    By(&'static [&'static str]),
    /// One of these, always the same.
    OneOf(&'static [&'static str]),
    Refused,
    Dropped,
}

pub(super) type Ask = (&'static [Who], At, Outcome);

pub(super) const HERE: &[&str] = &["here"];
pub(super) const THERE: &[&str] = &["there"];
pub(super) const BOTH: &[&str] = &["here", "there"];
pub(super) const INSIDE: &[Who] = &[Who::Pod, Who::Node];
pub(super) const OUTSIDE: &[Who] = &[Who::Outside];
pub(super) const ANYBODY: &[Who] = &[Who::Pod, Who::Node, Who::Outside];
/// Whose questions arrive as packets; the node's own are seen at its sockets.
pub(super) const PACKETS: &[Who] = &[Who::Pod, Who::Outside];

/// Fewer answers in a row by the same pod are no proof that another does not answer.
const ENOUGH: usize = 12;
/// Of several who all have to answer, so many answers show as much.
const ENOUGH_OF_ALL: usize = 6;
/// Where there is no answer within this time, there is none.
const SILENCE: Duration = Duration::from_millis(400);

/// A Service with all that the API server gave it.
#[derive(Debug)]
pub(super) struct Written(Value);

impl Written {
    pub(super) fn read(control: &ControlPlane, name: &str) -> Result<Self> {
        let path = format!("/api/v1/namespaces/default/services/{name}");
        Ok(Self(serde_json::from_str(&control.api().get(&path)?)?))
    }

    pub(super) fn cluster_ips(&self) -> Result<Vec<IpAddr>> {
        let texts = list(&self.0["spec"]["clusterIPs"]);
        let texts = texts.iter().filter(|text| **text != "None");
        texts.map(address).collect()
    }

    /// The port that its health is told on.
    pub(super) fn health_check(&self) -> Result<u16> {
        number(&self.0["spec"]["healthCheckNodePort"]).context("healthCheckNodePort")
    }

    pub(super) fn external(&self) -> Result<Vec<IpAddr>> {
        let (spec, status) = (&self.0["spec"], &self.0["status"]);
        let given = list(&status["loadBalancer"]["ingress"]).iter();
        let given = given.map(|ingress| &ingress["ip"]);
        let asked = Some(&spec["loadBalancerIP"]).filter(|asked| asked.is_string());
        let all = list(&spec["externalIPs"]).iter().chain(given).chain(asked);
        all.map(address).collect()
    }

    /// How this port is asked, and at which node port; one that it does not have by TCP and UDP.
    fn transports(&self, port: u16) -> Vec<(Transport, Option<u16>)> {
        let ports = list(&self.0["spec"]["ports"]).iter();
        let ports = ports.filter(|entry| number(&entry["port"]) == Some(port));
        let found: Vec<_> = ports
            .map(|entry| {
                let transport = match entry["protocol"].as_str() {
                    Some("UDP") => Transport::Udp,
                    Some("SCTP") => Transport::Sctp,
                    _ => Transport::Tcp,
                };
                (transport, number(&entry["nodePort"]))
            })
            .collect();
        if found.is_empty() {
            return vec![(Transport::Tcp, None), (Transport::Udp, None)];
        }
        found
    }

    /// Every socket that there is to ask there.
    pub(super) fn sockets(&self, at: At) -> Result<Vec<(Transport, SocketAddr)>> {
        let node = |ip: IpAddr| addresses::node(0).of(Family::of(ip));
        let (ips, port) = match at {
            At::ClusterIp(port) => (self.cluster_ips()?, port),
            At::NodePort => (self.cluster_ips()?.into_iter().map(node).collect(), 80),
            At::External => (self.external()?, 80),
        };
        let mut sockets = Vec::new();
        for (transport, node_port) in self.transports(port) {
            let port = match at {
                At::NodePort => node_port.unwrap_or(port),
                _ => port,
            };
            let ips = ips.iter();
            sockets.extend(ips.map(|ip| (transport, SocketAddr::new(*ip, port))));
        }
        Ok(sockets)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64()?.try_into().ok()
}

fn address(value: &Value) -> Result<IpAddr> {
    Ok(value.as_str().context("an address")?.parse()?)
}

/// Everybody who asks.
pub(super) struct Asker<'w> {
    pod: &'w Place,
    node: &'w Place,
    outside: &'w Place,
}

impl<'w> Asker<'w> {
    pub(super) const fn new(pod: &'w Place, node: &'w Place, outside: &'w Place) -> Self {
        Self { pod, node, outside }
    }

    /// Asks all that there is to ask, one after the other.
    pub(super) fn all(&self, service: &Written, asks: &[Ask]) -> Result<()> {
        for (whos, at, outcome) in asks {
            let sockets = service.sockets(*at)?;
            ensure!(!sockets.is_empty(), "{at:?} is nowhere: {service:?}");
            for who in *whos {
                for (transport, socket) in &sockets {
                    // Where the kernel has no SCTP, its frontends are seen, and no packet of it.
                    if *transport != Transport::Sctp || has_sctp() {
                        self.settles(*who, (*transport, *socket), *outcome)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One question; whoever answers must see the client's address as it is, unless that is outside
    /// and the answer comes from another node. (Its port may be another: two questions from one
    /// port, at two Services, may come to the same pod.)
    fn ask(&self, who: Who, dial: Dial) -> Result<Result<Answer, Failure>> {
        let answer = match who {
            Who::Pod => dial.ask(self.pod),
            Who::Node => dial.ask(self.node),
            Who::Outside | Who::Stranger => dial.ask(self.outside),
        };
        if let Ok(answer) = &answer {
            let is_inside = matches!(who, Who::Pod | Who::Node);
            let is_kept = answer.seen.ip() == answer.own.ip();
            ensure!(
                is_kept == (is_inside || answer.by.starts_with("here")),
                "{who:?}, {dial:?}: {answer:?}"
            );
        }
        Ok(answer)
    }

    /// Asks until it comes out so.
    fn settles(
        &self,
        who: Who,
        (transport, socket): (Transport, SocketAddr),
        outcome: Outcome,
    ) -> Result<()> {
        let mut dial = Dial::new(transport, socket);
        if who == Who::Stranger {
            let stranger = addresses::outside(*addresses::OUTSIDE_HOSTS.end());
            dial = dial.from(stranger.of(Family::of(socket.ip())));
        }
        let failure = match outcome {
            Outcome::By(_) | Outcome::OneOf(_) => None,
            Outcome::Refused => Some(Failure::Refused),
            // The socket hook says so at once.
            Outcome::Dropped if who == Who::Node => Some(Failure::NotPermitted),
            Outcome::Dropped => {
                dial = dial.within(SILENCE);
                Some(Failure::TimedOut)
            }
        };
        let enough = match outcome {
            Outcome::By([_, _, ..]) => ENOUGH_OF_ALL,
            _ => ENOUGH,
        };
        let mut all = Vec::new();
        let what = format!("{who:?} asks {socket} by {transport}: {outcome:?}");
        let settled = wait::until(&what, SOON, || {
            all.push(self.ask(who, dial)?.map(|answer| answer.by));
            let last = last(&all, enough);
            if let Some(failure) = &failure {
                return Ok(last.ends_with(&[Err(failure.clone())]));
            }
            let by: Option<BTreeSet<_>> = last.iter().map(|by| by.as_deref().ok()).collect();
            let is_so = |by: BTreeSet<&str>| match outcome {
                Outcome::By(all) => by.iter().eq(all),
                Outcome::OneOf(any) => by.len() == 1 && by.iter().all(|by| any.contains(by)),
                _ => false,
            };
            Ok(last.len() == enough && by.is_some_and(is_so))
        });
        settled.with_context(|| format!("the last outcomes: {:?}", last(&all, ENOUGH)))
    }
}

fn last<T>(all: &[T], count: usize) -> &[T] {
    &all[all.len().saturating_sub(count)..]
}
