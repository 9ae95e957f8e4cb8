//! Which endpoints do a Service's Pods make? As Kubernetes' EndpointSlice controller decides.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::input::declared::{Distribution, Endpoints, Family, Pod, Service, SliceKey};
use crate::model::{Endpoint, Extra, ObjectName, ServiceKind, Slice, SlicePort, TargetPort};

/// The endpoints of the Pods that a Service selects. Pods that give a named port different numbers
/// end in different slices; a Pod without that port is no endpoint for it. A headless Service has
/// endpoints without any port too: its clients look up their addresses.
pub(super) fn pick<'a>(
    service_name: &ObjectName,
    service: &Service,
    families: &[Family],
    pods: impl Iterator<Item = (&'a ObjectName, &'a Pod)>,
    zone_of: impl Fn(&str) -> Option<&'a str>,
) -> Endpoints {
    let mut endpoints = Endpoints::new();
    for (name, pod) in pods {
        let ports = ports(service, pod);
        if ports.is_empty() && service.model.kind != ServiceKind::Headless {
            continue;
        }
        for family in families {
            let mut addresses = pod.addresses.iter().copied();
            if let Some(address) = addresses.find(|address| Family::of(*address) == *family) {
                let ready = service.publish_not_ready || (pod.ready && !pod.terminating);
                let mut extra = Extra {
                    hostname: hostname(service_name, pod),
                    since: pod.since.clone(),
                    ..Extra::default()
                };
                if let (true, Some(node)) = (ready, &pod.node) {
                    hint(&mut extra, node, service.distribution, &zone_of);
                }
                let endpoint = Endpoint {
                    ready,
                    serving: pod.ready,
                    terminating: pod.terminating,
                    node: pod.node.clone(),
                    target: Some(format!("Pod/{}", name.name).into()),
                    extras: extra.into(),
                    ..Endpoint::at(address)
                };
                let key = (*family, ports.clone());
                endpoints.entry(key).or_default().push(endpoint);
            }
        }
    }
    endpoints
}

/// The name that a Pod has below this Service's, as Pods of a StatefulSet have.
fn hostname(service: &ObjectName, pod: &Pod) -> Option<String> {
    let is_below = pod.subdomain.as_deref() == Some(&*service.name);
    pod.hostname.clone().filter(|_| is_below)
}

/// The ports of a Service that a Pod has, sorted.
fn ports(service: &Service, pod: &Pod) -> Vec<SlicePort> {
    let ports = service.model.ports.iter().filter_map(|port| {
        let number = match &port.target_port {
            TargetPort::Number(number) => *number,
            TargetPort::Name(name) => *pod.ports.get(&(name.clone(), port.protocol))?,
        };
        Some(SlicePort {
            name: port.name.clone(),
            protocol: port.protocol,
            port: Some(number),
        })
    });
    let mut ports: Vec<_> = ports.collect();
    ports.sort();
    ports
}

/// Says where an endpoint's traffic had better come from: only ready ones have a say.
fn hint<'a>(
    extra: &mut Extra,
    node: &str,
    distribution: Option<Distribution>,
    zone_of: impl Fn(&str) -> Option<&'a str>,
) {
    if distribution.is_some() {
        extra.zone_hints.extend(zone_of(node).map(str::to_owned));
    }
    if distribution == Some(Distribution::SameNode) {
        extra.node_hints.insert(node.to_owned());
    }
}

/// The slices that endpoints make, under names that no object of the API can have: they hold what
/// the endpoints have in common, so that they stay as endpoints come and go.
pub(super) fn slices(
    service: &ObjectName,
    source: &str,
    endpoints: &Endpoints,
) -> BTreeMap<ObjectName, Arc<Slice>> {
    let slices = endpoints.iter().map(|(key, endpoints)| {
        let slice = Slice {
            service: service.clone(),
            ports: key.1.clone(),
            endpoints: endpoints.clone(),
        };
        (slice_name(service, source, key), Arc::new(slice))
    });
    slices.collect()
}

fn slice_name(service: &ObjectName, source: &str, (family, ports): &SliceKey) -> ObjectName {
    let mut name = format!("{}/{source}/{}", service.name, family.name());
    for port in ports {
        let number = port.port.unwrap_or_default();
        // Writing to a text cannot fail.
        write!(name, "/{}={number}/{}", port.name, port.protocol).unwrap_or_default();
    }
    ObjectName::new(&service.namespace, name)
}
