//! Which addresses and ports were given to Services that ask for none of their own?

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::ObjectName;

/// What was given, by Service; handed back at the next start, so that nothing moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Allocations {
    pub(super) by_service: BTreeMap<ObjectName, Allocation>,
}

/// What one Service was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Allocation {
    /// ClusterIPs, at most one of each family.
    pub(super) cluster_ips: Vec<IpAddr>,
    /// Node ports by the Service's port; ports that differ by their protocol only share one.
    pub(super) node_ports: BTreeMap<u16, u16>,
    /// `healthCheckNodePort`.
    pub(super) health_check_node_port: Option<u16>,
}

/// How an allocation is written: JSON has no keys but texts.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    service: ObjectName,
    given: Allocation,
}

impl From<Vec<Entry>> for Allocations {
    fn from(entries: Vec<Entry>) -> Self {
        let entries = entries.into_iter();
        Self {
            by_service: entries.map(|entry| (entry.service, entry.given)).collect(),
        }
    }
}

impl From<Allocations> for Vec<Entry> {
    fn from(allocations: Allocations) -> Self {
        let entries = allocations.by_service.into_iter();
        entries
            .map(|(service, given)| Entry { service, given })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_survive_being_written_and_read() {
        let allocation = Allocation {
            cluster_ips: vec![
                "10.96.151.12".parse().unwrap(),
                "fd00:96::c".parse().unwrap(),
            ],
            node_ports: [(80, 30_061)].into(),
            health_check_node_port: Some(30_062),
        };
        let allocations = Allocations {
            by_service: [(ObjectName::new("default", "kubia"), allocation)].into(),
        };
        let text = serde_json::to_string(&allocations).unwrap();
        assert_eq!(
            text,
            r#"[{"service":{"namespace":"default","name":"kubia"},"given":{"clusterIps":["10.96.151.12","fd00:96::c"],"nodePorts":{"80":30061},"healthCheckNodePort":30062}}]"#
        );
        assert_eq!(
            serde_json::from_str::<Allocations>(&text).unwrap(),
            allocations
        );
    }
}
