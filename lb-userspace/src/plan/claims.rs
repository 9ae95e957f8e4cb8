//! Which Service has a frontend that several want?
//!
//! A ClusterIP beats an external address, which beats a nodePort: nobody takes another's ClusterIP
//! away by naming it as an external IP. Among equals the one first by namespace and name has it,
//! whatever came first.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ObjectName;
use crate::tables::RowKey;

/// How strong a claim is; the smallest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A ClusterIP.
    ClusterIp,
    /// An external IP or an ingress address of a load balancer.
    External,
    /// A port on the node's addresses.
    NodePort,
}

/// Who wants which frontend.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    /// Everybody who wants a frontend; the first has it.
    claimants: BTreeMap<RowKey, Claimants>,
    /// What each Service wants, by key.
    wishes: BTreeMap<ObjectName, Box<[(RowKey, Rank)]>>,
}

/// Sorted, and each once; nearly always it is one.
type Claimants = Vec<(Rank, ObjectName)>;

impl Claims {
    /// The Service wants these and nothing else. Returns the other Services that win, lose or see
    /// another winner by that.
    pub(super) fn set(
        &mut self,
        service: &ObjectName,
        wishes: BTreeMap<RowKey, Rank>,
    ) -> BTreeSet<ObjectName> {
        let before = self.wishes.remove(service).unwrap_or_default();
        let had = |key| {
            let at = before.binary_search_by_key(key, |(key, _)| *key).ok()?;
            Some(&before[at].1)
        };
        let mut touched = BTreeSet::new();
        for (key, rank) in &before {
            if wishes.get(key) != Some(rank) {
                self.change(key, &mut touched, |claimants| {
                    claimants.retain(|claim| *claim != (*rank, service.clone()));
                });
            }
        }
        for (key, rank) in &wishes {
            if had(key) != Some(rank) {
                self.change(key, &mut touched, |claimants| {
                    let claim = (*rank, service.clone());
                    if let Err(at) = claimants.binary_search(&claim) {
                        claimants.reserve_exact(1);
                        claimants.insert(at, claim);
                    }
                });
            }
        }
        if !wishes.is_empty() {
            let wishes = wishes.into_iter().collect();
            self.wishes.insert(service.clone(), wishes);
        }
        touched.remove(service);
        touched
    }

    /// Who has the frontend.
    #[must_use]
    pub(super) fn winner(&self, key: &RowKey) -> Option<&ObjectName> {
        let (_, service) = self.claimants.get(key)?.first()?;
        Some(service)
    }

    fn change(
        &mut self,
        key: &RowKey,
        touched: &mut BTreeSet<ObjectName>,
        change: impl FnOnce(&mut Claimants),
    ) {
        let claimants = self.claimants.entry(*key).or_default();
        let before = claimants.first().cloned();
        change(claimants);
        if claimants.first() != before.as_ref() {
            touched.extend(before.map(|(_, service)| service));
            touched.extend(claimants.iter().map(|(_, service)| service.clone()));
        }
        if claimants.is_empty() {
            self.claimants.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::Ip4;
    use lb_common::layout::FrontendKey;

    use super::*;
    use crate::tables::FamilyRowKey;

    fn key() -> RowKey {
        RowKey::V4(FamilyRowKey::Frontend(FrontendKey {
            address: Ip4::new(203, 0, 113, 80),
            port: 80,
            ..FrontendKey::default()
        }))
    }

    fn service(name: &str) -> ObjectName {
        ObjectName::new("default", name)
    }

    #[test]
    fn the_first_by_name_has_it_whoever_came_first() {
        let mut claims = Claims::default();
        let wish = || [(key(), Rank::External)].into();
        assert_eq!(claims.set(&service("b"), wish()), [].into());
        assert_eq!(claims.set(&service("a"), wish()), [service("b")].into());
        assert_eq!(claims.winner(&key()), Some(&service("a")));
        assert_eq!(claims.set(&service("c"), wish()), [].into());
        let left = claims.set(&service("a"), BTreeMap::new());
        assert_eq!(left, [service("b"), service("c")].into());
        assert_eq!(claims.winner(&key()), Some(&service("b")));
    }

    #[test]
    fn no_external_ip_takes_a_cluster_ip_away() {
        let mut claims = Claims::default();
        claims.set(&service("z"), [(key(), Rank::ClusterIp)].into());
        claims.set(&service("a"), [(key(), Rank::External)].into());
        assert_eq!(claims.winner(&key()), Some(&service("z")));
    }
}
