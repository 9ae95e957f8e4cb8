//! Which objects of the API mean something to a load balancer?

use crate::input::declared::Kind;

/// What an object of some kind is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// It is read.
    Read(Kind),
    /// It is a list; its items have this kind unless they say otherwise.
    List(&'a str),
    /// It is read, but in this version.
    OtherVersion(&'static str),
    /// It is one of Kubernetes' own that has nothing to do with balancing.
    Irrelevant,
    /// It is somebody's extension of the API.
    Foreign,
    /// It is none that Kubernetes has.
    Unknown,
}

/// Version and kind of what is read.
const READ: [(&str, Kind); 6] = [
    ("v1", Kind::Service),
    ("discovery.k8s.io/v1", Kind::EndpointSlice),
    ("v1", Kind::Endpoints),
    ("v1", Kind::Pod),
    ("v1", Kind::Node),
    ("networking.k8s.io/v1", Kind::ServiceCidr),
];

/// Kubernetes' other kinds, by group: a slip of the pen shall not pass for one of them.
const IRRELEVANT: [(&str, &[&str]); 6] = [
    (
        "",
        &[
            "ConfigMap",
            "Event",
            "LimitRange",
            "Namespace",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "ServiceAccount",
        ],
    ),
    (
        "apps",
        &[
            "ControllerRevision",
            "DaemonSet",
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
        ],
    ),
    ("autoscaling", &["HorizontalPodAutoscaler"]),
    ("batch", &["CronJob", "Job"]),
    (
        "networking.k8s.io",
        &["IPAddress", "Ingress", "IngressClass", "NetworkPolicy"],
    ),
    ("policy", &["PodDisruptionBudget"]),
];

/// What an object with this `apiVersion` and `kind` is to us.
pub(super) fn meaning<'a>(api_version: &str, kind: &'a str) -> Meaning<'a> {
    let same_kind = READ.iter().find(|(_, read)| read.name() == kind);
    if let Some((version, read)) = same_kind
        && group(version) == group(api_version)
    {
        return if *version == api_version {
            Meaning::Read(*read)
        } else {
            Meaning::OtherVersion(version)
        };
    }
    let group = group(api_version);
    if let Some(item) = kind.strip_suffix("List")
        && (item.is_empty() || is_known(group, item))
    {
        return Meaning::List(item);
    }
    if is_known(group, kind) {
        Meaning::Irrelevant
    } else if group.contains('.') && !group.ends_with(".k8s.io") {
        Meaning::Foreign
    } else {
        Meaning::Unknown
    }
}

/// The group of an `apiVersion`; empty for Kubernetes' core.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether Kubernetes has this kind in this group. Of the groups that are not listed, all of
/// Kubernetes' own count as known.
fn is_known(group_name: &str, kind: &str) -> bool {
    let read = READ
        .iter()
        .any(|(version, read)| group(version) == group_name && read.name() == kind);
    let listed = IRRELEVANT.iter().find(|(group, _)| *group == group_name);
    read || match listed {
        Some((_, kinds)) => kinds.contains(&kind),
        None => group_name.ends_with(".k8s.io") && group_name != "discovery.k8s.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_mean_what_their_group_says() {
        for (api_version, kind, expected) in [
            ("v1", "Service", Meaning::Read(Kind::Service)),
            (
                "discovery.k8s.io/v1",
                "EndpointSlice",
                Meaning::Read(Kind::EndpointSlice),
            ),
            (
                "discovery.k8s.io/v1beta1",
                "EndpointSlice",
                Meaning::OtherVersion("discovery.k8s.io/v1"),
            ),
            ("v1", "List", Meaning::List("")),
            ("v1", "ServiceList", Meaning::List("Service")),
            ("apps/v1", "DeploymentList", Meaning::List("Deployment")),
            ("v1", "ConfigMap", Meaning::Irrelevant),
            ("apps/v1", "Deployment", Meaning::Irrelevant),
            (
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                Meaning::Irrelevant,
            ),
            ("serving.knative.dev/v1", "Service", Meaning::Foreign),
            ("cert-manager.io/v1", "Certificate", Meaning::Foreign),
            ("v1", "Servce", Meaning::Unknown),
            ("v1", "EndpointSlice", Meaning::Unknown),
            ("v1", "Deployment", Meaning::Unknown),
            ("discovery.k8s.io/v1", "Service", Meaning::Unknown),
        ] {
            assert_eq!(meaning(api_version, kind), expected, "{api_version} {kind}");
        }
    }
}
