//! What does one client experience? One question, no retry, and exactly what came of it.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::HOST_NAME;
use crate::topology::{Family, Place};

/// No answer here takes longer unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a client talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// A datagram from a connected socket, which hears of ICMP errors.
    Udp,
    /// A datagram from a socket that is not connected.
    UdpUnconnected,
    /// An SCTP association of one address on each side.
    Sctp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::UdpUnconnected => "UDP, unconnected",
            Self::Sctp => "SCTP",
        })
    }
}

/// One question to a server.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    to: SocketAddr,
    transport: Transport,
    source: Option<SocketAddr>,
    patience: Duration,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who answered.
    pub by: String,
    /// The client's address as the server saw it.
    pub seen: SocketAddr,
    /// The client's address as it is.
    pub own: SocketAddr,
    /// From the first packet to the last.
    pub took: Duration,
}

impl Answer {
    /// Whether the server saw the client as it is.
    #[must_use]
    pub fn is_source_preserved(&self) -> bool {
        self.seen == self.own
    }
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Refused at once: RST, ICMP port unreachable, or by the socket hook.
    Refused,
    /// Nothing came.
    TimedOut,
    /// ICMP says that host or network cannot be reached.
    Unreachable,
    /// The connection was reset after it began.
    Reset,
    /// EPERM.
    NotPermitted,
    /// An answer came from another address than was asked, or the socket says that it is connected to this one.
    Stranger(SocketAddr),
    /// The answer makes no sense.
    Garbled(String),
    /// Something else, as the kernel put it.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Reset => f.write_str("reset"),
            Self::NotPermitted => f.write_str("not permitted"),
            Self::Stranger(address) => write!(f, "answered by {address}, which was not asked"),
            Self::Garbled(text) => write!(f, "answered {text:?}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::TimedOut,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::Unreachable,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Dial {
    /// A question to the server at this address.
    #[must_use]
    pub const fn new(transport: Transport, to: SocketAddr) -> Self {
        Self {
            to,
            transport,
            source: None,
            patience: PATIENCE,
        }
    }

    /// Asks from this address instead of the place's own choice.
    #[must_use]
    pub const fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(SocketAddr::new(source, 0));
        self
    }

    /// Asks from this address and port.
    #[must_use]
    pub const fn from_port(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Waits so long at most, in all.
    #[must_use]
    pub const fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks.
    ///
    /// # Errors
    /// There was no answer.
    pub fn ask(&self, place: &Place) -> Result<Answer, Failure> {
        let start = Instant::now();
        let socket = self.socket(place)?;
        let (text, own) = match self.transport {
            Transport::Tcp | Transport::Sctp => self.over_connection(socket, start)?,
            Transport::Udp | Transport::UdpUnconnected => self.over_datagrams(place, socket)?,
        };
        let (by, seen) = read_answer(&text).ok_or(Failure::Garbled(text))?;
        Ok(Answer {
            by,
            seen,
            own,
            took: start.elapsed(),
        })
    }

    /// Opens a TCP connection and leaves it to the caller.
    ///
    /// # Errors
    /// No connection came about.
    pub(super) fn connect(&self, place: &Place) -> Result<Socket, Failure> {
        let socket = self.socket(place)?;
        socket.connect_timeout(&self.to.into(), self.patience)?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket)
    }

    fn socket(&self, place: &Place) -> Result<Socket, Failure> {
        let (kind, protocol) = match self.transport {
            Transport::Tcp => (Type::STREAM, None),
            Transport::Udp | Transport::UdpUnconnected => (Type::DGRAM, None),
            Transport::Sctp => (Type::STREAM, Some(Protocol::SCTP)),
        };
        let socket = place
            .socket(Domain::for_address(self.to), kind, protocol)
            .map_err(|error| Failure::Other(format!("{error:#}")))?;
        // An SCTP socket that is not bound would offer every address of the place.
        let own = SocketAddr::new(place.address(Family::of(self.to.ip())), 0);
        let own = (self.transport == Transport::Sctp).then_some(own);
        if let Some(source) = self.source.or(own) {
            socket.set_reuse_address(true)?;
            socket.bind(&source.into())?;
        }
        Ok(socket)
    }

    fn over_connection(
        &self,
        mut socket: Socket,
        start: Instant,
    ) -> Result<(String, SocketAddr), Failure> {
        socket.connect_timeout(&self.to.into(), self.patience)?;
        // None where it was reset meanwhile, which shows below.
        if let Some(peer) = socket.peer_addr().ok().and_then(|peer| peer.as_socket())
            && peer != self.to
        {
            return Err(Failure::Stranger(peer));
        }
        let own = inet(&socket.local_addr()?)?;
        socket.write_all(format!("GET {HOST_NAME} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut text = Vec::new();
        let mut part = [0; 512];
        loop {
            let left = self.patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(Failure::TimedOut);
            }
            socket.set_read_timeout(Some(left))?;
            match socket.read(&mut part)? {
                0 => return Ok((String::from_utf8_lossy(&text).into_owned(), own)),
                length => text.extend_from_slice(&part[..length]),
            }
        }
    }

    fn source_by_route(&self, place: &Place) -> Result<IpAddr, Failure> {
        let probe = self.socket(place)?;
        probe.connect(&self.to.into())?;
        Ok(inet(&probe.local_addr()?)?.ip())
    }

    fn over_datagrams(
        &self,
        place: &Place,
        socket: Socket,
    ) -> Result<(String, SocketAddr), Failure> {
        let socket = UdpSocket::from(socket);
        let question = HOST_NAME.as_bytes();
        socket.set_read_timeout(Some(self.patience))?;
        if self.transport == Transport::Udp {
            socket.connect(self.to)?;
            socket.send(question)?;
        } else {
            socket.send_to(question, self.to)?;
        }
        let mut own = socket.local_addr()?;
        if own.ip().is_unspecified() {
            // A socket that is neither bound nor connected: the kernel chose for the packet only,
            // and chooses alike for one that is connected.
            own.set_ip(self.source_by_route(place)?);
        }
        let mut answer = [0; 512];
        let (length, from) = socket.recv_from(&mut answer)?;
        if from != self.to {
            return Err(Failure::Stranger(from));
        }
        Ok((String::from_utf8_lossy(&answer[..length]).into_owned(), own))
    }
}

fn inet(address: &SockAddr) -> Result<SocketAddr, Failure> {
    let not_inet = || Failure::Other(String::from("the socket has no Internet address"));
    address.as_socket().ok_or_else(not_inet)
}

/// Name and address from the answer's last line.
fn read_answer(text: &str) -> Option<(String, SocketAddr)> {
    let (name, address) = text.lines().last()?.split_once(' ')?;
    Some((name.to_owned(), address.parse().ok()?))
}
