//! How is a question over HTTP answered, and where is listened for it? For health checks and
//! metrics: short answers to GET, many small clients.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// An address that could not be listened on is tried again after so long: it may come yet.
pub const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Connections at a time and address, so that idle ones cannot take all descriptors.
const CONNECTIONS: usize = 64;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// A client that takes longer to ask is not served.
const IDLE: Duration = Duration::from_secs(10);
/// A connection ends after so long whatever it does; checkers come again by themselves.
const AT_MOST: Duration = Duration::from_mins(5);

/// Whoever answers the questions that come to an address.
pub trait Answers: Send + Sync + 'static {
    /// The answer to a GET of this path by a client that accepts these types (`Accept`, empty if it does not
    /// say); none if there is nothing of that name.
    fn answer(&self, path: &str, accept: &str) -> Option<Reply>;
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP's code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Other headers, their names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// What follows.
    pub body: String,
}

impl Reply {
    /// JSON, which no browser shall take for anything else.
    #[must_use]
    pub fn json(is_well: bool, body: String) -> Self {
        Self {
            status: if is_well { 200 } else { 503 },
            content_type: "application/json",
            headers: vec![("x-content-type-options", "nosniff".to_owned())],
            body,
        }
    }

    fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }
}

/// Listens on one address until it is dropped.
#[derive(Debug)]
pub struct Server {
    state: Arc<Mutex<Result<SocketAddr, String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Listens on the address, at once if that is possible, else as soon as it is. `news` is told
    /// whenever that changes.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(address: SocketAddr, answers: Arc<dyn Answers>, news: Arc<Notify>) -> Self {
        let listener = bind(address);
        let state = Arc::new(Mutex::new(outcome(&listener)));
        let keep = Keep {
            address,
            answers,
            news,
            state: Arc::clone(&state),
        };
        Self {
            state,
            task: tokio::spawn(keep.listening(listener)),
        }
    }

    /// The address that is listened on, or why none is.
    ///
    /// # Errors
    /// What the kernel said last.
    pub fn state(&self) -> Result<SocketAddr, String> {
        let state = self.state.lock();
        state.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What it takes to go on listening.
struct Keep {
    address: SocketAddr,
    answers: Arc<dyn Answers>,
    news: Arc<Notify>,
    state: Arc<Mutex<Result<SocketAddr, String>>>,
}

impl Keep {
    async fn listening(self, mut listener: io::Result<TcpListener>) {
        loop {
            self.tell(outcome(&listener));
            if let Ok(listener) = listener {
                let error = serve(listener, &self.answers).await;
                self.tell(Err(error.to_string()));
            }
            sleep(AGAIN_AFTER).await;
            listener = bind(self.address);
        }
    }

    fn tell(&self, now: Result<SocketAddr, String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != now {
            *state = now;
            self.news.notify_one();
        }
    }
}

fn outcome(listener: &io::Result<TcpListener>) -> Result<SocketAddr, String> {
    match listener {
        Ok(listener) => listener.local_addr().map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // What was answered before a restart is still about as TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until the listener fails.
async fn serve(listener: TcpListener, answers: &Arc<dyn Answers>) -> io::Error {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with the listener, and so are its connections.
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return io::ErrorKind::BrokenPipe.into();
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answers = Arc::clone(answers);
                clients.spawn(async move {
                    converse(stream, answers).await;
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
async fn converse(stream: TcpStream, answers: Arc<dyn Answers>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let reply = reply(&request, answers.as_ref());
        async move { Ok::<_, Infallible>(response(reply, request.method() == Method::HEAD)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(AT_MOST, connection).await {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

fn reply(request: &Request<Incoming>, answers: &dyn Answers) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Reply::text(405, "only GET is answered here\n");
    }
    let accept = request.headers().get_all(ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
    answers
        .answer(request.uri().path(), &accept.join(","))
        .unwrap_or_else(|| Reply::text(404, "nothing of that name here\n"))
}

fn response(reply: Reply, is_head: bool) -> Response<Full<Bytes>> {
    let body = if is_head { String::new() } else { reply.body };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    for (name, value) in reply.headers {
        // Numbers and words of ours, which every header may have.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
