//! Which names does a Service have, and what do they say? As Kubernetes' DNS-Based Service
//! Discovery, version 1.1.0, has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hickory_proto::rr::Name;

use crate::model::{Protocol, Service, ServiceKind, Slice};

/// Labels before the Service's own name, in lower case, joined by dots: `_http._tcp`, `kubia-0`;
/// empty = the Service's own name.
pub(super) type Prefix = String;

/// What a name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// CNAME.
    Alias(Name),
    /// SRV.
    Port {
        /// The port.
        number: u16,
        /// The name of its host.
        host: Prefix,
    },
}

/// All names of one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// A name without data is on the way to another: it exists, but says nothing.
    pub(super) names: BTreeMap<Prefix, BTreeSet<Data>>,
    /// The name that each address leads back to.
    pub(super) pointers: BTreeSet<(IpAddr, Prefix)>,
}

/// The names of a Service with these slices; none at all if it has no address to name, so that
/// clients go on along their search path.
pub(super) fn records<'a>(service: &Service, slices: impl Iterator<Item = &'a Slice>) -> Records {
    let mut records = Records::default();
    match &service.kind {
        ServiceKind::ExternalName(host) => records.add_alias(host),
        ServiceKind::Headless => {
            for slice in slices {
                records.add_slice(slice);
            }
        }
        ServiceKind::ClusterIp | ServiceKind::NodePort | ServiceKind::LoadBalancer => {
            records.add_cluster_ips(service);
        }
    }
    records
}

impl Records {
    /// What looks like an address is none of a host, so it is left out.
    fn add_alias(&mut self, host: &str) {
        if host.parse::<IpAddr>().is_ok() {
            return;
        }
        if let Ok(mut name) = Name::from_ascii(host) {
            name.set_fqdn(true);
            self.add(String::new(), Data::Alias(name.to_lowercase()));
        }
    }

    fn add_cluster_ips(&mut self, service: &Service) {
        if service.cluster_ips.is_empty() {
            return;
        }
        for address in &service.cluster_ips {
            self.add(String::new(), Data::Address(*address));
            self.pointers.insert((*address, String::new()));
        }
        for port in &service.ports {
            self.add_port(&port.name, port.protocol, port.port, "");
        }
    }

    fn add_slice(&mut self, slice: &Slice) {
        for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
            let address = endpoint.address;
            let host = match &endpoint.extras.hostname {
                Some(hostname) => hostname.to_lowercase(),
                None => address.to_string().replace(['.', ':'], "-"),
            };
            self.add(String::new(), Data::Address(address));
            self.add(host.clone(), Data::Address(address));
            for port in &slice.ports {
                if let Some(number) = port.port {
                    self.add_port(&port.name, port.protocol, number, &host);
                }
            }
            self.pointers.insert((address, host));
        }
    }

    /// Ports without a name have no record.
    fn add_port(&mut self, name: &str, protocol: Protocol, number: u16, host: &str) {
        if name.is_empty() {
            return;
        }
        let above = format!("_{}", protocol.to_string().to_lowercase());
        let host = host.to_owned();
        let name = format!("_{}.{above}", name.to_lowercase());
        self.add(name, Data::Port { number, host });
        self.names.entry(above).or_default();
    }

    fn add(&mut self, name: Prefix, data: Data) {
        self.names.entry(name).or_default().insert(data);
    }
}
