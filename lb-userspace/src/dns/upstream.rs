//! Who knows the names that are not ours, and what do they say?

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::message::{HEADER, Transport, UDP_LONGEST};

/// Time that one server has to answer in: clients wait five seconds, so that two get their chance.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions that may wait for answers at a time; each holds a socket and a buffer of 64 KiB.
const WAITING: usize = 256;

/// Servers that know the names that are not ours, in the order in which they are asked.
#[derive(Debug)]
pub struct Upstream {
    servers: Vec<SocketAddr>,
    waiting: Semaphore,
}

impl Upstream {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            waiting: Semaphore::new(WAITING),
        }
    }

    /// Whether there is anybody to ask.
    pub(super) fn is_there(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Sends a question on as it is. None if nobody answers in time, or too many wait already.
    pub(super) async fn relay(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let Ok(_permit) = self.waiting.try_acquire() else {
            return None;
        };
        let asked = Message::from_vec(question).ok()?;
        // An id of our own, so that nobody else can know it.
        let own = Message::query().metadata.id;
        let mut sent = question.to_vec();
        sent.get_mut(..2)?.copy_from_slice(&own.to_be_bytes());
        for server in &self.servers {
            let exchange = async {
                match transport {
                    Transport::Udp => by_udp(*server, &sent, own, &asked.queries).await,
                    Transport::Tcp => by_tcp(*server, &sent, own, &asked.queries).await,
                }
            };
            if let Ok(Ok(mut answer)) = timeout(PATIENCE, exchange).await {
                answer.get_mut(..2)?.copy_from_slice(question.get(..2)?);
                return Some(answer);
            }
        }
        None
    }

    /// Asks a question of our own, by TCP too if the answer does not fit into a datagram.
    pub(super) async fn ask(&self, query: Query) -> Option<Message> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(query);
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_LONGEST);
        message.set_edns(edns);
        let question = message.to_vec().ok()?;
        let answer = self.relay(&question, Transport::Udp).await?;
        let answer = Message::from_vec(&answer).ok()?;
        if !answer.metadata.truncation {
            return Some(answer);
        }
        let answer = self.relay(&question, Transport::Tcp).await?;
        Message::from_vec(&answer).ok()
    }
}

async fn by_udp(
    server: SocketAddr,
    question: &[u8],
    id: u16,
    queries: &[Query],
) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Whoever guesses our port would have to guess the id as well: what is wrong is waited out.
        if answers(&buffer[..length], id, queries) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_tcp(
    server: SocketAddr,
    question: &[u8],
    id: u16,
    queries: &[Query],
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, question).await?;
    let answer = read_framed(&mut stream).await?;
    if answers(&answer, id, queries) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Whether these bytes answer that question.
fn answers(bytes: &[u8], id: u16, queries: &[Query]) -> bool {
    Message::from_vec(bytes).is_ok_and(|message| {
        message.metadata.id == id
            && message.metadata.message_type == MessageType::Response
            && message.queries == queries
    })
}

/// Reads a message from a connection.
///
/// # Errors
/// The connection's, its end, and messages without a header.
pub(super) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length < HEADER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message to a connection.
///
/// # Errors
/// The connection's, and messages of more than 64 KiB.
pub(super) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
