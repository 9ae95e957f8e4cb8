//! How do connections pass between nf_conntrack, which translates for kube-proxy, and our flow
//! table, while they go on? Looked at and decided first, so that what cannot pass is named before
//! anything is done; carried over afterwards.

mod carry;
mod give;
mod ipvs;
mod ours;
mod plan;
mod take;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::layout::{Flow, FlowKey};

use crate::netlink::conntrack::{Connection, Ends, NewConnection};

pub use carry::{Carried, Handover, HandoverError};
pub use plan::{Circumstances, Plan, give_all, take_all};

/// Why a connection stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Translated from an address and port that no Service has.
    UnknownFrontend,
    /// Its backend is none of the Service's any more.
    UnknownBackend,
    /// A socket of this node's began it.
    OfNode,
    /// Its source is replaced, and it ends at this node itself.
    MasqueradedToNode,
    /// SCTP.
    Sctp,
    /// Its sequence numbers change on the way.
    Sequence,
    /// A flow table of nftables forwards it.
    Offloaded,
    /// It is in a zone of its own.
    Zone,
    /// IPVS translates it, which takes no connection of others into its table, nor gives one away.
    Ipvs,
    /// Bridged packets that netfilter does not see.
    Bridged,
    /// Its handshake did not come to an end while it was waited for.
    Opening,
    /// The port by which its replies are known is somebody else's.
    PortTaken,
    /// There is no room for it.
    NoRoom,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownFrontend => "no Service that lb serves has the address and port it dialled",
            Self::UnknownBackend => "its backend is no endpoint of the Service any more",
            Self::OfNode => "a process of this node began it: its packets pass no program that could translate them",
            Self::MasqueradedToNode => "its source is replaced, and its backend is this node itself",
            Self::Sctp => "nf_conntrack knows SCTP by tags that lb does not keep",
            Self::Sequence => "a helper of nf_conntrack changes its sequence numbers",
            Self::Offloaded => "a flow table of nftables forwards it past all others",
            Self::Zone => "it is in a zone of nf_conntrack that is not the usual one",
            Self::Ipvs => "IPVS translates it: it goes on for as long as kube-proxy's rules are there",
            Self::Bridged => "its packets stay on a bridge where netfilter does not see them (bridge-nf-call-iptables is off)",
            Self::Opening => "its handshake has not come to an end",
            Self::PortTaken => "another connection has the port that its replies come to",
            Self::NoRoom => "the table is full that it would go to",
        })
    }
}

/// A connection as people know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Passenger {
    /// IP protocol number.
    pub protocol: u8,
    /// Who asks.
    pub client: SocketAddr,
    /// What it dialled.
    pub frontend: SocketAddr,
    /// Who answers.
    pub backend: SocketAddr,
    /// Whom the backend sees.
    pub seen_as: SocketAddr,
    /// Id of the service port, where it is one's.
    pub service_port: Option<u32>,
}

impl Passenger {
    fn of_connection(connection: &Connection, service_port: Option<u32>) -> Self {
        Self {
            protocol: connection.protocol,
            client: connection.original.source,
            frontend: connection.original.destination,
            backend: connection.reply.source,
            seen_as: connection.reply.destination,
            service_port,
        }
    }

    fn of_flow<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> Self {
        let dialled = ends_of_key(key);
        let carried = ends_of_flow(flow);
        Self {
            protocol: key.protocol,
            client: dialled.source,
            frontend: dialled.destination,
            backend: carried.destination,
            seen_as: carried.source,
            service_port: Some(flow.service_port),
        }
    }
}

/// A connection that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage<A> {
    /// The key of the client's packets.
    pub key: FlowKey<A>,
    /// What becomes of them by our programs.
    pub flow: Flow<A>,
    /// What becomes of the backend's.
    pub reply: Flow<A>,
    /// Which way it passes.
    pub way: Way,
}

impl<A: Family> Passage<A> {
    /// As people know it.
    #[must_use]
    pub fn passenger(&self) -> Passenger {
        Passenger::of_flow(&self.key, &self.flow)
    }
}

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From nf_conntrack to us.
    Take {
        /// What it knows the connection as.
        known: Connection,
    },
    /// From us to nf_conntrack.
    Give {
        /// What it is to know it as.
        new: NewConnection,
        /// What it may know it as by now: the packets that our programs have translated.
        seen: Option<Ends>,
    },
}

/// What is over, and is to be forgotten by whoever it is over for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// nf_conntrack: once nothing translates any more, a client's next connection on the same port,
    /// to the same backend, would be dropped for its sake.
    Theirs(Connection),
    /// We: replies of a connection that kube-proxy masquerades on the same port would be taken for
    /// this one's.
    Ours4(FlowKey<Ip4>, Flow<Ip4>),
    /// As `Ours4`.
    Ours6(FlowKey<Ip6>, Flow<Ip6>),
}

/// What becomes of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate<A> {
    /// None of this business: it is not translated, or over.
    Nothing,
    /// It is over, but later connections could be taken for it.
    Over,
    /// It can be told when its handshake is complete.
    Later,
    /// It passes.
    Passes(Box<Passage<A>>),
    /// It stays where it is.
    Stays(Why),
}

/// From where to where packets of this key go.
fn ends_of_key<A: Family>(key: &FlowKey<A>) -> Ends {
    Ends {
        source: SocketAddr::new(key.source.to_ip(), key.source_port),
        destination: SocketAddr::new(key.destination.to_ip(), key.destination_port),
    }
}

/// From where to where packets go that the flow has changed.
fn ends_of_flow<A: Family>(flow: &Flow<A>) -> Ends {
    Ends {
        source: SocketAddr::new(flow.source.to_ip(), flow.source_port),
        destination: SocketAddr::new(flow.destination.to_ip(), flow.destination_port),
    }
}
