//! Who talks in the topologies? Servers that say who they are, and clients that say what happened.
//!
//! Clients never retry: one failure is one failure. Everything has a time-out and an end.

mod bulk;
mod dial;
mod echo;
mod iperf;
mod load;
mod ping;
mod server;
mod stream;
mod trace;

pub use bulk::transfer;
pub use dial::{Answer, Dial, Failure, Transport};
pub use echo::echo_datagram;
pub use iperf::{IPERF, IperfServer, Toward, iperf};
pub use load::{Load, LoadReport};
pub use ping::ping;
pub use server::{Server, has_sctp};
pub use stream::{Stream, StreamReport};
pub use trace::{Hop, hop};

/// What a client asks a server: its name.
pub(crate) const HOST_NAME: &str = "/host_name";
/// What a client asks a server: to send back all that follows.
const ECHO: &str = "/echo";
