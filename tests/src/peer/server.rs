//! What stands behind a Service in the tests? A server that answers with its name and with the
//! client's address as it sees it, over TCP (as HTTP/1.0, so that curl understands it) and UDP, and
//! over SCTP where the kernel has it.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::{ECHO, HOST_NAME};
use crate::topology::{Family, Place};

/// How soon a server notices that it shall stop.
const TICK: Duration = Duration::from_millis(20);
/// A client that is silent for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// The longest datagram.
const DATAGRAM: usize = 1 << 16;
/// A request's first line is never longer.
const LINE: u64 = 256;

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    addresses: [SocketAddr; 2],
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    stop: AtomicBool,
    answered: AtomicU64,
    connections: Mutex<Vec<TcpStream>>,
}

impl Server {
    /// Serves TCP, UDP and, where there is any, SCTP on a port of the place's addresses of both
    /// families, under this name.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(place: &Place, name: &str, port: u16) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            connections: Mutex::default(),
        });
        let mut threads = Vec::new();
        let listener = listen(place, port).with_context(|| format!("{place}: TCP port {port}"))?;
        let held = Arc::clone(&shared);
        threads.push(thread::spawn(move || held.accept(&listener)));
        // A socket for each address: a reply leaves from the address that was asked, and an
        // association has no other.
        for family in Family::ALL {
            let address = SocketAddr::new(place.address(family), port);
            let listener =
                associations(place, address).with_context(|| format!("{place}: SCTP {address}"))?;
            if let Some(listener) = listener {
                let held = Arc::clone(&shared);
                threads.push(thread::spawn(move || held.accept(&listener)));
            }
            let socket =
                datagrams(place, address).with_context(|| format!("{place}: UDP {address}"))?;
            let held = Arc::clone(&shared);
            threads.push(thread::spawn(move || held.answer_datagrams(&socket)));
        }
        Ok(Self {
            shared,
            addresses: Family::ALL.map(|family| SocketAddr::new(place.address(family), port)),
            threads,
        })
    }

    /// Its own address, not that of a Service.
    #[must_use]
    pub const fn address(&self, family: Family) -> SocketAddr {
        match family {
            Family::V4 => self.addresses[0],
            Family::V6 => self.addresses[1],
        }
    }

    /// How many questions it has answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections().len()
    }

    /// Closes its ports; connections that it has go on.
    pub fn close(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so on standard error, and its clients notice.
            drop(thread.join());
        }
    }

    /// Stops: its ports are closed, its connections end.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.close();
        for connection in self.shared.connections().drain(..) {
            // It may have ended by itself meanwhile.
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(place: &Place, port: u16) -> Result<TcpListener> {
    let socket = place.socket(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// None on a kernel without SCTP.
fn associations(place: &Place, address: SocketAddr) -> Result<Option<TcpListener>> {
    if !has_sctp() {
        return Ok(None);
    }
    let (domain, protocol) = (Domain::for_address(address), Some(Protocol::SCTP));
    let socket = place.socket(domain, Type::STREAM, protocol)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Some(socket.into()))
}

/// Whether the kernel has SCTP, built in or as a module that is loaded.
#[must_use]
pub fn has_sctp() -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::SCTP)).is_ok()
}

fn datagrams(place: &Place, address: SocketAddr) -> Result<UdpSocket> {
    let socket = place.socket(Domain::for_address(address), Type::DGRAM, None)?;
    socket.bind(&address.into())?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket.into())
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn greeting(&self, client: SocketAddr) -> String {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let seen = SocketAddr::new(client.ip().to_canonical(), client.port());
        format!("{} {seen}\n", self.name)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        while !self.is_stopped() {
            match listener.accept() {
                Ok((stream, client)) => self.begin(stream, client),
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK / 20),
                // The client has gone already, or this process has too many files for a moment.
                Err(_) => thread::sleep(TICK),
            }
        }
    }

    fn begin(self: &Arc<Self>, stream: TcpStream, client: SocketAddr) {
        let Ok(held) = stream.try_clone() else { return };
        self.connections().push(held);
        let shared = Arc::clone(self);
        thread::spawn(move || {
            // An error ends the connection, which is how the client learns of it.
            drop(shared.answer(&stream, client));
            drop(stream.shutdown(Shutdown::Both));
            shared.connections().retain(|held| held.peer_addr().is_ok());
        });
    }

    fn answer(&self, mut stream: &TcpStream, client: SocketAddr) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        // SCTP has its own option for it.
        let _tcp_alone = stream.set_nodelay(true);
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        (&mut reader).take(LINE).read_line(&mut line)?;
        let request = line
            .split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        while !matches!(line.as_str(), "\r\n" | "\n" | "") {
            line.clear();
            (&mut reader).take(LINE).read_line(&mut line)?;
        }
        let status = match request.as_str() {
            HOST_NAME | ECHO => "200 OK",
            _ => "404 Not Found",
        };
        let greeting = self.greeting(client);
        stream.write_all(format!("HTTP/1.0 {status}\r\n\r\n{greeting}").as_bytes())?;
        if request == ECHO {
            io::copy(&mut reader, &mut stream)?;
        }
        Ok(())
    }

    fn answer_datagrams(&self, socket: &UdpSocket) {
        let mut question = vec![0; DATAGRAM];
        while !self.is_stopped() {
            let Ok((length, client)) = socket.recv_from(&mut question) else {
                continue;
            };
            if question[..length].trim_ascii() == HOST_NAME.as_bytes() {
                // If it does not leave, the client times out.
                drop(socket.send_to(self.greeting(client).as_bytes(), client));
            } else if question.starts_with(ECHO.as_bytes()) {
                drop(socket.send_to(&question[..length], client));
            }
        }
    }
}
