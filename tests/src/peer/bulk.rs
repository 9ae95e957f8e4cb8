//! Do many bytes get through at once, in both directions? As fast as they go, each of them checked.

use std::io::{BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::stream::{BLOCK, read_greeting};
use super::{Dial, ECHO, Failure, Transport};
use crate::random::Random;
use crate::topology::Place;

/// Sends so many bytes (or a few more) over a connection, and reads them back at the same time. The
/// kernel sets the do-not-fragment bit, as it does unless told otherwise.
///
/// # Errors
/// They did not come back as they were sent, or not all within `patience`.
///
/// # Panics
/// If the thread that sends did.
pub fn transfer(
    place: &Place,
    to: SocketAddr,
    bytes: usize,
    patience: Duration,
) -> Result<(), Failure> {
    let start = Instant::now();
    let stream = TcpStream::from(
        Dial::new(Transport::Tcp, to)
            .within(patience)
            .connect(place)?,
    );
    // A black hole ends here, not in the time-outs of TCP.
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    (&stream).write_all(format!("GET {ECHO} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut reader = BufReader::new(&stream);
    read_greeting(&mut reader)?;
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(&stream, bytes));
        let received = receive(&mut reader, bytes, start, patience);
        if received.is_err() {
            // Or the sender would wait for its own time-out.
            drop(stream.shutdown(Shutdown::Both));
        }
        let sent = sender.join().expect("a sender does not panic");
        received.and(sent)
    })
}

fn send(mut stream: &TcpStream, bytes: usize) -> Result<(), Failure> {
    let mut contents = Random::new(1);
    let mut sent = 0;
    while sent < bytes {
        let block = contents.bytes(BLOCK);
        stream.write_all(&block)?;
        sent += block.len();
    }
    Ok(stream.shutdown(Shutdown::Write)?)
}

fn receive(
    reader: &mut impl std::io::Read,
    bytes: usize,
    start: Instant,
    patience: Duration,
) -> Result<(), Failure> {
    let mut contents = Random::new(1);
    let mut received = 0;
    while received < bytes {
        let expected = contents.bytes(BLOCK);
        let mut block = vec![0; expected.len()];
        reader.read_exact(&mut block)?;
        if block != expected {
            let what = format!("other bytes than sent, after {received}");
            return Err(Failure::Garbled(what));
        }
        received += block.len();
        if start.elapsed() > patience {
            return Err(Failure::TimedOut);
        }
    }
    match reader.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(Failure::Garbled("more bytes than were sent".to_owned())),
    }
}
