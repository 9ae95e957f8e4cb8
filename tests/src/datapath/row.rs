//! What is a row? Services, packets one after the other, and all that must come of them.

use std::net::SocketAddr;

use super::fixture::Fixture;
use crate::packet::Packet;

/// Where a packet is given to the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Coming from the pod whose address ends so.
    FromPod(u8),
    /// Going to the pod whose address ends so.
    ToPod(u8),
    /// Coming from another node or from outside.
    FromUplink,
    /// The same at traffic control, whatever the row runs for: what XDP let pass, or what came by
    /// a link below already.
    BehindXdp,
    /// Going to another node or outside.
    ToUplink,
}

/// What must become of a packet.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It goes on as it is, to the last byte.
    Untouched,
    /// It goes on, changed to this.
    Becomes(Packet),
    /// It ends here.
    Dropped,
    /// This goes back to where the packet came from.
    Answered(Packet),
    /// This goes to the other node (`elsewhere`) or to the router.
    Sent(Packet, Toward),
}

/// Whom transit hands a packet to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// The other node.
    Elsewhere,
    /// The router.
    Router,
}

/// Both entries of a flow, as the client's packets meet them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowPair {
    /// Who dials.
    pub client: SocketAddr,
    /// What is dialled.
    pub frontend: SocketAddr,
    /// Whom the backend sees.
    pub source: SocketAddr,
    /// Who was chosen.
    pub backend: SocketAddr,
    /// `FLOW_*` bits, without the direction.
    pub flags: u16,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it says, as a sentence.
    pub name: String,
    /// The tables.
    pub fixture: Fixture,
    /// The packets, in order, and what becomes of each.
    pub steps: Vec<(At, Packet, Fate)>,
    /// The flows that are there afterwards, and no others.
    pub flows: Vec<FlowPair>,
    /// The drop reasons that were counted, each once for each time it is named, and no others.
    pub drops: Vec<&'static str>,
}
