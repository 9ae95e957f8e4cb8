//! What is somebody told whose packet goes no further? A reset, or an ICMP error.
//!
//! The answer is written over the packet and goes back out of the link that it came from. Who is
//! answered, and that errors are never answered by errors: RFC 1122, section 3.2.2, and RFC 4443,
//! section 2.4 (e).

use lb_common::{
    csum,
    decide::{SCTP, TCP},
    layout::Config,
    tcp,
    wire::{Be32, Ethernet, Ports, TcpHeader},
};

use crate::{
    globals,
    ip::pseudo,
    live,
    maps::{self, Answer, Maps},
    messages::{self, Messages},
    packet::{Aside, Packet, Verdict},
    parse::Headers,
    sctp, transit,
};

/// Answers the packet. A packet to a frontend that does not serve it is answered by the frontend, one
/// that goes no further in transit by the node, as any router would: by its address on the link that
/// the packet came by.
///
/// Over IPv4 what is too big hears so also if it may be fragmented, which nobody does here: its
/// sender will, once it knows.
#[inline(always)]
pub(crate) fn answer<A: Messages + Maps, P: Packet>(
    packet: &mut P,
    headers: &Headers<'_, A>,
    config: &Config,
    what: Aside,
) -> Verdict {
    let refused = what == Aside::Refuse;
    let kind = if refused {
        Answer::Refusal
    } else {
        Answer::RouterError
    };
    if !may_answer(packet, headers, config, kind) {
        return Verdict::End;
    }
    if refused && headers.flow.protocol == TCP {
        return back(reset(packet, headers));
    }
    if refused && headers.flow.protocol == SCTP {
        return back(sctp::abort(packet, headers));
    }
    let (message, rest) = match what {
        Aside::TimeExceeded => (A::TIME_EXCEEDED, 0),
        Aside::TooBig => (A::TOO_BIG, fitting::<A>()),
        _ => (A::PORT_UNREACHABLE, 0),
    };
    let source = if refused {
        headers.flow.destination
    } else {
        A::snat_address(config, maps::link(packet.link()))
    };
    if !source.is_one_machine() {
        // The node has no address of this family.
        return Verdict::End;
    }
    back(messages::error(packet, headers, message, rest, &source))
}

/// How much fits, from the look-up that found the packet too big.
#[inline(always)]
fn fitting<A: Messages + Maps>() -> u32 {
    match A::scratch().map(|scratch| transit::mtu(&scratch.route)) {
        None | Some(0) => A::LEAST_MTU,
        Some(mtu) => mtu,
    }
}

#[inline(always)]
fn back(answered: Option<()>) -> Verdict {
    match answered {
        Some(()) => Verdict::Back,
        None => Verdict::End,
    }
}

/// Whether the sender may be answered at all, and not more often than that.
#[inline(always)]
pub(crate) fn may_answer<A: Messages, P: Packet>(
    packet: &P,
    headers: &Headers<'_, A>,
    config: &Config,
    answer: Answer,
) -> bool {
    headers.flow.source.is_one_machine()
        && headers.flow.destination.is_one_machine()
        && is_for_one_machine(packet)
        && maps::may_answer(answer, live::now(), config.hz)
}

/// Whether the frame is addressed to one machine.
#[inline(always)]
fn is_for_one_machine<P: Packet>(packet: &P) -> bool {
    /// The bit of the first octet that says that a link-layer address is a group's.
    const GROUP: u8 = 1;
    globals::ETHERNET_HEADER.load() == 0
        || packet
            .load::<Ethernet>(0)
            .is_some_and(|header| header.destination[0] & GROUP == 0)
}

/// A reset as RFC 9293, section 3.10.7.1, asks of a closed port; a reset gets none.
#[inline(always)]
fn reset<A: Messages, P: Packet>(packet: &mut P, headers: &Headers<'_, A>) -> Option<()> {
    let old: TcpHeader = packet.load(headers.transport)?;
    if old.flags & tcp::RST != 0 {
        return None;
    }
    let header_length = usize::from(old.data_offset >> 4) * 4;
    let before_data = headers.transport - headers.ip + header_length;
    let data = headers.length.checked_sub(before_data)? as u32;
    let counted = u32::from(old.flags & tcp::SYN != 0) + u32::from(old.flags & tcp::FIN != 0);
    let end = (old.sequence.get())
        .wrapping_add(data)
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
    let flow = headers.flow;
    let length = size_of::<TcpHeader>() as u16;
    let words: [u32; 5] = bytemuck::must_cast(new);
    let sum = words.iter().fold(
        pseudo(&flow.source, &flow.destination, TCP, length),
        |sum, &word| sum + u64::from(word),
    );
    let new = TcpHeader {
        checksum: !csum::fold(sum),
        ..new
    };

    let transport = headers.ip + size_of::<A::Header>();
    packet.resize(transport + size_of::<TcpHeader>())?;
    packet.store(
        headers.ip,
        A::header(flow.destination, flow.source, TCP, length),
    )?;
    packet.store(transport, new)
}
