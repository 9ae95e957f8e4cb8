//! Which connections does IPVS translate, in a table of its own? They stay there, and are named.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lb_common::decide::{SCTP, TCP, UDP};

use super::{Passenger, Plan, Why};

/// IPVS' connections in the network namespace of this thread; not there without its module.
const TABLE: &str = "/proc/thread-self/net/ip_vs_conn";
/// States of connections that are over.
const OVER: [&str; 2] = ["TIME_WAIT", "CLOSE"];

/// All that are not over.
///
/// # Errors
/// The table is there and cannot be read.
pub(super) fn connections() -> io::Result<Vec<Passenger>> {
    match fs::read_to_string(TABLE) {
        Ok(table) => Ok(table.lines().filter_map(connection).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// As `ip_vs_conn_seq_show` of the kernel writes it: protocol, client, virtual service and real server with
/// their ports, and the state. What persistence remembers has another protocol.
fn connection(line: &str) -> Option<Passenger> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let [protocol, client, from, service, to, server, at, state, ..] = *words else {
        return None;
    };
    let protocol = match protocol {
        "TCP" => TCP,
        "UDP" => UDP,
        "SCTP" => SCTP,
        _ => return None,
    };
    let client = end(client, from)?;
    (!OVER.contains(&state)).then_some(Passenger {
        protocol,
        client,
        frontend: end(service, to)?,
        backend: end(server, at)?,
        seen_as: client,
        service_port: None,
    })
}

/// IPv4 is eight hexadecimal digits, IPv6 all of its groups; a port is four digits.
fn end(address: &str, port: &str) -> Option<SocketAddr> {
    let address = if address.contains(':') {
        IpAddr::V6(address.parse().ok()?)
    } else {
        IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?))
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(address, port))
}

/// Adds them to those that stay, unless nf_conntrack knows them as well.
pub(super) fn name(connections: Vec<Passenger>, plan: &mut Plan) {
    let ends = |it: &Passenger| (it.protocol, it.client, it.frontend);
    let staying = plan.stay.iter().map(|(it, _)| ends(it));
    let later = plan.later.iter().map(ends);
    let known: BTreeSet<_> = (plan.passengers().map(|it| ends(&it)))
        .chain(staying)
        .chain(later)
        .collect();
    let unknown = connections
        .into_iter()
        .filter(|it| !known.contains(&ends(it)));
    plan.stay.extend(unknown.map(|it| (it, Why::Ipvs)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP CB007107 9C40 0A2BA527 0050 0A2A000A 1F90 ESTABLISHED     897
TCP CB007107 9C41 0A2BA527 0050 0A2A000A 1F90 TIME_WAIT       100
UDP fd00:0010:0042:0000:0000:0000:0000:0009 9C42 fd00:0010:0043:0000:0000:0000:0000:0001 0035 fd00:0010:0042:0000:0000:0000:0000:000a 0035 UDP             300
IP  CB007107 0000 0A2BA527 0050 0A2A000A 1F90 NONE            120
";

    #[test]
    fn what_ipvs_translates_is_named_but_what_is_over_or_known_is_not() {
        let connections: Vec<_> = LINES.lines().filter_map(connection).collect();
        let ends = |it: &Passenger| {
            let texts = [it.client, it.frontend, it.backend].map(|end| end.to_string());
            (it.protocol, texts)
        };
        assert_eq!(
            connections.iter().map(ends).collect::<Vec<_>>(),
            [
                (
                    TCP,
                    ["203.0.113.7:40000", "10.43.165.39:80", "10.42.0.10:8080"].map(str::to_owned)
                ),
                (
                    UDP,
                    [
                        "[fd00:10:42::9]:40002",
                        "[fd00:10:43::1]:53",
                        "[fd00:10:42::a]:53"
                    ]
                    .map(str::to_owned)
                ),
            ]
        );
        let mut plan = Plan {
            later: vec![connections[0]],
            ..Plan::default()
        };
        name(connections.clone(), &mut plan);
        assert_eq!(plan.stay, [(connections[1], Why::Ipvs)]);
    }
}
