//! Who knows the names that are not ours? A server that is made for the test and has one answer.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::topology::Place;

/// It looks so often whether it shall end.
const TICK: Duration = Duration::from_millis(50);
/// Header of a message (RFC 1035, section 4.1.1), and what follows the name of a question, in bytes.
const HEADER: usize = 12;
const TYPE_AND_CLASS: usize = 4;

/// Answers every question with one A record, until it is dropped.
pub(crate) struct Upstream {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Begins, at that address of the place.
    pub(crate) fn start(place: &Place, at: SocketAddr, answer: Ipv4Addr) -> Result<Self> {
        let socket = place.netns().run(|| Ok(UdpSocket::bind(at)?))?;
        socket.set_read_timeout(Some(TICK))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut question = [0; 1_500];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut question) else {
                    continue;
                };
                if let Ok(reply) = reply(&question[..length], answer) {
                    // A client that is gone needs none.
                    drop(socket.send_to(&reply, client));
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            drop(thread.join());
        }
    }
}

/// The question without what else is in its message, and the answer.
fn reply(question: &[u8], answer: Ipv4Addr) -> Result<Vec<u8>> {
    let name = question.get(HEADER..).context("no question")?;
    let end = name.iter().position(|byte| *byte == 0).context("no end")? + 1;
    let asked = name.get(..end + TYPE_AND_CLASS).context("cut off")?;
    // A response, recursion desired and available; one question, one answer.
    let mut reply = question[..2].to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend(asked);
    // The name as in the question, A, IN, 300 seconds, four bytes.
    reply.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
    reply.extend(answer.octets());
    Ok(reply)
}
