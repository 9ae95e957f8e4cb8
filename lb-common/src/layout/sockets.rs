//! Whom do sockets believe to talk to? What the socket hook notes for them.

use crate::limits::{CONNECTED_SETS, CONNECTED_WAYS};

/// Map `connected4|6`: which frontends connected sockets dialled ([`crate::connected`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Connected<A> {
    /// Whose notes each set has: bits of their cookies, or zero for nobody's. A set's are read as one word.
    pub tags: [[u16; CONNECTED_WAYS]; CONNECTED_SETS],
    /// The notes.
    pub sets: [[Dialled<A>; CONNECTED_WAYS]; CONNECTED_SETS],
}

/// What a connected socket dialled.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct Dialled<A> {
    /// The socket's cookie.
    pub cookie: u64,
    /// Sum over all else and the cookie: what two CPUs wrote at once does not have it.
    pub sum: u64,
    /// The address of the backend that it is connected to.
    pub backend: A,
    /// The frontend's address.
    pub frontend: A,
    /// The backend's port, host order.
    pub backend_port: u16,
    /// The frontend's port, host order.
    pub frontend_port: u16,
    /// Id of the service port (map `services`).
    pub service_port: u32,
}

/// Map `sockets4|6`: a socket and a backend that it sends datagrams to.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct SocketKey<A> {
    /// The socket's cookie, lower half first.
    pub cookie: [u32; 2],
    /// The backend's address.
    pub backend: A,
    /// The backend's port, host order.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

impl<A> SocketKey<A> {
    /// The key of a socket and its backend (port in host order).
    #[inline(always)]
    #[must_use]
    pub const fn new(cookie: u64, backend: A, port: u16) -> Self {
        Self {
            cookie: [cookie as u32, (cookie >> 32) as u32],
            backend,
            port,
            reserved: 0,
        }
    }
}

/// Map `sockets4|6`: the frontend that the socket named.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct SocketFlow<A> {
    /// The frontend's address.
    pub frontend: A,
    /// The frontend's port, host order.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
    /// Id of the service port (map `services`).
    pub service_port: u32,
    /// The backend's generation.
    pub generation: u32,
}
