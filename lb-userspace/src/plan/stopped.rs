//! Which backends stopped serving? Flows toward them must not wait for a time-out.
//!
//! As under kube-proxy, policies, hints and draining take new flows away from an endpoint, but not
//! those it has: it serves as long as the tables have it.

use std::collections::BTreeSet;

use lb_common::addr::{Family, Ip4, Ip6};

use crate::tables::{FamilyTables, Tables};

/// Backends that served before a change and do not now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Those of IPv4.
    pub v4: Destinations<Ip4>,
    /// Those of IPv6.
    pub v6: Destinations<Ip6>,
}

/// Backends as flows know them: id of the service port, address, port.
pub type Destinations<A> = BTreeSet<(u32, A, u16)>;

impl Stopped {
    /// Adds what `after` no longer has of `before`; both belong to one Service.
    pub(super) fn note(&mut self, before: &Tables, after: &Tables) {
        note(&mut self.v4, &before.v4, &after.v4);
        note(&mut self.v6, &before.v6, &after.v6);
    }
}

fn note<A: Family>(
    stopped: &mut Destinations<A>,
    before: &FamilyTables<A>,
    after: &FamilyTables<A>,
) {
    let serving = destinations(after);
    for destination in &serving {
        stopped.remove(destination);
    }
    stopped.extend(destinations(before).difference(&serving));
}

fn destinations<A: Family>(tables: &FamilyTables<A>) -> Destinations<A> {
    tables
        .backends
        .values()
        .map(|backend| (backend.service_port, backend.address, backend.port))
        .collect()
}

#[cfg(test)]
mod tests {
    use lb_common::layout::{BACKEND_IN_CLUSTER, BACKEND_TERMINATING, Backend};

    use super::*;

    fn tables(backends: &[(u8, u8)]) -> Tables {
        let mut tables = Tables::default();
        for (last_octet, flags) in backends {
            let backend = Backend {
                address: Ip4::new(10, 42, 0, *last_octet),
                port: 8_080,
                flags: *flags,
                service_port: 1,
                ..Backend::default()
            };
            tables.v4.backends.insert(u32::from(*last_octet), backend);
        }
        tables
    }

    #[test]
    fn a_backend_stops_when_it_goes_and_counts_no_more_when_it_is_back() {
        let mut stopped = Stopped::default();
        let both = tables(&[(1, BACKEND_IN_CLUSTER), (2, BACKEND_IN_CLUSTER)]);
        let one = tables(&[(1, BACKEND_IN_CLUSTER)]);
        stopped.note(&both, &one);
        assert_eq!(stopped.v4, [(1, Ip4::new(10, 42, 0, 2), 8_080)].into());
        stopped.note(&one, &both);
        assert_eq!(stopped, Stopped::default());
    }

    #[test]
    fn a_draining_backend_keeps_its_flows() {
        let mut stopped = Stopped::default();
        let serving = tables(&[(1, BACKEND_IN_CLUSTER)]);
        stopped.note(&serving, &tables(&[(1, BACKEND_TERMINATING)]));
        assert_eq!(stopped, Stopped::default());
    }
}
