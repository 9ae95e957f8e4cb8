//! Which names are there at all, and whose are they? Everything that the server knows, one Service
//! at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData};
use ipnet::IpNet;

use super::domain::Domain;
use super::records::{Data, Prefix, Records};
use super::reverse;
use crate::model::ObjectName;

/// Seconds that answers may be kept: as short as in CoreDNS, for endpoints come and go.
pub const TTL: u32 = 5;

/// Seconds that the version of the schema may be kept: it changes with releases only.
const VERSION_TTL: u32 = 28_800;

/// The version of Kubernetes' DNS-Based Service Discovery that this is.
const VERSION: &str = "1.1.0";

/// Everything that the server knows.
#[derive(Debug)]
pub struct Zone {
    domain: Domain,
    services: BTreeMap<ObjectName, Records>,
    /// The names that each address leads back to.
    pointers: BTreeMap<IpAddr, BTreeSet<(ObjectName, Prefix)>>,
    /// Prefixes of ClusterIPs: what is not known of them nobody else knows.
    service_cidrs: Vec<IpNet>,
    /// Whether a name that is not here is nowhere.
    complete: bool,
    /// Counts changes.
    serial: u32,
}

/// What there is under a name in a zone of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The top of the zone, which says no where the name does not say yes.
    pub(super) apex: Name,
    /// What the name says; none = there is no such name.
    pub(super) data: Option<Vec<RData>>,
    /// Seconds that it may be kept.
    pub(super) ttl: u32,
}

impl Zone {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(domain: Domain) -> Self {
        Self {
            domain,
            services: BTreeMap::new(),
            pointers: BTreeMap::new(),
            service_cidrs: Vec::new(),
            complete: false,
            serial: 1,
        }
    }

    /// A Service has these names now, and no others.
    pub(super) fn set(&mut self, service: &ObjectName, records: Records) {
        let before = self.services.remove(service).unwrap_or_default();
        for (address, prefix) in before.pointers {
            if let Some(owners) = self.pointers.get_mut(&address) {
                owners.remove(&(service.clone(), prefix));
                if owners.is_empty() {
                    self.pointers.remove(&address);
                }
            }
        }
        for (address, prefix) in &records.pointers {
            let owners = self.pointers.entry(*address).or_default();
            owners.insert((service.clone(), prefix.clone()));
        }
        if records != Records::default() {
            self.services.insert(service.clone(), records);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// Every Service is known now: what is not here is nowhere.
    pub(super) fn set_complete(&mut self) {
        self.complete = true;
    }

    /// Whether a name that is not here is nowhere.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// ClusterIPs come from these prefixes now.
    pub(super) fn set_service_cidrs(&mut self, service_cidrs: &[IpNet]) {
        service_cidrs.clone_into(&mut self.service_cidrs);
    }

    /// What is known about a name; none if it is somebody else's.
    pub(super) fn find(&self, name: &Name) -> Option<Found> {
        match self.domain.below(name) {
            Some(labels) => {
                let labels: Vec<_> = labels.iter().map(String::as_str).collect();
                Some(self.find_below(&labels))
            }
            None => self.find_reverse(name),
        }
    }

    /// The record that says no.
    pub(super) fn start_of_authority(&self) -> RData {
        let server = |label: &str| self.domain.name_of(label).unwrap_or_else(Name::root);
        RData::SOA(SOA::new(
            server("ns.dns"),
            server("hostmaster"),
            self.serial,
            7_200,
            1_800,
            86_400,
            TTL,
        ))
    }

    fn find_below(&self, labels: &[&str]) -> Found {
        let apex = self.domain.name().clone();
        let mut ttl = TTL;
        let data = match labels {
            [] => Some(vec![self.start_of_authority()]),
            ["dns-version"] => {
                ttl = VERSION_TTL;
                Some(vec![RData::TXT(TXT::new(vec![VERSION.to_owned()]))])
            }
            ["svc"] => Some(Vec::new()),
            [namespace, "svc"] => self.has_namespace(namespace).then(Vec::new),
            [prefix @ .., service, namespace, "svc"] => {
                self.find_service(&ObjectName::new(*namespace, *service), &prefix.join("."))
            }
            _ => None,
        };
        Found { apex, data, ttl }
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        let first = self.services.range(ObjectName::new(namespace, "")..).next();
        first.is_some_and(|(name, _)| name.namespace == namespace)
    }

    fn find_service(&self, service: &ObjectName, prefix: &str) -> Option<Vec<RData>> {
        let data = self.services.get(service)?.names.get(prefix)?.iter();
        Some(
            data.filter_map(|data| self.written_out(service, data))
                .collect(),
        )
    }

    /// What a name says in the words of the protocol; none if it is too long to be said.
    fn written_out(&self, service: &ObjectName, data: &Data) -> Option<RData> {
        Some(match data {
            Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
            Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
            Data::Alias(name) => RData::CNAME(CNAME(name.clone())),
            // Priority and weight: all are the same to us.
            Data::Port { number, host } => {
                RData::SRV(SRV::new(0, 100, *number, self.name(service, host)?))
            }
        })
    }

    fn name(&self, service: &ObjectName, prefix: &str) -> Option<Name> {
        let dot = if prefix.is_empty() { "" } else { "." };
        let ObjectName { namespace, name } = service;
        self.domain
            .name_of(&format!("{prefix}{dot}{name}.{namespace}.svc"))
    }

    /// What an address leads back to. Of unknown addresses, those that Services have theirs from
    /// lead nowhere; who the others belong to others know.
    fn find_reverse(&self, name: &Name) -> Option<Found> {
        let address = reverse::address(name)?;
        let cidr = self
            .service_cidrs
            .iter()
            .find(|cidr| cidr.contains(&address));
        let data = self.pointers.get(&address).map(|owners| {
            let names = owners.iter();
            let names = names.filter_map(|(service, prefix)| self.name(service, prefix));
            names.map(|name| RData::PTR(PTR(name))).collect()
        });
        if data.is_none() && cidr.is_none() {
            return None;
        }
        Some(Found {
            apex: reverse::apex(address, cidr),
            data,
            ttl: TTL,
        })
    }
}
