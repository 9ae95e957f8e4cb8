//! How does a decision become a pair of flow entries, and one entry the other?

use crate::addr::Family;
use crate::layout::{FLOW_REPLY, Flow, FlowKey};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Ip4;

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
