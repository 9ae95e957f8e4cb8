//! How does one entry of a flow become the other, and how far has the connection come that both
//! tell of?

use crate::addr::Family;
use crate::decide::has_connections;
use crate::layout::{FLOW_REPLY, Flow, FlowKey};
use crate::tcp;

/// The key of the opposite direction: its packets arrive as this direction's leave.
#[inline(always)]
#[must_use]
pub fn mirror_key<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> FlowKey<A> {
    FlowKey {
        source: flow.destination,
        destination: flow.source,
        source_port: flow.destination_port,
        destination_port: flow.source_port,
        protocol: key.protocol,
        reserved: [0; 3],
    }
}

/// The value of the opposite direction: its packets leave as this direction's arrive. Counters and
/// state start anew.
#[inline(always)]
#[must_use]
pub fn mirror<A: Family>(key: &FlowKey<A>, flow: &Flow<A>) -> Flow<A> {
    Flow {
        source: key.destination,
        destination: key.source,
        source_port: key.destination_port,
        destination_port: key.source_port,
        flags: flow.flags ^ FLOW_REPLY,
        state: 0,
        packets: 0,
        bytes: 0,
        ..*flow
    }
}

/// A flow that was seen over so many seconds is no single question and answer (`nf_conntrack`).
pub const ASSURED_AFTER_SECONDS: u32 = 2;

/// How far a connection has come. What is said of TCP holds for SCTP, whose chunks are noted as the
/// like flags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// TCP, before the client's first ACK of what the backend said.
    Opening,
    /// TCP, handshake complete.
    Established,
    /// TCP, after a FIN from one side: the other may go on.
    HalfClosed,
    /// TCP, after a FIN from both sides: they may repeat their last packets.
    Ended,
    /// TCP, after a reset.
    Reset,
    /// UDP, seen in one direction, or a single question and answer.
    Udp,
    /// UDP, seen in both directions and for a while.
    UdpAssured,
}

/// The stage of the connection that these two entries are of; `hz` is the number of jiffies in a
/// second.
#[inline(always)]
#[must_use]
pub fn stage<A>(protocol: u8, one: &Flow<A>, other: &Flow<A>, hz: u32) -> Stage {
    let (forward, reply) = if one.flags & FLOW_REPLY == 0 {
        (one.state, other.state)
    } else {
        (other.state, one.state)
    };
    if has_connections(protocol) {
        if (forward | reply) & tcp::RST != 0 {
            Stage::Reset
        } else if wants_only(forward) {
            // Whatever the backend seems to have said: it has nobody to say it to.
            Stage::Opening
        } else if forward & reply & tcp::FIN != 0 {
            Stage::Ended
        } else if (forward | reply) & tcp::FIN != 0 {
            Stage::HalfClosed
        } else if forward & tcp::ACK != 0 && reply != 0 {
            Stage::Established
        } else {
            Stage::Opening
        }
    } else if forward != 0 && reply != 0 && is_lasting(one, other, hz) {
        Stage::UdpAssured
    } else {
        Stage::Udp
    }
}

/// Whether the connection that these two entries are of keeps its place when the table is full: TCP
/// from the end of the handshake to the end, anything else that was seen for a while, be it in one
/// direction only.
#[inline(always)]
#[must_use]
pub fn is_kept<A>(protocol: u8, one: &Flow<A>, other: &Flow<A>, hz: u32) -> bool {
    match stage(protocol, one, other, hz) {
        Stage::Established | Stage::HalfClosed => true,
        Stage::Opening | Stage::Ended | Stage::Reset => false,
        Stage::Udp | Stage::UdpAssured => is_lasting(one, other, hz),
    }
}

/// Whether the entry alone says that its connection is not kept ([`is_kept`]): the client has said
/// nothing but that it wants one. That is what a flood leaves.
#[inline(always)]
#[must_use]
pub const fn only_begins<A>(protocol: u8, flow: &Flow<A>) -> bool {
    has_connections(protocol) && flow.flags & FLOW_REPLY == 0 && wants_only(flow.state)
}

/// Whether a client whose packets showed this has not gone beyond its SYN.
#[inline(always)]
const fn wants_only(forward: u8) -> bool {
    forward & (tcp::SYN | tcp::ACK | tcp::FIN | tcp::RST) == tcp::SYN
}

