//! What do Kubernetes' objects say, in the model's words? With the API server's defaults filled in
//! and what it would refuse found; no I/O, and nothing that depends on other objects.

mod annotations;
#[cfg(test)]
mod documented;
mod endpoints;
mod fields;
mod node;
mod pod;
mod service;
mod service_addresses;
mod service_ports;
mod slice;

use serde::de::DeserializeOwned;

use super::declared::{Key, Kind, Object};
use super::findings::Findings;

/// Label of a Service that another proxy serves.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// Label of slices and Services without a virtual address.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Label that names a slice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label that names who wrote a slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Who writes the slices of Services with a selector.
const SLICE_CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// Label of Endpoints that are not mirrored.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of Endpoints that serve as a lock; they are not mirrored either.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// An object as its source has it.
pub(super) trait Written {
    /// Reads it as Kubernetes defines it; none, and a refusal among the findings, if it is not so.
    fn typed<T: DeserializeOwned>(self, findings: &mut Findings) -> Option<T>;
}

/// Reads an object of a known kind; none if it says nothing to us or is refused.
pub(super) fn declare(key: &Key, written: impl Written, findings: &mut Findings) -> Option<Object> {
    let f = findings;
    Some(match key.kind {
        Kind::Service => Object::Service(service::service(&written.typed(f)?, f).into()),
        Kind::EndpointSlice => {
            Object::Slice(slice::slice(&written.typed(f)?, &key.name.namespace, f)?.into())
        }
        Kind::Endpoints => Object::Endpoints(endpoints::endpoints(&written.typed(f)?, f).into()),
        Kind::Pod => Object::Pod(pod::pod(&written.typed(f)?, f).into()),
        Kind::Node => Object::Node(node::node(&written.typed(f)?, f)),
        Kind::ServiceCidr => Object::ServiceCidr(node::service_cidr(&written.typed(f)?, f)),
    })
}

/// A name, where one is written.
fn not_empty(name: Option<&String>) -> Option<&str> {
    name.map(String::as_str).filter(|name| !name.is_empty())
}

/// Path of a field of an item of a list.
fn item(list: &str, index: usize, field: &str) -> String {
    format!("{list}[{index}].{field}")
}
