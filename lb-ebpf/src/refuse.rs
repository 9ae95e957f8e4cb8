//! What does a client get whose packet is refused? A reset, or an ICMP error, from the frontend.
//!
//! The answer is written over the packet and goes back out of the link that it came from.

use lb_common::{
    csum,
    decide::{SCTP, TCP},
    drops::DropReason,
    tcp,
    wire::{Be32, IcmpHeader, Ports, TcpHeader},
};

use crate::{
    live, maps,
    packet::{Packet, Verdict},
    parse::{Headers, Wire, pseudo},
    sctp,
};

/// Bytes of the refused packet's transport header that an ICMP error quotes (RFC 792); with the
/// ports among them the client finds its socket.
const QUOTED: usize = 8;

/// Answers the packet, at a bounded rate; what cannot be answered is dropped.
#[inline(always)]
pub(crate) fn refuse<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    hz: u32,
    reason: DropReason,
) -> Verdict {
    if !maps::may_refuse(live::now(), hz) {
        return Verdict::Drop(reason);
    }
    let answered = if headers.flow.protocol == TCP {
        reset(packet, headers)
    } else if headers.flow.protocol == SCTP {
        sctp::abort(packet, headers)
    } else {
        port_unreachable(packet, headers)
    };
    match answered {
        Some(()) => {
            maps::count(P::HOOK, reason);
            Verdict::Back
        }
        None => Verdict::Drop(reason),
    }
}

/// A reset as RFC 9293, section 3.10.7.1, asks of a closed port; a reset gets none.
#[inline(always)]
fn reset<A: Wire, P: Packet>(packet: &mut P, headers: &Headers<A>) -> Option<()> {
    let old: TcpHeader = packet.load(headers.transport)?;
    if old.flags & tcp::RST != 0 {
        return None;
    }
    let header_length = u32::from(old.data_offset >> 4) * 4;
    let before_data = (headers.transport - headers.ip) as u32 + header_length;
    let counted = u32::from(old.flags & tcp::SYN != 0) + u32::from(old.flags & tcp::FIN != 0);
    let end = (old.sequence.get())
        .wrapping_add(headers.length.wrapping_sub(before_data))
        .wrapping_add(counted);
    let (sequence, acknowledgment, flags) = if old.flags & tcp::ACK != 0 {
        (old.acknowledgment, Be32::new(0), tcp::RST)
    } else {
        (Be32::new(0), Be32::new(end), tcp::RST | tcp::ACK)
    };
    let new = TcpHeader {
        ports: Ports {
            source: old.ports.destination,
            destination: old.ports.source,
        },
        sequence,
        acknowledgment,
        data_offset: 5 << 4,
        flags,
        ..TcpHeader::default()
    };
    let length = size_of::<TcpHeader>() as u16;
    let words: [u32; 5] = bytemuck::must_cast(new);
    let sum = words.iter().fold(
        pseudo(&headers.flow.source, &headers.flow.destination, TCP, length),
        |sum, &word| sum + u64::from(word),
    );
    let new = TcpHeader {
        checksum: !csum::fold(sum),
        ..new
    };

    packet.resize(headers.ip + size_of::<A::Header>() + size_of::<TcpHeader>())?;
    write_header(packet, headers, TCP, length)?;
    packet.store(headers.ip + size_of::<A::Header>(), new)
}

/// An ICMP error that quotes the packet.
#[inline(always)]
fn port_unreachable<A: Wire, P: Packet>(packet: &mut P, headers: &Headers<A>) -> Option<()> {
    let header = size_of::<A::Header>();
    let quoted = header + QUOTED;
    if headers.transport - headers.ip != header {
        // Options or extensions: quoting them takes a length that varies, and hardly anybody
        // sends them.
        return None;
    }
    let payload = (size_of::<IcmpHeader>() + quoted) as u16;
    let quote = headers.ip + header + size_of::<IcmpHeader>();
    packet.resize(quote + quoted)?;
    let [kind, code] = A::PORT_UNREACHABLE;
    let first_word = u32::from_ne_bytes([kind, code, 0, 0]);
    let mut sum = u64::from(first_word)
        + A::icmp_pseudo(&headers.flow.source, &headers.flow.destination, payload);
    let mut i = 0;
    while i < quoted {
        let word: u32 = packet.load(headers.ip + i)?;
        packet.store(quote + i, word)?;
        sum += u64::from(word);
        i += 4;
    }
    write_header(packet, headers, A::ICMP, payload)?;
    let icmp = IcmpHeader {
        kind,
        code,
        checksum: !csum::fold(sum),
        rest: Be32::default(),
    };
    packet.store(headers.ip + header, icmp)
}

/// Our own IP header, from the frontend to the client.
#[inline(always)]
fn write_header<A: Wire, P: Packet>(
    packet: &mut P,
    headers: &Headers<A>,
    protocol: u8,
    payload: u16,
) -> Option<()> {
    let flow = &headers.flow;
    packet.store(
        headers.ip,
        A::header(flow.destination, flow.source, protocol, payload),
    )
}
