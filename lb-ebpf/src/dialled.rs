//! Which frontend did a socket dial? Noted when it does, and asked whenever it is told with whom it
//! talks.

use core::mem::offset_of;
use core::ptr;

use lb_common::{
    connected,
    decide::Forward,
    layout::{Connected, Dialled, FlowKey, SocketFlow, SocketKey},
    limits::CONNECTED_WAYS,
};

use crate::maps::Maps;

/// Notes whom a socket connected to.
#[inline(always)]
pub(crate) fn note<A: Maps>(cookie: u64, flow: &FlowKey<A>, forward: &Forward<'_, A>) {
    let Some(connected) = element::<A>(cookie) else {
        return;
    };
    let backend = forward.backend;
    let dialled = Dialled::new(
        cookie,
        (backend.address, backend.port),
        (flow.destination, flow.destination_port),
        forward.info.service_port,
    );
    let tags = connected.tags();
    let way = connected::place(tags, cookie);
    // SAFETY: the element is there; what another CPU writes there meanwhile is none of either's: its
    // sum shows it.
    unsafe { *connected.note(way) = dialled };
    connected.set_tag(way, connected::tag(cookie));
}

/// Notes whom an unconnected socket sent a datagram to.
#[inline(always)]
pub(crate) fn note_of_datagrams<A: Maps>(cookie: u64, flow: &FlowKey<A>, forward: &Forward<'_, A>) {
    let backend = forward.backend;
    let key = SocketKey::new(cookie, backend.address, backend.port);
    let dialled = SocketFlow {
        frontend: flow.destination,
        port: flow.destination_port,
        reserved: 0,
        service_port: forward.info.service_port,
        generation: backend.generation,
    };
    let sockets = A::sockets();
    // To look costs a tenth of what it does to write the same again.
    let is_noted = (sockets.get_ptr(&key)).is_some_and(|noted| {
        // SAFETY: as in `of_datagrams`; what is not read whole is not what is to be noted.
        unsafe { *noted == dialled }
    });
    if !is_noted {
        // An LRU map always has room; without an entry the socket would see the backend's name.
        let _unlikely = sockets.insert(&key, &dialled, 0);
    }
}

/// The frontend that the socket dialled which talks to this backend (ports in host order). One that is not
/// connected any more has its last connection still noted; one that is may have been noted among the
/// others, before there was map `connected4|6`.
#[inline(always)]
pub(crate) fn frontend<A: Maps>(
    cookie: u64,
    is_connected: bool,
    backend: &A,
    port: u16,
) -> Option<(A, u16)> {
    let dialled = is_connected.then(|| of_connected(cookie, backend, port));
    dialled
        .flatten()
        .or_else(|| of_datagrams(cookie, backend, port))
}

#[inline(always)]
fn of_connected<A: Maps>(cookie: u64, backend: &A, port: u16) -> Option<(A, u16)> {
    let connected = element::<A>(cookie)?;
    let way = connected::find(connected.tags(), cookie)?;
    let dialled = connected.read(way);
    let is_of = dialled.is_of(cookie, backend, port);
    is_of.then_some((dialled.frontend, dialled.frontend_port))
}

#[inline(always)]
fn of_datagrams<A: Maps>(cookie: u64, backend: &A, port: u16) -> Option<(A, u16)> {
    let key = SocketKey::new(cookie, *backend, port);
    let dialled = A::sockets().get_ptr(&key)?;
    // SAFETY: an element that is recycled meanwhile belongs to a socket that has been quiet for
    // longer than this one.
    let dialled = unsafe { *dialled };
    Some((dialled.frontend, dialled.port))
}

/// Takes back what is noted of a connected socket.
#[inline(always)]
pub(crate) fn forget<A: Maps>(cookie: u64) {
    let Some(connected) = element::<A>(cookie) else {
        return;
    };
    if let Some(way) = connected::find(connected.tags(), cookie) {
        connected.set_tag(way, NOBODY);
    }
}

/// The tag of a note that is nobody's.
const NOBODY: u16 = 0;

/// The set of an element that a socket is in.
struct InSet<A> {
    connected: *mut Connected<A>,
    set: usize,
}

#[inline(always)]
fn element<A: Maps>(cookie: u64) -> Option<InSet<A>> {
    Some(InSet {
        connected: A::connected().get_ptr_mut(connected::index(cookie))?,
        set: connected::set(cookie),
    })
}

impl<A: Maps> InSet<A> {
    /// Whose notes there are: one aligned word, read whole.
    #[inline(always)]
    fn tags(&self) -> u64 {
        // SAFETY: the word is there.
        unsafe { ptr::read_volatile(self.word()) }.to_le()
    }

    /// Only this one: what another CPU does to its neighbours meanwhile is not undone.
    #[inline(always)]
    fn set_tag(&self, way: usize, tag: u16) {
        // SAFETY: the word is there, and `way` is less than it has tags.
        unsafe { ptr::write_volatile(self.word().cast::<u16>().add(way), tag) };
    }

    #[inline(always)]
    fn word(&self) -> *mut u64 {
        const { assert!(offset_of!(Connected<A>, tags) == 0) }
        // SAFETY: the element is there, begins with the tags, and `set` is less than it has sets.
        unsafe { self.connected.cast::<u64>().add(self.set) }
    }

    /// The `way`th note of the set, each word read once: what is summed must be what is given. Not the whole
    /// note at once, which LLVM would read octet by octet.
    #[inline(always)]
    fn read(&self, way: usize) -> Dialled<A> {
        let (from, mut dialled) = (self.note(way).cast::<u64>(), Dialled::default());
        let into = (&raw mut dialled).cast::<u64>();
        let mut word = 0;
        while word < size_of::<Dialled<A>>() / size_of::<u64>() {
            // SAFETY: the note is there and aligned, as `dialled` is, and both have so many words.
            unsafe { into.add(word).write(ptr::read_volatile(from.add(word))) };
            word += 1;
        }
        dialled
    }

    /// The `way`th note of the set.
    #[inline(always)]
    fn note(&self, way: usize) -> *mut Dialled<A> {
        let notes = self.set * CONNECTED_WAYS + way;
        // SAFETY: as in `word`, and `way` is less than there are in a set.
        unsafe {
            (&raw mut (*self.connected).sets)
                .cast::<Dialled<A>>()
                .add(notes)
        }
    }
}
