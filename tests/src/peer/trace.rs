//! Who is on the way? One step of `traceroute`: a datagram whose time to live ends there.

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::HOST_NAME;
use crate::topology::Place;

/// How long each of the two sockets is listened to in turn.
const TURN: Duration = Duration::from_millis(5);

/// What came of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// This machine said what became of it, in an ICMP message of this type and code.
    Told(IpAddr, [u8; 2]),
    /// It was answered.
    Answered,
    /// Nobody said anything.
    Silence,
}

/// Sends a question to a server that gets so many routers far, and waits for what comes back. An
/// error that is not about this very datagram, as it was sent, is no answer.
///
/// # Errors
/// The datagram could not be sent, or an error about it quotes it wrongly.
pub fn hop(place: &Place, to: SocketAddr, ttl: u32, patience: Duration) -> Result<Hop> {
    let (domain, protocol) = match to {
        SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let mut errors = place.socket(domain, Type::RAW, Some(protocol))?;
    errors.set_read_timeout(Some(TURN))?;
    let socket = place.socket(domain, Type::DGRAM, None)?;
    match to {
        SocketAddr::V4(_) => socket.set_ttl_v4(ttl)?,
        SocketAddr::V6(_) => socket.set_unicast_hops_v6(ttl)?,
    }
    let socket = UdpSocket::from(socket);
    socket.connect(to)?;
    socket.set_read_timeout(Some(TURN))?;
    let own = socket.local_addr()?;
    socket.send(HOST_NAME.as_bytes())?;
    let start = Instant::now();
    let mut buffer = [0; 2_048];
    while start.elapsed() < patience {
        // Both sockets hear of an error: the other one says more.
        if let Some(told) = read_error(&mut errors, own, to, &mut buffer)? {
            return Ok(told);
        }
        match socket.recv(&mut buffer) {
            Ok(_) => return Ok(Hop::Answered),
            Err(error) if is_no_news(error.kind()) => {}
            Err(error) => return Err(error).context("the datagram's socket"),
        }
    }
    Ok(Hop::Silence)
}

fn is_no_news(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
    )
}

/// The next ICMP error, if it is about the datagram between these.
fn read_error(
    errors: &mut Socket,
    own: SocketAddr,
    to: SocketAddr,
    buffer: &mut [u8],
) -> Result<Option<Hop>> {
    let (from, message) = match to {
        // An IPv4 raw socket gives the IP header, too.
        SocketAddr::V4(_) => {
            let Ok(length) = errors.read(buffer) else {
                return Ok(None);
            };
            let header = usize::from(buffer[0] & 15) * 4;
            let from: [u8; 4] = buffer[12..16].try_into()?;
            (IpAddr::from(Ipv4Addr::from(from)), &buffer[header..length])
        }
        SocketAddr::V6(_) => {
            let socket = UdpSocket::from(errors.try_clone()?);
            let Ok((length, from)) = socket.recv_from(buffer) else {
                return Ok(None);
            };
            (from.ip(), &buffer[..length])
        }
    };
    let [kind, code, _, _, _, _, _, _, quote @ ..] = message else {
        bail!("{from} sent {message:02x?}");
    };
    let is_error = match to {
        SocketAddr::V4(_) => matches!(kind, 3 | 11 | 12),
        SocketAddr::V6(_) => matches!(kind, 1..=4),
    };
    if !is_error {
        return Ok(None);
    }
    let quoted = quoted(quote).with_context(|| format!("{from} quotes {quote:02x?}"))?;
    ensure!(
        quoted == [own, to],
        "{from} quotes {quoted:?} instead of {own} and {to}"
    );
    Ok(Some(Hop::Told(from, [*kind, *code])))
}

/// Source and destination of a datagram that is quoted.
fn quoted(packet: &[u8]) -> Option<[SocketAddr; 2]> {
    let (addresses, ports): ([IpAddr; 2], _) = match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok();
            (
                [address(12)?, address(16)?].map(|octets| Ipv4Addr::from(octets).into()),
                packet.get(20..24)?,
            )
        }
        6 => {
            let address = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok();
            (
                [address(8)?, address(24)?].map(|octets| Ipv6Addr::from(octets).into()),
                packet.get(40..44)?,
            )
        }
        _ => return None,
    };
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    let [source, destination] = addresses;
    Some([
        SocketAddr::new(source, port(0)),
        SocketAddr::new(destination, port(2)),
    ])
}
