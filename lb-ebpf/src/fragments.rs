//! Whose is a fragment? A datagram's first says the ports; the others follow it.

use lb_common::{
    decide::SCTP,
    drops::DropReason,
    layout::{FlowKey, FragmentInfo, FragmentKey},
    limits,
};

use crate::{
    live::now,
    maps::{self, Maps},
    parse::Headers,
};

/// Which part of a datagram a packet is. A number, as the verifier forgets numbers only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part(pub(crate) u8);

impl Part {
    /// All of it.
    pub(crate) const WHOLE: Self = Self(0);
    /// The first fragment, with the transport header.
    pub(crate) const FIRST: Self = Self(1);
    /// Another fragment.
    pub(crate) const LATER: Self = Self(2);
}

/// Completes a later fragment's addresses by ports and protocol; none if its first has not come, or
/// came long ago.
#[inline(always)]
pub(crate) fn recall<A: Maps>(flow: &mut FlowKey<A>, id: u32) -> Option<()> {
    let scratch = A::scratch()?;
    scratch.fragment_key = key(flow, id);
    let first = A::fragments().get_ptr(&scratch.fragment_key)?;
    // SAFETY: plain bytes; of an element that is recycled meanwhile, the words are another
    // datagram's at worst, which is none of a flow with these addresses.
    let first = unsafe { *first };
    let age = now().wrapping_sub(first.since);
    if age > maps::config()?.hz.wrapping_mul(limits::FRAGMENT_SECONDS) {
        return None;
    }
    flow.source_port = first.source_port;
    flow.destination_port = first.destination_port;
    flow.protocol = first.protocol;
    Some(())
}

/// Whether a flow may begin with this packet, if it is one of ours.
#[inline(always)]
pub(crate) fn may_begin<A>(headers: &Headers<'_, A>) -> bool {
    // A later one: what it belonged to is gone since its first fragment came.
    headers.part == Part::WHOLE || (headers.part == Part::FIRST && headers.flow.protocol != SCTP)
}

/// Why a fragment goes no further that nothing may begin with, or that cannot be translated.
#[inline(always)]
pub(crate) fn why<A>(headers: &Headers<'_, A>) -> DropReason {
    if headers.flow.protocol == SCTP {
        DropReason::SctpFragment
    } else {
        DropReason::EarlyFragment
    }
}

/// Takes note of a first fragment of ours, for the others; nothing to do for whole packets.
///
/// # Errors
/// It is SCTP, whose checksum over the whole datagram cannot follow a change of ports here.
#[inline(always)]
pub(crate) fn remember<A: Maps>(headers: &Headers<'_, A>) -> Result<(), DropReason> {
    if headers.part == Part::WHOLE {
        return Ok(());
    }
    let flow = headers.flow;
    if flow.protocol == SCTP {
        return Err(why(headers));
    }
    if headers.part == Part::FIRST
        && let Some(scratch) = A::scratch()
    {
        scratch.fragment_key = key(flow, headers.id);
        scratch.fragment = FragmentInfo {
            source_port: flow.source_port,
            destination_port: flow.destination_port,
            since: now(),
            protocol: flow.protocol,
            reserved: [0; 3],
        };
        // The map refuses only when memory is short; the others are then dropped as early ones.
        let _later = A::fragments().insert(&scratch.fragment_key, &scratch.fragment, 0);
    }
    Ok(())
}

#[inline(always)]
fn key<A: Maps>(flow: &FlowKey<A>, id: u32) -> FragmentKey<A> {
    FragmentKey {
        source: flow.source,
        destination: flow.destination,
        id,
        protocol: if A::WORDS == 1 { flow.protocol } else { 0 },
        reserved: [0; 3],
    }
}
