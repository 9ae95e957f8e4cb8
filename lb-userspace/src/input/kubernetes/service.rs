//! What does a Service say?

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use lb_common::limits::AFFINITY_SECONDS;

use super::service_addresses::ClusterIps;
use super::{Findings, OTHER_PROXY, annotations, service_addresses, service_ports};
use crate::input::declared::{Distribution, Service};
use crate::model::{self, Policy, ServiceKind};

/// A day: as long as an affinity may last, in seconds.
const AFFINITY_SECONDS_MAX: u32 = 86_400;

const POLICIES: [(&str, Policy); 2] = [("Cluster", Policy::Cluster), ("Local", Policy::Local)];

/// Reads a Service.
pub(super) fn service(object: &core::Service, findings: &mut Findings) -> Service {
    let default = core::ServiceSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&default);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    findings.label("metadata.name", name);

    let cluster_ips = service_addresses::cluster_ips(spec, findings);
    let (families, family_policy) = service_addresses::families(spec, &cluster_ips, findings);
    let kind = kind(spec, &cluster_ips, findings);
    only_for_load_balancers(spec, &kind, findings);
    let external_ips = service_addresses::external_ips(spec, findings);
    let external_policy = external_policy(spec, &kind, findings);
    let wants_health_check = kind == ServiceKind::LoadBalancer && external_policy == Policy::Local;
    let (load_balancer_ips, proxied_ips) =
        service_addresses::given_load_balancer_ips(object, &kind, findings);
    let labels = object.metadata.labels.as_ref();

    Service {
        selector: match kind {
            ServiceKind::ExternalName(_) => [].into(),
            _ => spec.selector.clone().unwrap_or_default(),
        },
        families,
        family_policy,
        wants_node_ports: match kind {
            ServiceKind::NodePort => true,
            ServiceKind::LoadBalancer => spec.allocate_load_balancer_node_ports.unwrap_or(true),
            _ => false,
        },
        wants_health_check,
        provider: service_addresses::provider(spec, &kind, findings),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        distribution: distribution(spec, findings),
        other_proxy: labels.and_then(|labels| labels.get(OTHER_PROXY)).cloned(),
        model: model::Service {
            cluster_ips: cluster_ips.explicit(),
            external_ips,
            load_balancer_ips,
            proxied_ips,
            source_ranges: source_ranges(spec, findings),
            ports: service_ports::ports(spec, &kind, findings),
            internal_policy: findings
                .choice(
                    "spec.internalTrafficPolicy",
                    spec.internal_traffic_policy.as_deref(),
                    &POLICIES,
                )
                .unwrap_or_default(),
            external_policy,
            affinity_seconds: affinity_seconds(spec, findings),
            health_check_node_port: health_check_node_port(spec, wants_health_check, findings),
            algorithm: annotations::algorithm(&object.metadata, findings),
            uid: object.metadata.uid.clone().unwrap_or_default(),
            kind,
        },
    }
}

/// The type, told apart from headless Services.
fn kind(spec: &core::ServiceSpec, ips: &ClusterIps, findings: &mut Findings) -> ServiceKind {
    let known = [
        ("ClusterIP", ServiceKind::ClusterIp),
        ("NodePort", ServiceKind::NodePort),
        ("LoadBalancer", ServiceKind::LoadBalancer),
        ("ExternalName", ServiceKind::ExternalName(String::new())),
    ];
    let kind = findings
        .choice("spec.type", spec.type_.as_deref(), &known)
        .unwrap_or_default();
    match (kind, ips) {
        (ServiceKind::ClusterIp, ClusterIps::None) => ServiceKind::Headless,
        (ServiceKind::ExternalName(_), ips) => {
            if !ips.is_empty() {
                findings.refuse(
                    "spec.clusterIP",
                    "a Service of type ExternalName has no address; remove it or change the type",
                );
            }
            ServiceKind::ExternalName(external_name(spec, findings))
        }
        (kind, ClusterIps::None) => {
            findings.refuse(
                "spec.clusterIP",
                "a Service of this type has an address; remove None or write type ClusterIP",
            );
            kind
        }
        (kind, _) => kind,
    }
}

