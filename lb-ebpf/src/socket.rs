//! The socket path: a socket of this node dials a backend instead of the frontend, before there
//! is any packet, and goes on believing that it talks to the frontend.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use lb_common::{
    decide::{Arrival, Decision, Forward, Request, TCP, UDP, decide},
    drops::Hook,
    hash,
    layout::{FlowKey, SocketFlow, SocketKey},
};

use crate::{
    affinity,
    call::{Call, Mapped4, Plain4, Plain6, Seat},
    globals,
    live::{self, Live},
    maps::{self, Maps},
};

/// What a program returns to let the call go on.
const PROCEED: i32 = 1;
/// What a program returns to make the call fail.
const FAIL: i32 = 0;

const ECONNREFUSED: i32 = 111;
const EPERM: i32 = 1;

/// A socket names a frontend once, with connect(2), or with each datagram. In one program it is always the same.
const ONCE: bool = false;
const EACH_TIME: bool = true;

/// connect(2): TCP and UDP.
#[inline(always)]
pub(crate) fn connect4(call: Call) -> i32 {
    if is_served_by_connect(&call) {
        dial::<Plain4, ONCE>(call)
    } else {
        PROCEED
    }
}

/// As [`connect4`], of IPv6 sockets.
#[inline(always)]
pub(crate) fn connect6(call: Call) -> i32 {
    if is_served_by_connect(&call) {
        dial6::<ONCE>(call)
    } else {
        PROCEED
    }
}

/// sendmsg(2) and sendto(2) with an address: UDP.
#[inline(always)]
pub(crate) fn send4(call: Call) -> i32 {
    if call.protocol() == UDP {
        dial::<Plain4, EACH_TIME>(call)
    } else {
        PROCEED
    }
}

/// As [`send4`], of IPv6 sockets.
#[inline(always)]
pub(crate) fn send6(call: Call) -> i32 {
    if call.protocol() == UDP {
        dial6::<EACH_TIME>(call)
    } else {
        PROCEED
    }
}

/// recvmsg(2) and getpeername(2): whom the socket believes to talk to.
#[inline(always)]
pub(crate) fn name4(call: Call) -> i32 {
    give_frontend::<Plain4>(call);
    PROCEED
}

/// As [`name4`], of IPv6 sockets.
#[inline(always)]
pub(crate) fn name6(call: Call) -> i32 {
    if call.is_mapped() {
        give_frontend::<Mapped4>(call);
    } else {
        give_frontend::<Plain6>(call);
    }
    PROCEED
}

/// UDP too, unless switched off: without it the node's own resolver, whose sockets are connected,
/// would not reach a cluster DNS.
#[inline(always)]
fn is_served_by_connect(call: &Call) -> bool {
    match call.protocol() {
        TCP => true,
        UDP => globals::SOCKET_CONNECTED_UDP.load() != 0,
        _ => false,
    }
}

#[inline(always)]
fn dial6<const NAMED: bool>(call: Call) -> i32 {
    if call.is_mapped() {
        dial::<Mapped4, NAMED>(call)
    } else {
        dial::<Plain6, NAMED>(call)
    }
}

/// Replaces the frontend that the call names by a backend. A function of its own to the verifier:
/// the families do not share a stack frame.
#[inline(never)]
fn dial<S: Seat<Address: Maps>, const NAMED: bool>(call: Call) -> i32 {
    let of_node = call.is_of_node();
    if !of_node && globals::SOCKET_PODS.load() == 0 {
        return PROCEED;
    }
    let Some(live) = Live::<S::Address>::new() else {
        return PROCEED;
    };
    let flow = FlowKey {
        source: S::Address::snat_address(live.config(), None),
        destination: S::address(&call),
        source_port: 0,
        destination_port: call.port(),
        protocol: call.protocol(),
        reserved: [0; 3],
    };
    let arrival = if of_node {
        Arrival::Socket
    } else {
        Arrival::PodSocket
    };
    let request = Request {
        flow: &flow,
        arrival,
        begins: true,
    };
    match decide(&live, &request, draw(&call, &flow, live.config().hash_key)) {
        Decision::Pass | Decision::AnswerPing => PROCEED,
        Decision::Drop(reason) => {
            maps::count(Hook::Socket, reason);
            Call::fail_with(EPERM);
            FAIL
        }
        Decision::Refuse(reason) => {
            if globals::SOCKET_REFUSES.load() == 0 {
                // EPERM would say something else: the packet gets its answer at the uplink.
                return PROCEED;
            }
            maps::count(Hook::Socket, reason);
            Call::fail_with(ECONNREFUSED);
            FAIL
        }
        Decision::Forward(forward) => {
            redirect::<S, NAMED>(call, &flow, &forward);
            PROCEED
        }
    }
}

/// TCP draws anew for each connection; a UDP socket keeps to one backend for as long as the pool
/// stays, as it would with a flow.
#[inline(always)]
fn draw<A: Maps>(call: &Call, flow: &FlowKey<A>, key: u64) -> u32 {
    if flow.protocol == TCP {
        // SAFETY: the helper takes nothing.
        unsafe { bpf_get_prandom_u32() }
    } else {
        hash::draw(flow, key ^ call.cookie())
    }
}

/// Writes the backend into the call, and notes for the socket whom it dialled.
#[inline(always)]
fn redirect<S: Seat<Address: Maps>, const NAMED: bool>(
    call: Call,
    flow: &FlowKey<S::Address>,
    forward: &Forward<'_, S::Address>,
) {
    let backend = forward.backend;
    let key = SocketKey::new(call.cookie(), backend.address, backend.port);
    let dialled = SocketFlow {
        frontend: flow.destination,
        port: flow.destination_port,
        reserved: 0,
        service_port: forward.info.service_port,
        generation: backend.generation,
    };
    let sockets = S::Address::sockets();
    // To look costs a tenth of what it does to write the same again.
    let is_noted = NAMED == EACH_TIME
        && (sockets.get_ptr(&key)).is_some_and(|noted| {
            // SAFETY: as in `give_frontend`; what is not read whole is not what is to be noted.
            unsafe { *noted == dialled }
        });
    if !is_noted {
        // An LRU map always has room; without an entry the socket would see the backend's name.
        let _unlikely = sockets.insert(&key, &dialled, 0);
    }
    affinity::remember(forward, &flow.source, live::now());
    S::set_address(&call, &backend.address);
    call.set_port(backend.port);
}

/// Replaces the backend that the call returns by the frontend that the socket dialled.
#[inline(never)]
fn give_frontend<S: Seat<Address: Maps>>(call: Call) {
    let key = SocketKey::new(call.cookie(), S::address(&call), call.port());
    let Some(dialled) = S::Address::sockets().get_ptr(&key) else {
        return;
    };
    // SAFETY: an element that is recycled meanwhile belongs to a socket that has been quiet for
    // longer than this one.
    let dialled = unsafe { *dialled };
    S::set_address(&call, &dialled.frontend);
    call.set_port(dialled.port);
}
