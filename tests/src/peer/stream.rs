//! Does a long connection survive? A client that sends pseudo-random bytes for as long as it is
//! let, has them sent back, and checks every one.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Dial, ECHO, Failure, Transport};
use crate::random::Random;
use crate::topology::Place;

/// Between two blocks.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes in a block: more than one packet.
pub(super) const BLOCK: usize = 4096;
/// An echo that takes longer is as bad as none.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection under way.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    client: JoinHandle<StreamReport>,
}

/// What became of a connection.
#[derive(Clone, Debug, Default)]
pub struct StreamReport {
    /// Who is at the other end; empty if it was never reached.
    pub by: String,
    /// Bytes that came back as they were sent.
    pub bytes: u64,
    /// Why it broke, if it did.
    pub failure: Option<Failure>,
}

impl Stream {
    /// Connects from the place and keeps talking until told to stop.
    #[must_use]
    pub fn start(place: &Place, to: SocketAddr, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (place, stopped) = (place.clone(), Arc::clone(&stop));
        let client = thread::spawn(move || {
            let mut report = StreamReport::default();
            report.failure = talk(&place, to, seed, &stopped, &mut report).err();
            report
        });
        Self { stop, client }
    }

    /// Ends the connection in the orderly way and reports.
    ///
    /// # Panics
    /// If the client did.
    #[must_use]
    pub fn finish(self) -> StreamReport {
        self.stop.store(true, Ordering::Relaxed);
        self.client
            .join()
            .expect("a stream's client does not panic")
    }

    /// Whether it has ended by itself, which is early.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.client.is_finished()
    }
}

fn talk(
    place: &Place,
    to: SocketAddr,
    seed: u64,
    stop: &AtomicBool,
    report: &mut StreamReport,
) -> Result<(), Failure> {
    let dial = Dial::new(Transport::Tcp, to).within(PATIENCE);
    let stream = TcpStream::from(dial.connect(place)?);
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = &stream;
    writer.write_all(format!("GET {ECHO} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut reader = BufReader::new(&stream);
    report.by = read_greeting(&mut reader)?;
    let mut contents = Random::new(seed);
    let mut echo = vec![0; BLOCK];
    while !stop.load(Ordering::Relaxed) {
        let block = contents.bytes(BLOCK);
        writer.write_all(&block)?;
        reader.read_exact(&mut echo)?;
        if echo != block {
            return Err(Failure::Garbled(format!(
                "other bytes than sent, after {}",
                report.bytes
            )));
        }
        report.bytes += BLOCK as u64;
        thread::sleep(PAUSE);
    }
    stream.shutdown(Shutdown::Write)?;
    match reader.read(&mut echo)? {
        0 => Ok(()),
        more => Err(Failure::Garbled(format!("{more} bytes that nobody sent"))),
    }
}

/// The server's name, from the line after the HTTP header.
pub(super) fn read_greeting(reader: &mut impl std::io::BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(Failure::Reset);
        }
    }
    line.clear();
    reader.read_line(&mut line)?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}
