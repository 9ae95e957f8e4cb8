//! Who gets into the flow table, and who goes so that others find room? The oldest flow that nobody
//! would miss: one that did not come beyond its beginning, or is over.
//!
//! The table itself is a plain hash: finding a flow costs one look-up, and the kernel evicts
//! nothing by itself. Whatever may go waits in a queue of keys besides: a flow when it begins, and
//! again when it ends. Where the queue is full, its head must leave it for each that comes, and goes
//! from the table too, unless it became a flow worth keeping. So flows that nobody would miss never
//! have more of the table than the queue has room for, and the others can have all the rest.

use core::ptr;

use aya_ebpf::helpers::bpf_map_pop_elem;
use lb_common::{
    drops::DropReason,
    flow::{is_kept, mirror_key, only_begins},
    layout::{FLOW_HAIRPIN, FLOW_RENUMBERED, FLOW_REPLY, FLOW_SNAT, Flow, FlowKey, mark_of},
};

use crate::{
    maps::{self, Leaving, Maps, Scratch},
    track,
};

/// Enters the flow in `scratch`, and its reply.
///
/// # Errors
/// The table is full of flows worth keeping.
#[inline(always)]
pub(crate) fn enter<A: Maps>(scratch: &mut Scratch<A>) -> Result<(), DropReason> {
    may_go(&mut scratch.key, scratch.flow.created);
    // The reply first: once the packet is on its way, so may the answer be.
    if A::flows()
        .insert(&scratch.reply_key, &scratch.reply, 0)
        .is_err()
    {
        return Err(DropReason::FlowTableFull);
    }
    if A::flows().insert(&scratch.key, &scratch.flow, 0).is_err() {
        let _absent = A::flows().remove(&scratch.reply_key);
        return Err(DropReason::FlowTableFull);
    }
    Ok(())
}

/// Notes that a flow that ended may go. `created` is when it began.
#[inline(always)]
pub(crate) fn ended_may_go<A: Maps>(key: &FlowKey<A>, created: u32) {
    if let Some(scratch) = A::scratch() {
        scratch.key = *key;
        may_go(&mut scratch.key, created);
    }
}

/// Notes that the flow with this key and beginning may go, at once or once it will have begun, and
/// lets the oldest such go if there are too many. The key is marked meanwhile.
///
/// A function of its own to the verifier, which would check it at every place.
#[inline(never)]
fn may_go<A: Maps>(key: &mut FlowKey<A>, created: u32) {
    let Some(leaving) = A::leaving() else {
        return;
    };
    let queue = A::evictable();
    // SAFETY: the element is this CPU's own; one word is read and written.
    let was_full = unsafe { &raw mut (*leaving).queue_was_full };
    // The head first, where this CPU has found the queue full once: it stays so.
    // SAFETY: as above.
    if unsafe { *was_full } != 0 {
        let_head_go::<A>(leaving);
    }
    key.set_mark(mark_of(created));
    if queue.push(&*key, 0).is_err() {
        // SAFETY: as above.
        unsafe { *was_full = 1 };
        let_head_go::<A>(leaving);
        // Refused only when another CPU was faster: then the sweep finds the flow later.
        let _unlikely = queue.push(&*key, 0);
    }
    key.set_mark(0);
}

#[inline(always)]
fn let_head_go<A: Maps>(leaving: *mut Leaving<A>) {
    // SAFETY: the element is this CPU's own, and only this function uses this key.
    let head = unsafe {
        let head = &raw mut (*leaving).head;
        let queue = ptr::from_ref(A::evictable()).cast_mut();
        // The helper itself, as its wrapper would return the key by way of the stack.
        if bpf_map_pop_elem(queue.cast(), head.cast()) != 0 {
            return;
        }
        &mut *head
    };
    let mark = head.set_mark(0);
    // If another flow has that key by now, the place in the queue was its predecessor's.
    if let Some(flow) = track::find(head)
        && mark_of(flow.created) == mark
        && !is_wanted(head, flow)
    {
        end(head, flow);
    }
}

#[inline(always)]
fn is_wanted<A: Maps>(key: &FlowKey<A>, flow: &Flow<A>) -> bool {
    if only_begins(key.protocol, flow) {
        return false;
    }
    match other_of(key, flow).and_then(track::find) {
        Some(other) => is_kept(key.protocol, flow, other, maps::hz()),
        // Half a flow is none.
        None => false,
    }
}

/// The key of a flow's other direction, in memory that the next call overwrites.
#[inline(always)]
pub(crate) fn other_of<A: Maps>(key: &FlowKey<A>, flow: &Flow<A>) -> Option<&'static FlowKey<A>> {
    let leaving = A::leaving()?;
    // SAFETY: the element is this CPU's own, and only this function writes this key.
    unsafe {
        let other = &raw mut (*leaving).other;
        *other = mirror_key(key, flow);
        Some(&*other)
    }
}

/// Takes both directions out of the table, and gives the port back.
#[inline(always)]
pub(crate) fn end<A: Maps>(key: &FlowKey<A>, flow: &Flow<A>) {
    let Some(other) = other_of(key, flow) else {
        return;
    };
    let (is_reply, has_port) = (
        flow.flags & FLOW_REPLY != 0,
        flow.flags & (FLOW_SNAT | FLOW_HAIRPIN | FLOW_RENUMBERED) != 0,
    );
    // Whatever is not there needs no removal.
    let _absent = A::flows().remove(other);
    let _absent = A::flows().remove(key);
    if has_port {
        let _absent = A::reservations().remove(if is_reply { key } else { other });
    }
}
