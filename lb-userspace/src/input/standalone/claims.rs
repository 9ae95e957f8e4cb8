//! Who may use an address or a node port that Services ask for by name?
//!
//! The API server would refuse whoever asks second; files have no second, so it is the first by
//! namespace and name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::input::declared::Service;
use crate::model::{ObjectName, Protocol};

/// Explicit addresses and ports, with those who ask for them.
#[derive(Debug, Default)]
pub(super) struct Claims {
    addresses: BTreeMap<IpAddr, Names>,
    ports: BTreeMap<(u16, Protocol), Names>,
}

/// In their order. Mostly it is one, for which a set would have room for eleven.
type Names = Vec<ObjectName>;

/// What one Service asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// ClusterIPs.
    pub(super) addresses: Vec<IpAddr>,
    /// Node ports, the one of the health check included.
    pub(super) ports: Vec<(u16, Protocol)>,
}

impl Asked {
    /// What a Service asks for.
    pub(super) fn by(Service { model, .. }: &Service) -> Self {
        let node_ports = model.ports.iter();
        let node_ports = node_ports.filter_map(|port| Some((port.node_port?, port.protocol)));
        let health_check = model.health_check_node_port;
        Self {
            addresses: model.cluster_ips.clone(),
            ports: node_ports
                .chain(health_check.map(|port| (port, Protocol::Tcp)))
                .collect(),
        }
    }
}

impl Claims {
    /// A Service asks for this; returns who else does.
    pub(super) fn insert(&mut self, name: &ObjectName, asked: &Asked) -> BTreeSet<ObjectName> {
        let mut others = BTreeSet::new();
        let mut insert = |names: &mut Names| {
            others.extend(names.iter().cloned());
            if let Err(place) = names.binary_search(name) {
                names.reserve_exact(1);
                names.insert(place, name.clone());
            }
        };
        for address in &asked.addresses {
            insert(self.addresses.entry(*address).or_default());
        }
        for port in &asked.ports {
            insert(self.ports.entry(*port).or_default());
        }
        others
    }

    /// A Service asks for this no longer; returns who else does.
    pub(super) fn remove(&mut self, name: &ObjectName, asked: &Asked) -> BTreeSet<ObjectName> {
        let mut others = remove(&mut self.addresses, name, &asked.addresses);
        others.extend(remove(&mut self.ports, name, &asked.ports));
        others
    }

    /// Who may use an address.
    pub(super) fn owner_of_address(&self, address: IpAddr) -> Option<&ObjectName> {
        self.addresses.get(&address)?.first()
    }

    /// Who may use a node port.
    pub(super) fn owner_of_port(&self, port: u16, protocol: Protocol) -> Option<&ObjectName> {
        self.ports.get(&(port, protocol))?.first()
    }

    /// Whether anybody asks for a port, whatever the protocol.
    pub(super) fn has_port(&self, port: u16) -> bool {
        let protocols = (port, Protocol::Tcp)..=(port, Protocol::Sctp);
        self.ports.range(protocols).next().is_some()
    }
}

fn remove<V: Ord>(
    claims: &mut BTreeMap<V, Names>,
    name: &ObjectName,
    asked: &[V],
) -> BTreeSet<ObjectName> {
    let mut others = BTreeSet::new();
    for value in asked {
        if let Some(names) = claims.get_mut(value) {
            names.retain(|other| other != name);
            others.extend(names.iter().cloned());
            if names.is_empty() {
                claims.remove(value);
            }
        }
    }
    others
}
