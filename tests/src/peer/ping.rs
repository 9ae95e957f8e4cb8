//! Does an address answer a ping?

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::{Domain, Protocol, Socket, Type};

use crate::topology::Place;

/// What an echo request holds: enough to recognize it.
const PAYLOAD: &[u8] = b"is anybody there?";
/// ICMP type, ICMPv6 type: echo request.
const REQUEST: [u8; 2] = [8, 128];
/// ICMP type, ICMPv6 type: echo reply.
const REPLY: [u8; 2] = [0, 129];

/// Sends one echo request and says whether the reply came within `patience`.
///
/// # Errors
/// The request could not be sent.
pub fn ping(place: &Place, to: IpAddr, patience: Duration) -> Result<bool> {
    let (domain, protocol, version) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 1),
    };
    let mut socket = place.socket(domain, Type::RAW, Some(protocol))?;
    socket.connect(&SocketAddr::new(to, 0).into())?;
    // Type, code, checksum, identifier and sequence number 1; the kernel sums up ICMPv6 itself.
    let mut request = vec![REQUEST[version], 0, 0, 0, 0x1b, 0x1b, 0, 1];
    request.extend_from_slice(PAYLOAD);
    if version == 0 {
        let sum = crate::packet::checksum(&request);
        request[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    socket.send(&request)?;
    let expected = {
        let mut reply = request.clone();
        reply[0] = REPLY[version];
        reply
    };
    Ok(hears(&mut socket, &expected[4..], REPLY[version], patience))
}

/// Whether a message of this type with this rest arrives in time.
fn hears(socket: &mut Socket, rest: &[u8], kind: u8, patience: Duration) -> bool {
    let start = Instant::now();
    let mut packet = [0; 1500];
    loop {
        let left = patience.saturating_sub(start.elapsed());
        if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        let Ok(length) = socket.read(&mut packet) else {
            return false;
        };
        // An IPv4 raw socket gives the IP header too, which has no options here.
        let header = if socket.domain().is_ok_and(|domain| domain == Domain::IPV4) {
            20
        } else {
            0
        };
        let message = packet.get(header..length).unwrap_or_default();
        if message.first() == Some(&kind) && message.get(4..) == Some(rest) {
            return true;
        }
    }
}
