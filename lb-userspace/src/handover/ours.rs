//! What belongs to a flow besides its two entries? The port that its replies come to.

use lb_common::layout::{FLOW_HAIRPIN, FLOW_RENUMBERED, FLOW_SNAT, Flow, FlowKey, Reservation};

use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::{FamilyMaps, KernelFamily};

/// Takes the port that the flow's replies come to, where it is not the client's own.
pub(super) fn take_port<A: KernelFamily>(
    maps: &FamilyMaps<A>,
    key: &FlowKey<A>,
    flow: &Flow<A>,
    reply_key: &FlowKey<A>,
) -> Result<bool, DataplaneError> {
    if !has_port(flow) {
        return Ok(maps.flow(reply_key)?.is_none());
    }
    let holder = Reservation {
        client: key.source,
        frontend: key.destination,
        client_port: key.source_port,
        frontend_port: key.destination_port,
    };
    maps.reserve(reply_key, &holder)
}

/// Takes both directions out of the table, and gives the port back.
pub(super) fn remove<A: KernelFamily>(
    maps: &FamilyMaps<A>,
    key: &FlowKey<A>,
    flow: &Flow<A>,
    reply_key: &FlowKey<A>,
) -> Result<(), DataplaneError> {
    maps.delete_flow(reply_key)?;
    maps.delete_flow(key)?;
    if has_port(flow) {
        maps.delete_reservation(reply_key)?;
    }
    Ok(())
}

const fn has_port<A>(flow: &Flow<A>) -> bool {
    flow.flags & (FLOW_SNAT | FLOW_HAIRPIN | FLOW_RENUMBERED) != 0
}
