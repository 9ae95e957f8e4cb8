//! The socket path: a socket of this node dials a backend instead of the frontend, before there
//! is any packet, and goes on believing that it talks to the frontend.

use lb_common::{
    addr::{Family, Ip4, Ip6},
    decide::{Arrival, Decision, Request, TCP, UDP, decide},
    drops::Hook,
    hash::{self, Draw},
    layout::{FlowKey, FrontendInfo},
};

use crate::{
    affinity,
    call::{Call, Closing, Mapped4, Plain4, Plain6, Seat},
    dialled, globals,
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

/// The last close(2): nobody asks any more whom the socket dialled.
#[inline(always)]
pub(crate) fn release(socket: &Closing) -> i32 {
    let cookie = socket.cookie();
    dialled::forget::<Ip4>(cookie);
    if !socket.is_of_v4() {
        dialled::forget::<Ip6>(cookie);
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
    let (cookie, now) = (call.cookie(), live::now());
    let draw = BySocket {
        flow: &flow,
        key: live.config().hash_key ^ cookie,
        now,
    };
    match decide(&live, &request, draw) {
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
            let backend = forward.backend;
            if NAMED == EACH_TIME {
                dialled::note_of_datagrams(cookie, &flow, &forward);
            } else {
                dialled::note(cookie, &flow, &forward);
            }
            affinity::remember(&forward, &flow.source, now);
            S::set_address(&call, &backend.address);
            call.set_port(backend.port);
            PROCEED
        }
    }
}

/// The draw of a socket, which has no port yet. TCP draws anew for each connection; a UDP socket keeps
/// to one backend for as long as the pool stays, as it would with a flow.
#[derive(Clone, Copy)]
struct BySocket<'f, A> {
    flow: &'f FlowKey<A>,
    /// The node's key and the socket's cookie.
    key: u64,
    /// Jiffies, low 32 bits.
    now: u32,
}

impl<A: Family> Draw<A> for BySocket<'_, A> {
    #[inline(always)]
    fn draw(&self, _: &FrontendInfo<A>) -> u32 {
        if self.flow.protocol == TCP {
            // Apart from the cookie: both count up, and their difference may be the same each time.
            hash::finish(hash::mix(self.key, u64::from(self.now) << 32))
        } else {
            hash::draw(self.flow, self.key)
        }
    }
}

/// Replaces the backend that the call returns by the frontend that the socket dialled.
#[inline(never)]
fn give_frontend<S: Seat<Address: Maps>>(call: Call) {
    let dialled = dialled::frontend(
        call.cookie(),
        call.is_connected(),
        &S::address(&call),
        call.port(),
    );
    if let Some((frontend, port)) = dialled {
        S::set_address(&call, &frontend);
        call.set_port(port);
    }
}
