//! Which backend did a client get? Noted where the Service asks for affinity.

use lb_common::{
    decide::Forward,
    layout::{Affinity, AffinityKey},
};

use crate::maps::Maps;

/// Notes the client's backend; `now` in jiffies, low 32 bits.
#[inline(always)]
pub(crate) fn remember<A: Maps>(forward: &Forward<'_, A>, client: &A, now: u32) {
    if forward.info.affinity_seconds == 0 {
        return;
    }
    let key = AffinityKey {
        client: *client,
        service_port: forward.info.service_port,
    };
    let affinity = Affinity {
        backend: forward.backend_id,
        generation: forward.backend.generation,
        last_used: now,
    };
    // An LRU map always has room; without an entry the next flow merely draws again.
    let _unlikely = A::affinities().insert(&key, &affinity, 0);
}
