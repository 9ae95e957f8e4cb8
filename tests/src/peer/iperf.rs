//! What does iperf3, which others measure by, say of a path? One run, by its own report.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::command;
use crate::leftovers::{self, Guard};
use crate::topology::Place;
use crate::wait;

/// It listens at once; a slow machine is given time.
const SOON: Duration = Duration::from_secs(10);
/// How /proc/net/tcp6 says that a socket listens.
const LISTENS: &str = "0A";
/// Where its servers listen.
pub const IPERF: u16 = 5_201;

/// A server, for any number of runs, one after the other.
#[derive(Debug)]
pub struct IperfServer {
    child: Child,
    guard: Option<Guard>,
}

impl IperfServer {
    /// Starts one at the place, and waits until it listens.
    ///
    /// # Errors
    /// There is no iperf3, or the port is taken.
    pub fn start(place: &Place) -> Result<Self> {
        let mut server = Command::new("iperf3");
        server.args(["--server", "--port", &IPERF.to_string()]);
        server.stdin(Stdio::null()).stdout(Stdio::null());
        let child = place
            .netns()
            .run(|| server.spawn().context("starting iperf3"))?;
        let server = Self {
            guard: Some(leftovers::process(child.id())),
            child,
        };
        wait::until("iperf3 listens", SOON, || place.netns().run(is_listening))?;
        Ok(server)
    }
}

/// Whether somebody listens on its port in this thread's network namespace. A client that tried would be
/// taken for one whose run failed.
fn is_listening() -> Result<bool> {
    let sockets = fs::read_to_string("/proc/thread-self/net/tcp6")?;
    let port = format!(":{IPERF:04X}");
    Ok(sockets.lines().any(|socket| {
        let mut words = socket.split_whitespace().skip(1);
        let (local, state) = (words.next(), words.nth(1));
        local.is_some_and(|local| local.ends_with(&port)) && state == Some(LISTENS)
    }))
}

impl Drop for IperfServer {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let (Ok(_), Some(guard)) = (ended, self.guard.take()) {
            guard.release();
        }
    }
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// From the client.
    Server,
    /// To the client.
    Client,
}

/// What does not count as arrived when the client has sent all: the kernel's buffers at both ends hold it, at most
/// `tcp_wmem` and `tcp_rmem`, which from 6.16 on are 4 and 32 MiB.
const BUFFERS: u64 = 36 << 20;

/// Has iperf3 send so many bytes, which must be more than the kernel's buffers take, by TCP, whose packets nobody
/// may fragment, and reads its report.
///
/// # Errors
/// It reports an error, or too few bytes that arrived, or it was not done within `patience`.
pub fn iperf(
    client: &Place,
    to: SocketAddr,
    toward: Toward,
    bytes: u64,
    patience: Duration,
) -> Result<()> {
    // By itself it would wait for a black hole for ever.
    let mut timeout = Command::new("timeout");
    timeout.args([&patience.as_secs().to_string(), "iperf3", "--json"]);
    timeout.args(["--client", &to.ip().to_string()]);
    timeout.args(["--port", &to.port().to_string()]);
    timeout.args(["--bytes", &bytes.to_string()]);
    if toward == Toward::Client {
        timeout.arg("--reverse");
    }
    let output = client.netns().run(|| command::finish(&mut timeout, ""))?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "`{}`: {}\n{said}",
        command::show(&timeout),
        output.status
    );
    let report: Value = serde_json::from_str(&said).context("iperf3's report")?;
    ensure!(report["error"].is_null(), "iperf3 says {}", report["error"]);
    let received = report["end"]["sum_received"]["bytes"].as_u64();
    ensure!(
        received >= Some(bytes - BUFFERS),
        "{received:?} of {bytes} bytes arrived: {said}"
    );
    Ok(())
}
