//! A server that says what the test wrote down, request by request.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

/// An answer to one request.
pub(super) enum Answer {
    /// All of it, with this status.
    Whole(u16, String),
    /// Lines, and then the end.
    Lines(Vec<String>),
    /// Lines, and then nothing more.
    Silence(Vec<String>),
}

/// A server that is there until its script is over.
pub(super) struct Server {
    /// Where it listens.
    pub(super) address: SocketAddr,
    requests: mpsc::Receiver<String>,
}

impl Server {
    /// Answers the first request with the first answer, and so on.
    pub(super) fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, requests) = mpsc::channel();
        let mut script: VecDeque<_> = script.into_iter().collect();
        thread::spawn(move || {
            // Connections that stay open stay so until the end.
            let mut silent = Vec::new();
            while let Some(answer) = script.pop_front() {
                let Ok((stream, _)) = listener.accept() else {
                    return;
                };
                let Some(request) = request(&stream) else {
                    script.push_front(answer);
                    continue;
                };
                sender.send(request).unwrap_or_default();
                silent.extend(give(stream, &answer));
            }
            // Whoever asks more than was written down is refused, but nobody is hung up on.
            drop(listener);
            drop(sender);
            thread::park_timeout(std::time::Duration::from_secs(30));
        });
        Self { address, requests }
    }

    /// Path and query of the next request.
    pub(super) fn request(&self) -> String {
        let wait = std::time::Duration::from_secs(20);
        self.requests.recv_timeout(wait).expect("a request")
    }
}

/// Reads a request up to its empty line.
fn request(stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    lines.find(String::is_empty)?;
    first.split(' ').nth(1).map(str::to_owned)
}

/// Answers; returns a connection that is to stay open.
fn give(mut stream: TcpStream, answer: &Answer) -> Option<TcpStream> {
    let (status, body, lines) = match answer {
        Answer::Whole(status, body) => (*status, Some(body), &Vec::new()),
        Answer::Lines(lines) | Answer::Silence(lines) => (200, None, lines),
    };
    write!(stream, "HTTP/1.1 {status} so\r\nConnection: close\r\n").ok()?;
    match body {
        Some(body) => write!(stream, "Content-Length: {}\r\n\r\n{body}", body.len()),
        None => write!(stream, "Transfer-Encoding: chunked\r\n\r\n"),
    }
    .ok()?;
    for line in lines {
        write!(stream, "{:x}\r\n{line}\n\r\n", line.len() + 1).ok()?;
    }
    if matches!(answer, Answer::Lines(_)) {
        write!(stream, "0\r\n\r\n").ok()?;
    }
    matches!(answer, Answer::Silence(_)).then_some(stream)
}
