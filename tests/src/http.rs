//! How does a test ask over HTTP? One GET on a connection of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::topology::Place;

/// A node next door answers long before.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's code.
    pub status: u16,
    /// Lines of the head, as they came.
    pub head: String,
    /// What follows.
    pub body: String,
}

impl Answer {
    /// The value of a header, its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }

    /// The value of the metric with exactly these labels, as `name{a="b"}`.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let mut lines = self.body.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

/// Asks from a place.
///
/// # Errors
/// Nobody answers there, or not in HTTP.
pub fn get(from: &Place, server: SocketAddr, path: &str) -> Result<Answer> {
    get_with(from, server, path, "")
}

/// As [`get`], with another line in the head of the question, as `accept: text/plain`.
///
/// # Errors
/// As [`get`].
pub fn get_with(from: &Place, server: SocketAddr, path: &str, header: &str) -> Result<Answer> {
    let answer = from.netns().run(|| ask(server, path, header));
    answer.with_context(|| format!("{from} asks {server}{path}"))
}

fn ask(server: SocketAddr, path: &str, header: &str) -> Result<Answer> {
    let header = if header.is_empty() {
        String::new()
    } else {
        format!("{header}\r\n")
    };
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {server}\r\n{header}connection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?;
    Ok(Answer {
        status: status.parse()?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
