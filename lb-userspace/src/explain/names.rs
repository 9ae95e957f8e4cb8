//! What are things in the tables called?

use lb_common::addr::Family;
use lb_common::layout::{
    FRONTEND_CLUSTER_IP, FRONTEND_EXTERNAL_IP, FRONTEND_LOAD_BALANCER, FRONTEND_NODE_PORT,
    FrontendKey, text_bytes,
};

use super::answer::ServedPort;
use super::question::{has_ports, protocol_name};
use crate::tables::{Tables, service_of};

/// The name of a service port; none if the tables have none.
pub(super) fn served_port(tables: &Tables, id: u32) -> Option<ServedPort> {
    let name = tables.services.get(&id)?;
    let port_name: Vec<u8> = text_bytes(&name.port_name).collect();
    Some(ServedPort {
        id,
        service: service_of(name),
        name: String::from_utf8_lossy(&port_name).into_owned(),
        port: name.port,
        protocol: name.protocol,
    })
}

/// What a frontend is, from its `FRONTEND_*` bits.
pub(super) const fn kind(flags: u32) -> &'static str {
    if flags & FRONTEND_CLUSTER_IP != 0 {
        "ClusterIP"
    } else if flags & FRONTEND_NODE_PORT != 0 {
        "NodePort"
    } else if flags & FRONTEND_EXTERNAL_IP != 0 {
        "ExternalIP"
    } else if flags & FRONTEND_LOAD_BALANCER != 0 {
        "LoadBalancer"
    } else {
        "frontend"
    }
}

/// `10.43.165.39:80/TCP`, `[fd00::80]:53/UDP`, `10.43.165.39/ICMP`.
pub(super) fn dialled(address: std::net::IpAddr, port: u16, protocol: u8) -> String {
    let protocol_name = protocol_name(protocol);
    if has_ports(protocol) {
        format!(
            "{}/{protocol_name}",
            std::net::SocketAddr::new(address, port)
        )
    } else {
        format!("{address}/{protocol_name}")
    }
}

/// As [`dialled`]; the marker of an address as the address.
pub(super) fn key<A: Family>(key: &FrontendKey<A>) -> String {
    if key.protocol == 0 {
        format!("{} (any port)", key.address)
    } else {
        dialled(key.address.to_ip(), key.port, key.protocol)
    }
}
