//! How does a packet get its flow's addresses and ports, every checksum right?

use lb_common::{
    addr::Family,
    csum,
    decide::{SCTP, UDP},
    layout::Flow,
    wire::{Be16, Ports},
};

use crate::{
    fragments::Part,
    ip::Wire,
    packet::{Packet, TransportChange},
    parse::Headers,
    sctp,
};

/// Writes the flow's addresses and ports into the packet and counts its time to live down by so many
/// hops; none if the kernel refused.
#[inline(always)]
#[must_use]
pub(crate) fn rewrite<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    flow: &Flow<A>,
    hops: u8,
) -> Option<()> {
    let old = headers.flow;
    let addresses =
        difference(&old.source, &flow.source) + difference(&old.destination, &flow.destination);
    let new = [&flow.source, &flow.destination];
    A::readdress(packet, headers.ip, new, addresses, hops)?;
    if headers.part == Part::LATER {
        // No ports here; the transport checksum, which covers the addresses, is in the first.
        return Some(());
    }

    let ports = Ports {
        source: Be16::new(flow.source_port),
        destination: Be16::new(flow.destination_port),
    };
    let (before, after) = (old.ports(), flow.ports());
    if old.protocol == SCTP {
        packet.store(headers.transport, ports)?;
        if before == after {
            return Some(());
        }
        return sctp::reseal(packet, headers, flow);
    }
    // All flows that are left are TCP's or UDP's.
    packet.change_transport(&TransportChange {
        header: headers.transport,
        ports,
        through_ports: if before == after {
            0
        } else {
            csum::difference(before, after)
        },
        through_addresses: addresses,
        udp: old.protocol == UDP,
        ipv6: A::WORDS > 1,
    })
}

/// What a sum over the address must add; zero if it stays.
#[inline(always)]
pub(crate) fn difference<A: Family>(old: &A, new: &A) -> u64 {
    let mut sum = 0;
    let mut i = 0;
    while i < A::WORDS {
        if old.word(i) != new.word(i) {
            sum += csum::difference(old.word(i), new.word(i));
        }
        i += 1;
    }
    sum
}