fn external_name(spec: &core::ServiceSpec, findings: &mut Findings) -> String {
    let name = spec.external_name.clone().unwrap_or_default();
    let host = name.trim_end_matches('.');
    if host.is_empty() {
        findings.refuse(
            "spec.externalName",
            "a Service of type ExternalName needs a host name; write one",
        );
    } else {
        for label in host.split('.') {
            findings.label("spec.externalName", label);
        }
    }
    name
}

fn external_policy(
    spec: &core::ServiceSpec,
    kind: &ServiceKind,
    findings: &mut Findings,
) -> Policy {
    let field = "spec.externalTrafficPolicy";
    let policy = findings.choice(field, spec.external_traffic_policy.as_deref(), &POLICIES);
    let external = matches!(kind, ServiceKind::NodePort | ServiceKind::LoadBalancer)
        || spec
            .external_ips
            .as_ref()
            .is_some_and(|ips| !ips.is_empty());
    if policy.is_some() && !external {
        findings.remark(
            field,
            "this Service cannot be reached from outside, so it has no effect; remove it or write type NodePort",
        );
        return Policy::default();
    }
    policy.unwrap_or_default()
}

/// Fields that only Services of type LoadBalancer may have.
fn only_for_load_balancers(spec: &core::ServiceSpec, kind: &ServiceKind, findings: &mut Findings) {
    if *kind == ServiceKind::LoadBalancer {
        return;
    }
    let ranges = spec.load_balancer_source_ranges.as_ref();
    for (field, is_written) in [
        (
            "spec.loadBalancerSourceRanges",
            ranges.is_some_and(|ranges| !ranges.is_empty()),
        ),
        ("spec.loadBalancerClass", spec.load_balancer_class.is_some()),
        (
            "spec.allocateLoadBalancerNodePorts",
            spec.allocate_load_balancer_node_ports.is_some(),
        ),
    ] {
        if is_written {
            findings.refuse(
                field,
                "only a Service of type LoadBalancer has it; remove it or change the type",
            );
        }
    }
}

fn source_ranges(spec: &core::ServiceSpec, findings: &mut Findings) -> Vec<IpNet> {
    let ranges = spec.load_balancer_source_ranges.iter().flatten();
    ranges
        .enumerate()
        .filter_map(|(i, text)| {
            findings.prefix(&format!("spec.loadBalancerSourceRanges[{i}]"), text)
        })
        .collect()
}

fn affinity_seconds(spec: &core::ServiceSpec, findings: &mut Findings) -> Option<u32> {
    let config = spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    let by_client = findings
        .choice(
            "spec.sessionAffinity",
            spec.session_affinity.as_deref(),
            &[("None", false), ("ClientIP", true)],
        )
        .unwrap_or(false);
    if !by_client {
        if config.is_some() {
            findings.refuse(
                "spec.sessionAffinityConfig",
                "there is no affinity to configure; write sessionAffinity: ClientIP or remove it",
            );
        }
        return None;
    }
    let Some(seconds) = seconds else {
        return Some(AFFINITY_SECONDS);
    };
    let fits = u32::try_from(seconds).ok();
    let fits = fits.filter(|seconds| (1..=AFFINITY_SECONDS_MAX).contains(seconds));
    if fits.is_none() {
        findings.refuse(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            format!("{seconds} is out of range; write 1 to {AFFINITY_SECONDS_MAX} seconds"),
        );
    }
    fits
}

fn health_check_node_port(
    spec: &core::ServiceSpec,
    wanted: bool,
    findings: &mut Findings,
) -> Option<u16> {
    let field = "spec.healthCheckNodePort";
    let number = spec.health_check_node_port.filter(|number| *number != 0)?;
    if !wanted {
        // As under kube-proxy: nobody asks there, and the Service is served all the same.
        findings.remark(
            field,
            "only a LoadBalancer with externalTrafficPolicy Local has a health check: not served; remove it",
        );
        return None;
    }
    findings.port(field, number)
}

fn distribution(spec: &core::ServiceSpec, findings: &mut Findings) -> Option<Distribution> {
    findings.choice(
        "spec.trafficDistribution",
        spec.traffic_distribution.as_deref(),
        &[
            ("PreferClose", Distribution::SameZone),
            ("PreferSameZone", Distribution::SameZone),
            ("PreferSameNode", Distribution::SameNode),
        ],
    )
}
