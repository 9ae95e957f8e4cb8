//! Which port does a flow get whose client's own cannot be kept?

use aya_ebpf::helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use lb_common::{
    decide::{TCP, UDP},
    drops::DropReason,
    flow::mirror_key,
    layout::{FlowKey, Reservation},
    limits,
    wire::Be16,
};

use crate::{
    maps::{self, Maps, Scratch},
    packet::Packet,
    track,
};

/// `BPF_F_CURRENT_NETNS`: of the link that the packet is at.
const THIS_NAMESPACE: u64 = u64::MAX;

/// Says that the map has the key already, where it was to be new.
const BPF_NOEXIST: u64 = 1;

/// Gives the flow in `scratch` a source port that no other flow has toward this backend, and reserves it. A
/// port is unique for (address, port, backend, protocol), so it repeats across backends.
///
/// # Errors
/// None of the candidates is free.
#[inline(always)]
pub(crate) fn reserve<A: Maps, P: Packet>(
    packet: &P,
    scratch: &mut Scratch<A>,
    draw: u32,
) -> Result<(), DropReason> {
    let key = &scratch.key;
    let config = maps::config().ok_or(DropReason::SnatExhausted)?;
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
    scratch.reply_key = mirror_key(key, &scratch.flow);
    while tries < limits::SNAT_TRIES {
        let port = first.wrapping_add(candidate as u16);
        scratch.flow.source_port = port;
        // All else of the key stays: a copy of it would need more stack than there is here.
        scratch.reply_key.destination_port = port;
        if take(&scratch.reply_key, &scratch.holder) {
            // What keeps the client's own address cannot meet a socket of this node.
            if scratch.flow.source == key.source || !is_sockets_own(packet, &scratch.reply_key) {
                return Ok(());
            }
            give_back(&scratch.reply_key);
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
    let mine = is_same(unsafe { &*held }, holder);
    mine || (track::find(reply_key).is_some_and(|reply| track::ended(reply_key, reply))
        && A::reservations()
            .insert(reply_key, holder, BPF_NOEXIST)
            .is_ok())
}

/// As the kernel's `union bpf_sock_tuple`: where a packet comes from and goes to.
#[repr(C)]
struct Tuple<A> {
    source: A,
    destination: A,
    source_port: Be16,
    destination_port: Be16,
}

/// Whether a socket of this node would get the packets that arrive so: one that listens on the port,
/// or that talks to this very backend from there.
///
/// A function of its own to the verifier, for the sake of the stack.
#[inline(never)]
fn is_sockets_own<A: Maps, P: Packet>(packet: &P, key: &FlowKey<A>) -> bool {
    let mut tuple = Tuple {
        source: key.source,
        destination: key.destination,
        source_port: Be16::new(key.source_port),
        destination_port: Be16::new(key.destination_port),
    };
    let (place, size) = ((&raw mut tuple).cast(), size_of::<Tuple<A>>() as u32);
    // SAFETY: context and tuple are valid; a socket that is found is given back at once. Kernel 5.2.
    unsafe {
        let socket = match key.protocol {
            TCP => bpf_skc_lookup_tcp(packet.context(), place, size, THIS_NAMESPACE, 0),
            UDP => bpf_sk_lookup_udp(packet.context(), place, size, THIS_NAMESPACE, 0),
            _ => return false,
        };
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket.cast());
        true
    }
}

/// Whether both are the same client's, without a branch for each word: the verifier would follow all
/// of them, once for each candidate.
#[inline(always)]
fn is_same<A: Maps>(one: &Reservation<A>, other: &Reservation<A>) -> bool {
    let mut difference = u32::from(
        (one.client_port ^ other.client_port) | (one.frontend_port ^ other.frontend_port),
    );
    let mut i = 0;
    while i < A::WORDS {
        difference |= one.client.word(i) ^ other.client.word(i);
        difference |= one.frontend.word(i) ^ other.frontend.word(i);
        i += 1;
    }
    difference == 0
}

/// Gives back a port whose flow found no room.
#[inline(always)]
pub(crate) fn give_back<A: Maps>(reply_key: &FlowKey<A>) {
    let _absent = A::reservations().remove(reply_key);
}
