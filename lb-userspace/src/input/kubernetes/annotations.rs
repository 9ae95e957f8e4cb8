//! What do our annotations say? A wrong one has no effect and is named; the object is served as if
//! it were not there, as the API server takes any.

use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lb_common::names::ANNOTATION_PREFIX;

use super::Findings;
use crate::model::{Algorithm, WEIGHT_MAX};

/// Of a Service: how its frontends choose.
const ALGORITHM: &str = "algorithm";
/// Of an EndpointSlice or Endpoints: the share of each of its endpoints.
const WEIGHT: &str = "weight";
/// Kubernetes' own, of an EndpointSlice.
const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The algorithm that a Service asks for.
pub(super) fn algorithm(metadata: &ObjectMeta, findings: &mut Findings) -> Option<Algorithm> {
    refuse_unknown(metadata, &[ALGORITHM], findings);
    let (field, text) = read(metadata, ALGORITHM)?;
    let known = Algorithm::NAMES.iter().find(|(name, _)| *name == text);
    if known.is_none() {
        findings.remark(
            field,
            format!("{text:?} is not known, so the default holds; write random or maglev"),
        );
    }
    known.map(|(_, algorithm)| *algorithm)
}

/// The weight of each endpoint of a slice.
pub(super) fn weight(metadata: &ObjectMeta, findings: &mut Findings) -> u32 {
    const DEFAULT: u32 = 1;
    refuse_unknown(metadata, &[WEIGHT], findings);
    let Some((field, text)) = read(metadata, WEIGHT) else {
        return DEFAULT;
    };
    let weight = text.parse().ok();
    let weight = weight.filter(|weight| (1..=WEIGHT_MAX).contains(weight));
    if weight.is_none() {
        findings.remark(
            field,
            format!(
                "{text:?} is no weight, so {DEFAULT} holds; write 1 to {WEIGHT_MAX}, and `ready: false` for endpoints that shall get nothing"
            ),
        );
    }
    weight.unwrap_or(DEFAULT)
}

/// When the change happened that a slice follows, as the controllers of the API write it. Whatever
/// else stands there is nobody's mistake who could mend it: nothing is measured then, as in kube-proxy.
pub(super) fn triggered(metadata: &ObjectMeta) -> Option<SystemTime> {
    let text = metadata.annotations.as_ref()?.get(TRIGGERED)?;
    let at: Timestamp = text.parse().ok()?;
    Some(at.into())
}

/// An annotation's path and value; none if it is not there.
fn read<'m>(metadata: &'m ObjectMeta, name: &str) -> Option<(String, &'m str)> {
    let key = format!("{ANNOTATION_PREFIX}{name}");
    let text = metadata.annotations.as_ref()?.get(&key)?;
    Some((format!("metadata.annotations.{key}"), text.trim()))
}

/// Names those with our prefix that mean nothing on such an object.
fn refuse_unknown(metadata: &ObjectMeta, known: &[&str], findings: &mut Findings) {
    for key in metadata.annotations.iter().flat_map(|all| all.keys()) {
        let Some(name) = key.strip_prefix(ANNOTATION_PREFIX) else {
            continue;
        };
        if !known.contains(&name) {
            let names: Vec<_> = known
                .iter()
                .map(|name| format!("{ANNOTATION_PREFIX}{name}"))
                .collect();
            findings.remark(
                format!("metadata.annotations.{key}"),
                format!(
                    "has no meaning here; remove it or write {}",
                    names.join(" or ")
                ),
            );
        }
    }
}
