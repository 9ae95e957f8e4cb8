//! What of SCTP is unlike TCP and UDP? Its checksum, which covers the payload and no addresses, and
//! its refusal.

use lb_common::{
    layout::Flow,
    sctp::{self, Abort, SctpHeader},
    wire::{Be16, Ports},
};

use crate::{ip::Wire, packet::Packet, parse::Headers};

/// Where the checksum is, from the header's start.
const CHECKSUM: usize = core::mem::offset_of!(SctpHeader, checksum);

/// Adjusts the checksum of a packet that has the flow's ports already. One of zero stays: the device
/// (or whoever takes GSO packets apart) fills it in.
#[inline(always)]
#[must_use]
pub(crate) fn reseal<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    flow: &Flow<A>,
) -> Option<()> {
    let before = headers.transport - headers.ip;
    let length = headers.length.wrapping_sub(before) as u32;
    let place = headers.transport + CHECKSUM;
    let checksum = u32::from_le_bytes(packet.load(place)?);
    let old = word(headers.flow.source_port, headers.flow.destination_port);
    let new = word(flow.source_port, flow.destination_port);
    packet.store(place, update(checksum, old ^ new, length).to_le_bytes())
}

/// A function of its own: once in each program.
#[inline(never)]
fn update(checksum: u32, changed_ports: u32, length: u32) -> u32 {
    sctp::update(checksum, changed_ports, 0, length as u16)
}

/// Both ports as they lie in memory, least significant byte first.
#[inline(always)]
fn word(source: u16, destination: u16) -> u32 {
    u32::from_le_bytes(bytemuck::must_cast(Ports {
        source: Be16::new(source),
        destination: Be16::new(destination),
    }))
}

/// An ABORT (RFC 9260, section 8.4), as Linux' own stack answers an association with nobody. An ICMP
/// error, as kube-proxy's rules would send, is no more than a hint to an SCTP client, which goes on
/// asking until its time-out.
#[inline(always)]
pub(crate) fn abort<A: Wire, P: Packet>(packet: &mut P, headers: &Headers<'_, A>) -> Option<()> {
    /// May come from another address of a client whose association lives: an ABORT would end it.
    const HEARTBEAT: u8 = 4;
    const HEARTBEAT_ACK: u8 = 5;
    /// Get no answer (section 8.4, rule 7).
    const ERROR: u8 = 9;
    const COOKIE_ACK: u8 = 11;
    let old: SctpHeader = packet.load(headers.transport)?;
    let (tag, reflected) = match packet.load(headers.transport + sctp::FIRST_CHUNK)? {
        sctp::ABORT | sctp::SHUTDOWN_COMPLETE | ERROR | COOKIE_ACK | HEARTBEAT | HEARTBEAT_ACK => {
            return None;
        }
        sctp::INIT => (packet.load(headers.transport + sctp::INITIATE_TAG)?, false),
        _ => (old.tag, true),
    };
    let ports = Ports {
        source: old.ports.destination,
        destination: old.ports.source,
    };
    let answer = Abort::new(ports, tag, reflected);
    let transport = headers.ip + size_of::<A::Header>();
    packet.resize(transport + size_of::<Abort>())?;
    let flow = headers.flow;
    packet.store(
        headers.ip,
        A::header(
            flow.destination,
            flow.source,
            flow.protocol,
            size_of::<Abort>() as u16,
        ),
    )?;
    packet.store(transport, answer)
}
