//! How does an answer look to programs?

use std::net::{IpAddr, SocketAddr};

use lb_common::decide::SourceClass;
use serde::Serialize;

use super::answer::{Answer, Step};
use super::question::{has_ports, protocol_name};

/// The answer as one JSON or YAML document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document<'a> {
    source: IpAddr,
    source_port: Option<u16>,
    destination: IpAddr,
    destination_port: Option<u16>,
    protocol: String,
    /// What the answer is drawn from: `maps` or `manifests`.
    ground: &'static str,
    /// `pod`, `node` or `outside`.
    source_class: &'static str,
    verdict: &'static str,
    reason: &'static str,
    /// `namespace/name`.
    service: Option<String>,
    port_name: Option<&'a str>,
    frontend: Option<FrontendDocument>,
    /// All that a new flow like this may get.
    backends: Vec<SocketAddr>,
    /// The one that it gets, where that is certain.
    backend: Option<SocketAddr>,
    snat: bool,
    snat_backends: Vec<SocketAddr>,
    steps: &'a [Step],
    hints: &'a [String],
}

#[derive(Debug, Serialize)]
struct FrontendDocument {
    kind: &'static str,
    address: IpAddr,
    port: u16,
}

impl Answer {
    /// The answer for programs.
    #[must_use]
    pub fn document(&self) -> Document<'_> {
        let question = &self.question;
        let snat = self.candidates.iter().filter(|candidate| candidate.snat());
        Document {
            source: question.source,
            source_port: question.source_port,
            destination: question.destination,
            destination_port: has_ports(question.protocol).then_some(question.destination_port),
            protocol: protocol_name(question.protocol),
            ground: self.ground.name(),
            source_class: class_name(self.class),
            verdict: self.verdict.name(),
            reason: self.reason.name(),
            service: self
                .served
                .as_ref()
                .map(|served| served.service.to_string()),
            port_name: self.served.as_ref().map(|served| served.name.as_str()),
            frontend: self.frontend.map(|frontend| FrontendDocument {
                kind: frontend.kind,
                address: frontend.address,
                port: frontend.port,
            }),
            backends: self.candidates.iter().map(|one| one.address).collect(),
            backend: self.backend,
            snat: self.snat(),
            snat_backends: snat.map(|candidate| candidate.address).collect(),
            steps: &self.steps,
            hints: &self.hints,
        }
    }
}

const fn class_name(class: SourceClass) -> &'static str {
    match class {
        SourceClass::Node => "node",
        SourceClass::Pod => "pod",
        SourceClass::Outside => "outside",
    }
}
