//! How does an answer look to a person? A short story: what happens, why, and what helps.

use std::fmt;

use lb_common::decide::{Nat, SourceClass};
use lb_common::drops::DropReason;

use super::answer::{Answer, Candidate, Frontend, Ground, Reason, ServedPort, Verdict};
use super::names;
use super::question::has_ports;
use crate::model::Policy;

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let question = &self.question;
        let source = match question.source_port {
            Some(port) => std::net::SocketAddr::new(question.source, port).to_string(),
            None => question.source.to_string(),
        };
        let dialled = names::dialled(
            question.destination,
            question.destination_port,
            question.protocol,
        );
        writeln!(f, "{source} → {dialled}: {}\n", self.headline())?;
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        let texts = self.candidates.iter().map(|one| one.address.to_string());
        let width = texts.map(|text| text.len()).max().unwrap_or_default();
        for candidate in &self.candidates {
            let address = candidate.address.to_string();
            writeln!(f, "  {address:width$}  {}", describe(candidate))?;
        }
        if let Some(line) = self.certainty() {
            writeln!(f, "{line}")?;
        }
        for hint in &self.hints {
            writeln!(f, "\nhint: {hint}")?;
        }
        let ground = match self.ground {
            Ground::Maps => "by the maps in the kernel",
            Ground::Manifests => "by the manifests; --live asks the maps in the kernel",
        };
        writeln!(f, "\n({ground})")
    }
}

impl Answer {
    /// The verdict in a few words.
    fn headline(&self) -> String {
        match (self.reason, self.backend) {
            (Reason::Dropped(reason), _) => {
                let done = match self.verdict {
                    Verdict::Reject => "refused",
                    _ => "dropped",
                };
                format!("{done} ({})", reason.name())
            }
            (Reason::NoFrontend, _) => "passed on untouched, it is none of our business".to_owned(),
            (Reason::OwnSctp, _) => {
                "leaves this node as it is, its own SCTP is not served".to_owned()
            }
            (Reason::Ping, _) => "a ping is answered by this node (--answer-ping)".to_owned(),
            (Reason::Reply, _) => "a reply of a connection that is there".to_owned(),
            (Reason::Flow, Some(backend)) => {
                format!("goes on to {backend}, a connection that is there")
            }
            (_, Some(backend)) => format!("goes to {backend}"),
            (_, None) => format!("goes to one of {} backends", self.candidates.len()),
        }
    }

    /// Who is dialled, who asks, and what follows.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match (&self.frontend, &self.served) {
            (Some(frontend), Some(served)) => {
                lines.push(self.about_frontend(frontend, served));
                if self.reason != Reason::OwnSctp {
                    lines.push(self.about_client(frontend));
                }
            }
            (None, Some(served)) if self.reason != Reason::Reply => lines.push(format!(
                "{} is the ClusterIP of Service {}.",
                self.question.destination, served.service
            )),
            (None, Some(served)) => {
                lines.push(format!("The connection is one to {}.", served.service));
            }
            _ => {}
        }
        if let Reason::Dropped(reason) = self.reason {
            lines.push(reason.meaning().to_owned());
        }
        lines
    }

    fn about_frontend(&self, frontend: &Frontend, served: &ServedPort) -> String {
        let dialled = names::dialled(frontend.address, frontend.port, self.question.protocol);
        let port = if served.name.is_empty() {
            format!("port {}", served.port)
        } else {
            format!("port {} ({})", served.port, served.name)
        };
        let affinity = if frontend.affinity_seconds == 0 {
            String::new()
        } else {
            format!(
                " A client keeps its backend for {} s after its last new connection.",
                frontend.affinity_seconds
            )
        };
        format!(
            "{dialled} is a {} of Service {}, {port}.{affinity}",
            frontend.kind, served.service
        )
    }

    fn about_client(&self, frontend: &Frontend) -> String {
        let client = match self.class {
            SourceClass::Node => "an address of this node",
            SourceClass::Pod => "a pod",
            SourceClass::Outside => "outside the cluster",
        };
        let source = self.question.source;
        if self.reason == Reason::Dropped(DropReason::SourceRange) {
            return format!("{source} is {client}, and no source range contains it.");
        }
        let policy = match (self.class, frontend.inside, frontend.outside) {
            (SourceClass::Outside, _, Policy::Local) | (_, Policy::Local, _) => {
                "only endpoints on this node may serve it"
            }
            _ => "endpoints on any node may serve it",
        };
        let end = match self.candidates.as_slice() {
            [] => ".",
            [_] => ", here the only one:",
            _ => ":",
        };
        format!("{source} is {client}, so {policy}{end}")
    }

    /// Whether the backend is certain, and if not, what would tell.
    fn certainty(&self) -> Option<String> {
        if self.candidates.len() < 2 {
            return None;
        }
        Some(match (self.reason, self.backend) {
            (Reason::Flow, Some(backend)) => format!("This connection has {backend} already."),
            (Reason::Affinity, Some(backend)) => {
                format!("The client had {backend} before, and keeps it.")
            }
            (_, Some(backend)) => format!("With this source port it draws {backend}."),
            (_, None)
                if self.question.source_port.is_none() && has_ports(self.question.protocol) =>
            {
                "Each new connection draws one of them.".to_owned()
            }
            (_, None) => {
                "Each new connection draws one of them; which one is not known here.".to_owned()
            }
        })
    }
}

/// Who a backend is, where, and what is special about it.
fn describe(candidate: &Candidate) -> String {
    let target = candidate.target.as_ref();
    let target = target.map_or_else(String::new, |target| format!("{target} "));
    let place = match (candidate.host_network, candidate.local, &candidate.node) {
        (true, _, _) => "in this node's network".to_owned(),
        (false, true, _) => "on this node".to_owned(),
        (false, false, Some(node)) => format!("on {node}"),
        (false, false, None) => "on another node".to_owned(),
    };
    let terminating = if candidate.terminating {
        ", terminating"
    } else {
        ""
    };
    let snat = match candidate.nat {
        Nat::Hairpin => ", the client itself",
        Nat::Source => ", sees this node's address as its client",
        Nat::DestinationOnly => "",
    };
    format!("{target}{place}{terminating}{snat}")
}
