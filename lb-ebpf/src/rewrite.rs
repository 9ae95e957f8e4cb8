//! How does a packet get its flow's addresses and ports, every checksum right?

use lb_common::{
    addr::Family,
    csum,
    decide::{SCTP, TCP, UDP},
    layout::Flow,
    wire::{Be16, Ports, TcpHeader, UdpHeader},
};

use crate::{
    fragments::Part,
    packet::{ChecksumChange, Packet},
    parse::{Headers, Wire},
    sctp,
};

/// Writes the flow's addresses and ports into the packet; none if the kernel refused.
#[inline(always)]
#[must_use]
pub(crate) fn rewrite<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    flow: &Flow<A>,
) -> Option<()> {
    let old = &headers.flow;
    let addresses =
        difference(&old.source, &flow.source) + difference(&old.destination, &flow.destination);
    let place = headers.ip + A::ADDRESSES;
    packet.store(place, flow.source)?;
    packet.store(place + size_of::<A>(), flow.destination)?;
    A::change_header_checksum(packet, headers.ip, addresses)?;
    if headers.part == Part::LATER {
        // No ports here; the transport checksum, which covers the addresses, is in the first.
        return Some(());
    }

    let ports = Ports {
        source: Be16::new(flow.source_port),
        destination: Be16::new(flow.destination_port),
    };
    packet.store(headers.transport, ports)?;
    let port_change = csum::difference(
        word(Be16::new(old.source_port), Be16::new(old.destination_port)),
        word(ports.source, ports.destination),
    );
    let same_ports =
        old.source_port == flow.source_port && old.destination_port == flow.destination_port;
    match checksum_offset(old.protocol) {
        Some(offset) => packet.change_checksum(&ChecksumChange {
            offset: headers.transport + offset,
            addresses,
            ports: if same_ports { 0 } else { port_change },
            udp: old.protocol == UDP,
            ipv6: A::WORDS > 1,
        }),
        None if old.protocol == SCTP && !same_ports => sctp::reseal(packet, headers, flow),
        None => Some(()),
    }
}

/// Where the transport checksum is, from the transport header's start; none = there is none.
#[inline(always)]
pub(crate) const fn checksum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(core::mem::offset_of!(TcpHeader, checksum)),
        UDP => Some(core::mem::offset_of!(UdpHeader, checksum)),
        _ => None,
    }
}

/// Both ports as one word of the packet.
#[inline(always)]
pub(crate) fn word(source: Be16, destination: Be16) -> u32 {
    bytemuck::cast(Ports {
        source,
        destination,
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
