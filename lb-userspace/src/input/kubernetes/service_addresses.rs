//! Which addresses does a Service ask for or have, and of which families?

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;

use super::{Findings, item};
use crate::input::declared::{Family, FamilyPolicy, Provider};
use crate::model::ServiceKind;

/// `spec.clusterIP` and `spec.clusterIPs`.
pub(super) enum ClusterIps {
    /// `None`: the Service has no address.
    None,
    /// These; those that are missing are allocated.
    Explicit(Vec<IpAddr>),
}

impl ClusterIps {
    /// The addresses.
    pub(super) fn explicit(&self) -> Vec<IpAddr> {
        match self {
            Self::None => Vec::new(),
            Self::Explicit(addresses) => addresses.clone(),
        }
    }

    /// Whether nothing is written.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Explicit(addresses) if addresses.is_empty())
    }
}

/// Reads `clusterIP` and `clusterIPs`: either is enough, both have to agree.
pub(super) fn cluster_ips(spec: &core::ServiceSpec, findings: &mut Findings) -> ClusterIps {
    let single = spec.cluster_ip.as_deref().filter(|text| !text.is_empty());
    let texts: Vec<&str> = match spec.cluster_ips.as_deref() {
        Some(texts) if !texts.is_empty() => texts.iter().map(String::as_str).collect(),
        _ => single.into_iter().collect(),
    };
    if let Some(single) = single
        && texts[0] != single
    {
        findings.refuse(
            "spec.clusterIPs[0]",
            format!(
                "{:?} is not clusterIP {single:?}; write the same in both",
                texts[0]
            ),
        );
    }
    if texts == ["None"] {
        return ClusterIps::None;
    }
    let plural = spec
        .cluster_ips
        .as_ref()
        .is_some_and(|texts| !texts.is_empty());
    let addresses: Vec<_> = texts
        .iter()
        .enumerate()
        .filter_map(|(i, text)| {
            let field = if plural {
                format!("spec.clusterIPs[{i}]")
            } else {
                "spec.clusterIP".into()
            };
            findings.address(&field, text)
        })
        .collect();
    let families: Vec<_> = addresses.iter().copied().map(Family::of).collect();
    refuse_repeated("spec.clusterIPs", &families, findings);
    ClusterIps::Explicit(addresses)
}

/// Reads `ipFamilies` and `ipFamilyPolicy`; families that are not written follow the addresses.
pub(super) fn families(
    spec: &core::ServiceSpec,
    cluster_ips: &ClusterIps,
    findings: &mut Findings,
) -> (Vec<Family>, FamilyPolicy) {
    let known = [("IPv4", Family::V4), ("IPv6", Family::V6)];
    let mut families: Vec<_> = spec
        .ip_families
        .iter()
        .flatten()
        .enumerate()
        .filter_map(|(i, text)| {
            findings.choice(&format!("spec.ipFamilies[{i}]"), Some(text), &known)
        })
        .collect();
    refuse_repeated("spec.ipFamilies", &families, findings);
    for (i, address) in cluster_ips.explicit().into_iter().enumerate() {
        let family = Family::of(address);
        match families.get(i) {
            None => families.push(family),
            Some(wanted) if *wanted == family => {}
            Some(wanted) => findings.refuse(
                format!("spec.ipFamilies[{i}]"),
                format!(
                    "{} is not the family of {address}; write the families in the order of \
                     clusterIPs",
                    wanted.name()
                ),
            ),
        }
    }
    let policies = [
        ("SingleStack", FamilyPolicy::Single),
        ("PreferDualStack", FamilyPolicy::PreferDual),
        ("RequireDualStack", FamilyPolicy::RequireDual),
    ];
    let field = "spec.ipFamilyPolicy";
    let policy = findings
        .choice(field, spec.ip_family_policy.as_deref(), &policies)
        .unwrap_or_default();
    if policy == FamilyPolicy::Single && families.len() > 1 {
        findings.refuse(
            field,
            "a Service with two families or clusterIPs is dual-stack; write PreferDualStack or \
             RequireDualStack",
        );
    }
    (families, policy)
}

fn refuse_repeated(field: &str, families: &[Family], findings: &mut Findings) {
    let repeats = matches!(families, [first, rest @ ..] if rest.contains(first));
    if repeats || families.len() > 2 {
        findings.refuse(field, "write at most one of each family, IPv4 and IPv6");
    }
}

/// Reads `externalIPs`.
pub(super) fn external_ips(spec: &core::ServiceSpec, findings: &mut Findings) -> Vec<IpAddr> {
    let texts = spec.external_ips.iter().flatten().enumerate();
    texts
        .filter_map(|(i, text)| findings.reachable_address(&format!("spec.externalIPs[{i}]"), text))
        .collect()
}

/// Reads `loadBalancerClass` and `loadBalancerIP`.
pub(super) fn provider(
    spec: &core::ServiceSpec,
    kind: &ServiceKind,
    findings: &mut Findings,
) -> Provider {
    if spec.load_balancer_class.is_some() {
        return Provider::OfClass;
    }
    let asked = spec.load_balancer_ip.as_deref();
    let asked = asked.filter(|text| *kind == ServiceKind::LoadBalancer && !text.is_empty());
    Provider::Default(asked.and_then(|text| findings.address("spec.loadBalancerIP", text)))
}

/// Reads `status.loadBalancer.ingress`: addresses whose packets come to this node as they are, and
/// those whose packets the load balancer brings to a node port itself.
pub(super) fn given_load_balancer_ips(
    object: &core::Service,
    kind: &ServiceKind,
    findings: &mut Findings,
) -> (Vec<IpAddr>, Vec<IpAddr>) {
    if *kind != ServiceKind::LoadBalancer {
        return Default::default();
    }
    let status = object.status.as_ref();
    let status = status.and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_ref());
    let (mut addresses, mut proxied) = (Vec::new(), Vec::new());
    for (i, ingress) in ingress.into_iter().flatten().enumerate() {
        let at = |field| item("status.loadBalancer.ingress", i, field);
        let modes = [("VIP", true), ("Proxy", false)];
        let mode = findings.choice(&at("ipMode"), ingress.ip_mode.as_deref(), &modes);
        if let Some(text) = ingress.ip.as_deref().filter(|text| !text.is_empty())
            && let Some(address) = findings.address(&at("ip"), text)
        {
            if mode.unwrap_or(true) {
                addresses.push(address);
            } else {
                proxied.push(address);
            }
        }
    }
    (addresses, proxied)
}
