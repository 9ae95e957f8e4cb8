//! Which connections does nf_conntrack know, and how does it forget one or learn of one? ctnetlink,
//! in the network namespace of this thread; needs `CAP_NET_ADMIN`.

mod message;

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage};
use netlink_sys::protocols::NETLINK_NETFILTER;

use self::message::{Heard, ID, attributes_of, family, message, tuple};
use super::Conversation;

pub use netlink_packet_netfilter::conntrack::Status;

/// From where to where packets go, as they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// Who sends.
    pub source: SocketAddr,
    /// Who receives.
    pub destination: SocketAddr,
}

impl Ends {
    /// The opposite direction, nothing being translated.
    #[must_use]
    pub const fn turned(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }
}

/// How far nf_conntrack believes a TCP connection to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TcpState {
    /// Before the end of the handshake.
    Opening,
    /// Open on both sides.
    Established,
    /// One side has ended it.
    HalfClosed,
    /// Both sides have, or one has reset it.
    Ended,
}

/// A connection that nf_conntrack follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// IP protocol number.
    pub protocol: u8,
    /// What the client sends, before anything is translated.
    pub original: Ends,
    /// What is sent back, before anything is translated.
    pub reply: Ends,
    /// What is known of it.
    pub status: Status,
    /// How far it is; none if it is not TCP.
    pub tcp: Option<TcpState>,
    /// The packet mark that rules left on it.
    pub mark: u32,
    /// Its zone.
    pub zone: u16,
    /// Its number, which tells it from a later one on the same ports.
    pub id: u32,
}

/// A connection that nf_conntrack is to follow; where `reply` is not `original` turned, it
/// translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewConnection {
    /// IP protocol number.
    pub protocol: u8,
    /// As in [`Connection`].
    pub original: Ends,
    /// As in [`Connection`].
    pub reply: Ends,
    /// Packets came both ways; else the next one from the client is its first.
    pub answered: bool,
    /// It is TCP, and one side has ended it.
    pub half_closed: bool,
    /// As in [`Connection`].
    pub mark: u32,
    /// Seconds without a packet after which it is forgotten; the first packet sets the usual time.
    pub timeout: u32,
}

/// A connection for questions and orders about connections.
#[derive(Debug)]
pub struct Conntrack(Conversation);

impl Conntrack {
    /// Connects to the kernel, in the network namespace of this thread.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect() -> io::Result<Self> {
        Conversation::connect(NETLINK_NETFILTER).map(Self)
    }

    /// All connections of TCP, UDP and SCTP.
    ///
    /// # Errors
    /// What the kernel said; one without nf_conntrack says so.
    pub fn connections(&mut self) -> io::Result<Vec<Connection>> {
        let question = message(
            NetfilterProtoFamily::Unspec,
            ConntrackMessage::Get(Vec::new()),
        );
        let (heard, _) = self.0.ask::<_, Heard>(question, NLM_F_DUMP)?;
        Ok(heard.into_iter().filter_map(|Heard(it)| it).collect())
    }

    /// What is known of this very connection by now; none if it is gone.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn now(&mut self, connection: &Connection) -> io::Result<Option<Connection>> {
        let ends = connection.original;
        let attributes = vec![ConntrackAttribute::CtaTupleOrig(tuple(
            connection.protocol,
            &ends,
        ))];
        let question = message(family(ends), ConntrackMessage::Get(attributes));
        match self.0.ask::<_, Heard>(question, NLM_F_ACK) {
            Ok((heard, _)) => {
                let mut heard = heard.into_iter().filter_map(|Heard(it)| it);
                Ok(heard.find(|it| it.id == connection.id))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets this very connection; whether it was still there.
    ///
    /// # Errors
    /// What the kernel said: `ResourceBusy` if a flow table of nftables has it.
    pub fn delete(&mut self, connection: &Connection) -> io::Result<bool> {
        let id = connection.id.to_be_bytes().to_vec();
        let attributes = vec![
            ConntrackAttribute::CtaTupleOrig(tuple(connection.protocol, &connection.original)),
            ConntrackAttribute::Other(DefaultNla::new(ID, id)),
        ];
        self.order_to_delete(connection.original, attributes)
    }

    /// Forgets the connection that a packet with these ends would be of, in either direction;
    /// whether there was one.
    ///
    /// # Errors
    /// As [`Conntrack::delete`].
    pub fn delete_at(&mut self, protocol: u8, ends: Ends) -> io::Result<bool> {
        let attributes = vec![ConntrackAttribute::CtaTupleOrig(tuple(protocol, &ends))];
        self.order_to_delete(ends, attributes)
    }

    fn order_to_delete(
        &mut self,
        ends: Ends,
        attributes: Vec<ConntrackAttribute>,
    ) -> io::Result<bool> {
        let order = message(family(ends), ConntrackMessage::Delete(attributes));
        match self.0.ask::<_, Heard>(order, NLM_F_ACK) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has nf_conntrack follow a connection as if it had seen it from its beginning.
    ///
    /// # Errors
    /// What the kernel said: `AlreadyExists` if one of either direction's ends is there.
    pub fn create(&mut self, new: &NewConnection) -> io::Result<()> {
        let order = message(
            family(new.original),
            ConntrackMessage::New(attributes_of(new)),
        );
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.0.ask::<_, Heard>(order, flags).map(drop)
    }
}
