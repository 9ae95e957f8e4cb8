//! Who answers while connections are measured? Each pod alone, by one thread for TCP and one for UDP, with
//! as little work as there can be.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Type};

use crate::topology::{Family, Place};

/// Bytes of a question, and of an answer.
pub(super) const MESSAGE: usize = 64;
/// What a connection's first byte says it wants: an answer, after which the server closes; one answer after
/// the other; to be read until its end, and told how much came.
pub(super) const ONCE: u8 = b'1';
/// As above.
pub(super) const AGAIN: u8 = b'n';
/// As above.
pub(super) const SINK: u8 = b's';

/// How soon it notices that it shall stop, in milliseconds.
const TICK: u8 = 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// One pod's server; it stops when dropped.
pub(super) struct Server {
    stop: Arc<AtomicBool>,
    datagrams: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(place: &Place, port: u16) -> Result<Self> {
        let at = SocketAddr::new(place.address(Family::V4), port);
        let listener = place.socket(Domain::IPV4, Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.bind(&at.into())?;
        listener.listen(BACKLOG)?;
        listener.set_nonblocking(true)?;
        let socket = place.socket(Domain::IPV4, Type::DGRAM, None)?;
        socket.bind(&at.into())?;
        socket.set_read_timeout(Some(Duration::from_millis(TICK.into())))?;
        let (stop, datagrams) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let [stopped, until] = [(); 2].map(|()| Arc::clone(&stop));
        let count = Arc::clone(&datagrams);
        let threads = vec![
            thread::spawn(move || answer(&listener.into(), &stopped)),
            thread::spawn(move || swallow(&socket.into(), &until, &count)),
        ];
        Ok(Self {
            stop,
            datagrams,
            threads,
        })
    }

    /// Datagrams that came so far.
    pub(super) fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                eprintln!("a server failed");
            }
        }
    }
}

fn swallow(socket: &UdpSocket, stop: &AtomicBool, count: &AtomicU64) {
    let mut datagram = [0; MESSAGE];
    while !stop.load(Ordering::Relaxed) {
        if socket.recv(&mut datagram).is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A connection, and what it wants once it has said so.
struct Connection {
    stream: TcpStream,
    wants: Option<u8>,
    bytes: u64,
}

fn answer(listener: &TcpListener, stop: &AtomicBool) {
    let mut connections: Vec<Connection> = Vec::new();
    let mut buffer = vec![0; 1 << 17];
    while !stop.load(Ordering::Relaxed) {
        let ready = {
            let fds = connections
                .iter()
                .map(|connection| connection.stream.as_fd());
            let mut fds: Vec<_> = [listener.as_fd()]
                .into_iter()
                .chain(fds)
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            if poll(&mut fds, PollTimeout::from(TICK)).is_err() {
                continue;
            }
            let ready = fds.iter().map(|fd| fd.any().unwrap_or(false));
            ready.collect::<Vec<_>>()
        };
        let mut ready = ready.into_iter();
        let has_new = ready.next().unwrap_or(false);
        connections.retain_mut(|one| !ready.next().unwrap_or(false) || go_on(one, &mut buffer));
        while has_new && let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok() {
                connections.push(Connection {
                    stream,
                    wants: None,
                    bytes: 0,
                });
            }
        }
    }
}

/// Whether the connection goes on.
fn go_on(connection: &mut Connection, buffer: &mut [u8]) -> bool {
    let Connection {
        stream,
        wants,
        bytes,
    } = connection;
    let length = match stream.read(buffer) {
        Ok(length) => length,
        Err(error) => return error.kind() == ErrorKind::WouldBlock,
    };
    if length == 0 {
        if *wants == Some(SINK) {
            // A client that is gone already does not want to know.
            drop(stream.write_all(&bytes.to_le_bytes()));
        }
        return false;
    }
    *bytes += length as u64;
    match *wants.get_or_insert(buffer[0]) {
        SINK => true,
        AGAIN => stream.write_all(&buffer[..length]).is_ok(),
        // Questions are sent in one piece; a client that gets no answer says so.
        _ => {
            drop(stream.write_all(&buffer[..length]));
            false
        }
    }
}
