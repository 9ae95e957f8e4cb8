//! Where does the server listen, and whom does it serve at a time?

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{Backlog, SockType, listen};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::message::Transport;
use super::responder::{Next, Responder};
use super::udp::{Datagrams, bound};
use super::upstream::{read_framed, write_framed};
use crate::model::{Object, ObjectName, Problem};

/// An address that could not be listened on is tried again after so long: it may come yet.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Connections at a time, so that idle ones cannot take all descriptors.
const CONNECTIONS: usize = 256;

/// A connection on which so long nothing is asked is closed.
const IDLE: Duration = Duration::from_secs(10);

/// How each address fares: the one that is listened on, or why none is.
type States = BTreeMap<SocketAddr, Result<SocketAddr, String>>;

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    states: watch::Receiver<States>,
    /// Ends with it.
    _listeners: JoinSet<()>,
}

impl Server {
    /// Listens on these addresses, as soon as they can be listened on.
    #[must_use]
    pub fn start(addresses: &[SocketAddr], responder: &Responder) -> Self {
        let (sender, states) = watch::channel(States::new());
        let mut listeners = JoinSet::new();
        for address in addresses {
            listeners.spawn(keep_listening(*address, responder.clone(), sender.clone()));
        }
        Self {
            states,
            _listeners: listeners,
        }
    }

    /// Waits until an address fares otherwise than before; for ever if there are none.
    pub async fn changed(&mut self) {
        if self.states.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The addresses that are listened on.
    #[must_use]
    pub fn listening(&self) -> Vec<SocketAddr> {
        let states = self.states.borrow();
        states.values().flatten().copied().collect()
    }

    /// The addresses that are not listened on, as problems of this node.
    #[must_use]
    pub fn problems(&self, node: &str) -> Vec<Problem> {
        let states = self.states.borrow();
        let failed = states.iter().filter_map(|(address, state)| {
            let why = state.as_ref().err()?;
            Some(Problem {
                object: Object {
                    kind: "Node".into(),
                    name: ObjectName::new("", node),
                },
                field: format!("--dns-listen {address}"),
                why: format!(
                    "DNS is not served there: {why}; end what listens there or give the node the \
                     address, or choose another one; it is tried again every {} seconds",
                    AGAIN_AFTER.as_secs()
                ),
                place: None,
            })
        });
        failed.collect()
    }
}

async fn keep_listening(address: SocketAddr, responder: Responder, states: watch::Sender<States>) {
    loop {
        let error = match Listener::bind(address) {
            Ok(listener) => {
                tell(&states, address, Ok(listener.address));
                listener.serve(&responder).await
            }
            Err(error) => error,
        };
        tell(&states, address, Err(error.to_string()));
        sleep(AGAIN_AFTER).await;
    }
}

fn tell(states: &watch::Sender<States>, address: SocketAddr, state: Result<SocketAddr, String>) {
    states.send_if_modified(|states| {
        let before = states.insert(address, state);
        before.as_ref() != states.get(&address)
    });
}

/// Both transports of one address.
struct Listener {
    address: SocketAddr,
    datagrams: Arc<Datagrams>,
    connections: TcpListener,
}

impl Listener {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let datagrams = Datagrams::bind(address)?;
        // The same port, also where any would do.
        let address = datagrams.address()?;
        let stream = bound(address, SockType::Stream)?;
        listen(&stream, Backlog::MAXCONN)?;
        Ok(Self {
            address,
            datagrams: Arc::new(datagrams),
            connections: TcpListener::from_std(StdListener::from(stream))?,
        })
    }

    /// Serves until one of the two fails.
    async fn serve(self, responder: &Responder) -> io::Error {
        tokio::select! {
            error = serve_datagrams(self.datagrams, responder) => error,
            error = serve_connections(self.connections, responder) => error,
        }
    }
}

async fn serve_datagrams(datagrams: Arc<Datagrams>, responder: &Responder) -> io::Error {
    // Dropped with the listener, and so are its tasks.
    let mut errands = JoinSet::new();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        while errands.try_join_next().is_some() {}
        let (length, way) = match datagrams.receive(&mut buffer).await {
            Ok(received) => received,
            Err(error) => return error,
        };
        match responder.begin(&buffer[..length], Transport::Udp) {
            Next::Nothing => {}
            Next::Reply(reply) => drop(datagrams.send(&reply, way)),
            Next::Ask(errand) => {
                let (datagrams, responder) = (Arc::clone(&datagrams), responder.clone());
                errands.spawn(async move {
                    let reply = responder.finish(*errand).await;
                    drop(datagrams.send(&reply, way));
                });
            }
        }
    }
}

async fn serve_connections(connections: TcpListener, responder: &Responder) -> io::Error {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return io::ErrorKind::BrokenPipe.into();
        };
        match connections.accept().await {
            Ok((stream, _)) => {
                let responder = responder.clone();
                clients.spawn(async move {
                    serve_connection(stream, &responder).await;
                    drop(place);
                });
            }
            // That client is gone already; the next one may not be.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return error,
        }
    }
}

/// Answers one question after the other until the client has no more.
async fn serve_connection(mut stream: TcpStream, responder: &Responder) {
    while let Ok(Ok(question)) = timeout(IDLE, read_framed(&mut stream)).await {
        let Some(reply) = responder.respond(&question, Transport::Tcp).await else {
            return;
        };
        let written = timeout(IDLE, write_framed(&mut stream, &reply)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}
