//! Which port does a flow get whose client's own cannot be kept?

use lb_common::{
    drops::DropReason,
    flow::mirror_key,
    layout::{Config, FlowKey, Reservation},
    limits,
};

use crate::{
    maps::{Maps, Scratch},
    track,
};

/// Says that the map has the key already, where it was to be new.
const BPF_NOEXIST: u64 = 1;

/// Gives the flow a source port that no other flow has toward this backend, and reserves it. A
/// port is unique for (address, port, backend, protocol), so it repeats across backends.
///
/// # Errors
/// None of the candidates is free.
#[inline(always)]
pub(crate) fn reserve<A: Maps>(
    key: &FlowKey<A>,
    scratch: &mut Scratch<A>,
    config: &Config,
    draw: u32,
) -> Result<(), DropReason> {
    scratch.holder = Reservation {
        client: key.source,
        frontend: key.destination,
        client_port: key.source_port,
        frontend_port: key.destination_port,
    };
    let [first, last] = config.snat_ports;
    let count = u32::from(last.wrapping_sub(first)) + 1;
    let mut candidate = draw % count;
    let mut tries = 0;
    while tries < limits::SNAT_TRIES {
        scratch.flow.source_port = first.wrapping_add(candidate as u16);
        scratch.reply_key = mirror_key(key, &scratch.flow);
        if take(&scratch.reply_key, &scratch.holder) {
            return Ok(());
        }
        candidate += 1;
        if candidate >= count {
            candidate = 0;
        }
        tries += 1;
    }
    Err(DropReason::SnatExhausted)
}

/// Whether the port is the holder's now: it was free, was the holder's already, or its connection
/// is over.
#[inline(always)]
fn take<A: Maps>(reply_key: &FlowKey<A>, holder: &Reservation<A>) -> bool {
    if A::reservations()
        .insert(reply_key, holder, BPF_NOEXIST)
        .is_ok()
    {
        return true;
    }
    let Some(held) = A::reservations().get_ptr(reply_key) else {
        return false;
    };
    // SAFETY: compared only; a torn one equals nobody's.
    let mine = unsafe { *held == *holder };
    mine || (track::find(reply_key).is_some_and(|reply| track::ended(reply_key, reply))
        && A::reservations()
            .insert(reply_key, holder, BPF_NOEXIST)
            .is_ok())
}

/// Gives back a port whose flow found no room.
#[inline(always)]
pub(crate) fn give_back<A: Maps>(reply_key: &FlowKey<A>) {
    let _absent = A::reservations().remove(reply_key);
}
