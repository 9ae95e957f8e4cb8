//! How do we ask the kernel about its links, addresses, routes, traffic control and sockets, and hear
//! of their changes? rtnetlink(7), sock_diag(7) and ctnetlink, without a thread or a runtime for questions.

pub mod chains;
pub mod conntrack;
pub mod facts;
pub mod filters;
mod monitor;
pub mod sockets;

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

pub use facts::{Effect, Facts};
pub use monitor::{Monitor, News};
pub use sockets::Sockets;

/// A connection for questions and orders about links and what is on them.
#[derive(Debug)]
pub struct Netlink(Conversation);

/// A connection to one part of the kernel.
#[derive(Debug)]
struct Conversation {
    socket: Socket,
    sequence: u32,
}

/// Flags of an order that makes something new, and fails if it is there.
pub(crate) const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// Flags of an order that makes something, or replaces it.
pub(crate) const SET: u16 = NLM_F_CREATE;

/// A dump that changes under us is asked for so often before what is there is taken.
const DUMP_TRIES: u32 = 5;

impl Netlink {
    /// Connects to the kernel, in the network namespace of this thread.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect() -> io::Result<Self> {
        Conversation::connect(NETLINK_ROUTE).map(Self)
    }

    /// Everything that matches the question.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn dump(
        &mut self,
        question: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (answers, interrupted) = self.0.ask(question.clone(), NLM_F_DUMP)?;
            if !interrupted || tries == DUMP_TRIES {
                return Ok(answers);
            }
        }
    }

    /// Gives an order and waits until it is carried out.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn order(&mut self, order: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let answers = self
            .0
            .ask::<_, RouteNetlinkMessage>(order, NLM_F_ACK | flags);
        answers.map(drop)
    }
}

impl Conversation {
    /// Connects to the part of the kernel that this protocol is of, in the network namespace of this
    /// thread.
    fn connect(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends one message and collects the answers up to the last; whether the kernel says that they
    /// do not fit together comes with them.
    fn ask<Q, A>(&mut self, question: Q, flags: u16) -> io::Result<(Vec<A>, bool)>
    where
        Q: NetlinkSerializable + Into<NetlinkPayload<Q>>,
        A: NetlinkDeserializable,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, question.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages::<A>(&datagram) {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                    // Either ends the answers, well or with an error number below zero.
                    NetlinkPayload::Done(done) if done.code != 0 => {
                        return Err(io::Error::from_raw_os_error(done.code.abs()));
                    }
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => {
                        return Ok((answers, interrupted));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The messages in a datagram; one that cannot be decoded (a newer kernel's) is left out.
fn messages<A: NetlinkDeserializable>(datagram: &[u8]) -> impl Iterator<Item = NetlinkMessage<A>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        loop {
            let length = NetlinkBuffer::new_checked(rest).ok()?.length() as usize;
            let (message, after) = rest.split_at_checked(length)?;
            // Messages begin at multiples of four.
            rest = rest
                .get(length.next_multiple_of(4)..)
                .unwrap_or(&after[after.len()..]);
            match NetlinkMessage::deserialize(message) {
                Ok(message) => return Some(message),
                Err(error) => tracing::debug!(%error, "message of the kernel left out"),
            }
        }
    })
}
