//! Manifests in, model out: one file for each kind of question.

mod addresses;
mod endpoints;
mod following;
mod objects;
mod selectors;
mod services;

use std::fmt::Write as _;
use std::path::Path;

use super::NODE_PORT_RANGE;
use super::parse::parse;
use super::shelf::{Changes, Shelf};
use crate::input::standalone::Standalone;
use crate::input::{Allocations, UnmappedReason};
use crate::model::{
    Change, Endpoint, ObjectName, Policy, Problem, Service, ServiceKind, SlicePort, TargetPort,
    World,
};

/// Files and what they amount to, without a disk.
struct Manifests {
    shelf: Shelf,
    objects: Standalone,
    world: World,
}

/// What one file `test.yaml` amounts to where there are no ranges.
fn read(text: &str) -> Manifests {
    read_with(&[], text)
}

/// What one file `test.yaml` amounts to where these prefixes are there to give ClusterIPs from.
fn read_with(prefixes: &[&str], text: &str) -> Manifests {
    let mut manifests = Manifests::new(prefixes, Allocations::default());
    manifests.write("test.yaml", text);
    manifests
}

impl Manifests {
    fn new(prefixes: &[&str], allocations: Allocations) -> Self {
        let prefixes = prefixes.iter().map(|text| text.parse().unwrap());
        Self {
            shelf: Shelf::default(),
            objects: Standalone::new(
                "node-1".into(),
                prefixes.collect(),
                NODE_PORT_RANGE,
                allocations,
            ),
            world: World::default(),
        }
    }

    /// Writes a file; returns what that changes.
    fn write(&mut self, file: &str, text: &str) -> Vec<Change> {
        let file = Path::new(file);
        let changes = self.shelf.put(file, parse(file, text));
        self.apply(changes)
    }

    /// Removes a file; returns what that changes.
    fn remove(&mut self, file: &str) -> Vec<Change> {
        let changes = self.shelf.remove(Path::new(file));
        self.apply(changes)
    }

    fn apply(&mut self, changes: Changes) -> Vec<Change> {
        let changes = self.objects.apply(changes);
        for change in &changes {
            self.world.apply(change.clone());
        }
        changes
    }

    #[track_caller]
    fn service(&self, name: &str) -> &Service {
        let service = self.world.service(&ObjectName::new("default", name));
        service.unwrap_or_else(|| panic!("no Service {name}; problems: {:#?}", self.problems()))
    }

    /// The names of all Services.
    fn services(&self) -> Vec<String> {
        let services = self.world.services();
        services.map(|(name, _)| name.to_string()).collect()
    }

    /// A Service in a line for each thing that matters.
    #[track_caller]
    fn show(&self, name: &str) -> String {
        show(self.service(name))
    }

    /// A Service's endpoints, one for each address and port, sorted.
    fn endpoints(&self, name: &str) -> Vec<String> {
        let name = ObjectName::new("default", name);
        let slices = self.world.slices(&name);
        let mut endpoints: Vec<_> = slices
            .flat_map(|slice| {
                let endpoints = slice.endpoints.iter();
                endpoints.flat_map(|endpoint| {
                    let ports = slice.ports.iter();
                    ports.map(|port| show_endpoint(endpoint, port))
                })
            })
            .collect();
        endpoints.sort();
        endpoints
    }

    /// Everything that is wrong, as users see it.
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<Problem> = self.shelf.problems().collect();
        problems.extend(self.objects.problems().cloned());
        problems.iter().map(ToString::to_string).collect()
    }

    fn unmapped(&self) -> Vec<(String, UnmappedReason)> {
        let unmapped = self.objects.unmapped();
        unmapped
            .map(|unmapped| (unmapped.service.to_string(), unmapped.reason))
            .collect()
    }
}

fn show(service: &Service) -> String {
    let mut text = match &service.kind {
        ServiceKind::ClusterIp => "ClusterIP".to_owned(),
        ServiceKind::Headless => "Headless".into(),
        ServiceKind::NodePort => "NodePort".into(),
        ServiceKind::LoadBalancer => "LoadBalancer".into(),
        ServiceKind::ExternalName(host) => format!("ExternalName {host}"),
    };
    for (word, addresses) in [
        ("", &service.cluster_ips),
        (" external", &service.external_ips),
        (" balancer", &service.load_balancer_ips),
    ] {
        if !addresses.is_empty() {
            text += word;
        }
        for address in addresses {
            write!(text, " {address}").unwrap();
        }
    }
    for range in &service.source_ranges {
        write!(text, " from {range}").unwrap();
    }
    for (word, policy) in [
        ("internal", service.internal_policy),
        ("external", service.external_policy),
    ] {
        if policy == Policy::Local {
            write!(text, " {word}=Local").unwrap();
        }
    }
    if let Some(seconds) = service.affinity_seconds {
        write!(text, " affinity={seconds}s").unwrap();
    }
    if let Some(port) = service.health_check_node_port {
        write!(text, " health={port}").unwrap();
    }
    for port in &service.ports {
        let target = match &port.target_port {
            TargetPort::Number(number) => number.to_string(),
            TargetPort::Name(name) => name.clone(),
        };
        let name = match port.name.as_str() {
            "" => "<unset>",
            name => name,
        };
        write!(text, "\n{name} {}/{}>{target}", port.port, port.protocol).unwrap();
        if let Some(node_port) = port.node_port {
            write!(text, " node={node_port}").unwrap();
        }
    }
    text
}

fn show_endpoint(endpoint: &Endpoint, port: &SlicePort) -> String {
    let number = port.port.map_or("?".into(), |port| port.to_string());
    let mut text = format!("{}:{number}/{}", endpoint.address, port.protocol);
    for (word, value) in [
        ("", &*port.name),
        ("@", endpoint.node.as_deref().unwrap_or_default()),
    ] {
        if !value.is_empty() {
            write!(text, " {word}{value}").unwrap();
        }
    }
    for (word, is_so) in [
        ("ready", endpoint.ready),
        ("serving", endpoint.serving),
        ("terminating", endpoint.terminating),
    ] {
        if is_so {
            write!(text, " {word}").unwrap();
        }
    }
    for zone in &endpoint.extras.zone_hints {
        write!(text, " zone={zone}").unwrap();
    }
    for node in &endpoint.extras.node_hints {
        write!(text, " node={node}").unwrap();
    }
    if let Some(target) = &endpoint.target {
        write!(text, " {target}").unwrap();
    }
    text
}
