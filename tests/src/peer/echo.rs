//! Does a datagram come back as it was sent? One, of any size.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Type};

use super::{ECHO, Failure};
use crate::random::Random;
use crate::topology::Place;

/// Sends a datagram of so many bytes and compares what comes back within `patience`.
///
/// # Errors
/// Nothing comes back, or something else, or from somebody else.
///
/// # Panics
/// If `bytes` is too short for the question.
pub fn echo_datagram(
    place: &Place,
    to: SocketAddr,
    bytes: usize,
    seed: u64,
    patience: Duration,
) -> Result<(), Failure> {
    let socket = place
        .socket(Domain::for_address(to), Type::DGRAM, None)
        .map_err(|error| Failure::Other(format!("{error:#}")))?;
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(patience))?;
    let mut question = Random::new(seed).bytes(bytes);
    question[..ECHO.len()].copy_from_slice(ECHO.as_bytes());
    socket.send_to(&question, to)?;
    let mut answer = vec![0; bytes + 1];
    let (length, from) = socket.recv_from(&mut answer)?;
    if from != to {
        return Err(Failure::Stranger(from));
    }
    if answer[..length] != question {
        return Err(Failure::Garbled(format!(
            "{length} bytes, other than the {bytes} sent"
        )));
    }
    Ok(())
}