/// Whether either direction was seen later than just at the beginning.
#[inline(always)]
fn is_lasting<A>(one: &Flow<A>, other: &Flow<A>, hz: u32) -> bool {
    let after = ASSURED_AFTER_SECONDS * hz;
    one.last_seen.wrapping_sub(one.created) >= after
        || other.last_seen.wrapping_sub(other.created) >= after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Ip4;
    use crate::decide::{SCTP, TCP, UDP};

    const HZ: u32 = 250;

    /// A flow whose directions showed this, the reply last seen so long after the beginning.
    fn pair(forward: u8, reply: u8, later: u32) -> [Flow<Ip4>; 2] {
        let created = u32::MAX - 3;
        let one = Flow {
            state: forward,
            created,
            last_seen: created,
            ..Flow::default()
        };
        let other = Flow {
            state: reply,
            flags: FLOW_REPLY,
            last_seen: created.wrapping_add(later),
            ..one
        };
        [one, other]
    }

    #[test]
    fn the_stage_is_read_from_both_directions() {
        use crate::tcp::{ACK, FIN, RST, SEEN, SYN};
        for (protocol, forward, reply, later, expected, kept) in [
            (TCP, SEEN | SYN, 0, 0, Stage::Opening, false),
            (TCP, SEEN | SYN, SEEN | SYN | ACK, 0, Stage::Opening, false),
            (TCP, SEEN | SYN, SEEN | FIN, 0, Stage::Opening, false),
            (TCP, SEEN | ACK, 0, 0, Stage::Opening, false),
            (TCP, SEEN | ACK, SEEN | ACK, 0, Stage::Established, true),
            (
                TCP,
                SEEN | ACK | FIN,
                SEEN | ACK,
                0,
                Stage::HalfClosed,
                true,
            ),
            (
                TCP,
                SEEN | ACK,
                SEEN | ACK | FIN,
                0,
                Stage::HalfClosed,
                true,
            ),
            (TCP, SEEN | FIN, SEEN | FIN, 0, Stage::Ended, false),
            (TCP, SEEN | ACK, SEEN | RST, 0, Stage::Reset, false),
            (TCP, SEEN | SYN, SEEN | RST, 9 * HZ, Stage::Reset, false),
            (UDP, SEEN, 0, 0, Stage::Udp, false),
            (UDP, SEEN, SEEN, 0, Stage::Udp, false),
            (UDP, SEEN, SEEN, 2 * HZ, Stage::UdpAssured, true),
            (UDP, SEEN, 0, 2 * HZ, Stage::Udp, true),
            (SCTP, SEEN | SYN, SEEN | SYN | ACK, 0, Stage::Opening, false),
            (SCTP, SEEN | ACK, SEEN | ACK, 0, Stage::Established, true),
        ] {
            let [one, other] = pair(forward, reply, later);
            let case = std::format!("{protocol} {forward:#x} {reply:#x} {later}");
            assert_eq!(stage(protocol, &one, &other, HZ), expected, "{case}");
            assert_eq!(
                stage(protocol, &other, &one, HZ),
                expected,
                "{case}, turned"
            );
            assert_eq!(is_kept(protocol, &one, &other, HZ), kept, "{case}");
            for entry in [&one, &other] {
                assert!(!(kept && only_begins(protocol, entry)), "{case}");
            }
        }
    }

    #[test]
    fn the_mirror_of_the_mirror_is_the_flow() {
        let key = FlowKey {
            source: Ip4::new(10, 42, 0, 9),
            destination: Ip4::new(10, 43, 165, 39),
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            reserved: [0; 3],
        };
        let flow = Flow {
            source: key.source,
            destination: Ip4::new(10, 42, 0, 10),
            source_port: key.source_port,
            destination_port: 8_080,
            service_port: 3,
            ..Flow::default()
        };
        let (reply, back) = (mirror_key(&key, &flow), mirror(&key, &flow));
        assert_eq!(
            (reply.source, reply.source_port),
            (Ip4::new(10, 42, 0, 10), 8_080)
        );
        assert_eq!((back.source, back.source_port), (key.destination, 80));
        assert_eq!(
            (mirror_key(&reply, &back), mirror(&reply, &back)),
            (key, flow)
        );
    }
}
