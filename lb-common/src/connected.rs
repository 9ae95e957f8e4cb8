//! Which frontend did a connected socket dial? Where that is noted, and which note gives way.
//!
//! An array, not an LRU map: to insert into one takes longer than all else that connect(2) asks for. A
//! socket's cookie says in which set of notes it is. Cookies count up (on each CPU for itself, thousands at a
//! time), so that sockets which dial one after the other are in different sets; and whose notes a set has is
//! said apart from them, for eight sets in one cache line, so that connect(2) waits for no memory. A note is
//! taken back when its socket is closed (but for the kernel's own, whose close no program sees). Where all of
//! a set are taken, the one gives way whose cookie is the oldest. Nothing is locked: two CPUs that write at
//! once leave what its sum does not fit, and which is nobody's.

use crate::addr::Family;
use crate::layout::{Connected, Dialled};
use crate::limits::{CONNECTED, CONNECTED_SETS, CONNECTED_WAYS};

/// Index of the element of map `connected4|6` that knows the socket with this cookie, if any does.
#[inline(always)]
#[must_use]
pub const fn index(cookie: u64) -> u32 {
    (place_of(cookie) / CONNECTED_SETS as u64) as u32 & (CONNECTED - 1)
}

/// Which of the element's sets does.
#[inline(always)]
#[must_use]
pub const fn set(cookie: u64) -> usize {
    place_of(cookie) as usize & (CONNECTED_SETS - 1)
}

/// The set, of all; the higher bits have a say in it, as every other cookie may be that of a socket which dials
/// nobody.
const fn place_of(cookie: u64) -> u64 {
    cookie ^ (cookie / SETS)
}

/// Sets in all.
const SETS: u64 = CONNECTED as u64 * CONNECTED_SETS as u64;

/// Tells the sockets of a set from each other, but for those that are half a billion apart. Never zero, which is
/// nobody's: the highest bit is always set.
#[inline(always)]
#[must_use]
pub const fn tag(cookie: u64) -> u16 {
    IN_USE | (cookie / SETS) as u16
}

const IN_USE: u16 = 1 << 15;

/// The tags of a set as one word, the first way's lowest.
#[inline(always)]
#[must_use]
pub const fn word(tags: [u16; CONNECTED_WAYS]) -> u64 {
    let [first, second, third, fourth] = tags;
    first as u64 | (second as u64) << 16 | (third as u64) << 32 | (fourth as u64) << 48
}

/// Where in its set the socket is noted, as its tags say.
#[inline(always)]
#[must_use]
pub const fn find(tags: u64, cookie: u64) -> Option<usize> {
    let mut way = 0;
    while way < CONNECTED_WAYS {
        if (tags >> (16 * way)) as u16 == tag(cookie) {
            return Some(way);
        }
        way += 1;
    }
    None
}

/// Where in its set, that has these tags, the socket is to be noted: where it is, or else where nobody is,
/// or else in place of the one whose cookie is the oldest.
#[inline(always)]
#[must_use]
pub const fn place(tags: u64, cookie: u64) -> usize {
    if tags == 0 {
        return 0;
    }
    let mut best = preference(tags, cookie, 0);
    let mut way = 1;
    while way < CONNECTED_WAYS {
        let other = preference(tags, cookie, way);
        if other > best {
            best = other;
        }
        way += 1;
    }
    WAY - (best as usize & WAY)
}

/// How well the way suits, and what remains of [`WAY`] without it, so that of equals the first is best. Without a
/// branch that depends on memory: 0xffff for the socket itself; where nobody is, more than any age; else how
/// much older the cookie is, which is nothing for one that is newer.
const fn preference(tags: u64, cookie: u64, way: usize) -> u32 {
    let (noted, tag) = ((tags >> (16 * way)) as u16, tag(cookie));
    let age = tag.wrapping_sub(noted) & (!IN_USE | !noted);
    let is_used = noted >> 15;
    let is_newer = (age >> 14) & is_used;
    // Twice, so that the least is still more than nothing.
    let age = (age & is_newer.wrapping_sub(1)) << is_used | is_newer;
    (age.wrapping_sub(1) as u32) << 2 | (WAY - way) as u32
}

/// The last way.
const WAY: usize = CONNECTED_WAYS - 1;
const _: () = assert!(
    CONNECTED_WAYS == 4,
    "four tags in a word, two bits for a way"
);

impl<A: Family> Connected<A> {
    /// What the socket with this cookie dialled that is connected to this backend (port in host order).
    #[must_use]
    pub fn get(&self, cookie: u64, backend: &A, port: u16) -> Option<&Dialled<A>> {
        let set = set(cookie);
        let dialled = &self.sets[set][find(word(self.tags[set]), cookie)?];
        dialled.is_of(cookie, backend, port).then_some(dialled)
    }
}

impl<A: Family> Dialled<A> {
    /// The note of this socket: `backend` and `frontend` with their ports (host order).
    #[inline(always)]
    #[must_use]
    pub fn new(cookie: u64, backend: (A, u16), frontend: (A, u16), service_port: u32) -> Self {
        let mut dialled = Self {
            cookie,
            sum: 0,
            backend: backend.0,
            frontend: frontend.0,
            backend_port: backend.1,
            frontend_port: frontend.1,
            service_port,
        };
        dialled.sum = dialled.expected_sum();
        dialled
    }

    /// Whether this is the whole note of this socket, and of its being connected to this backend (port in host
    /// order), not to another that it dialled since.
    #[inline(always)]
    #[must_use]
    pub fn is_of(&self, cookie: u64, backend: &A, port: u16) -> bool {
        self.cookie == cookie
            && self.backend == *backend
            && self.backend_port == port
            && self.sum == self.expected_sum()
    }

    /// Each pair of words times an odd number of its own: a word of another note shows, whichever it is.
    #[inline(always)]
    fn expected_sum(&self) -> u64 {
        let ports = u64::from(self.backend_port) << 16 | u64::from(self.frontend_port);
        let rest = u64::from(self.service_port) << 32 | ports;
        let mut sum =
            (self.cookie.wrapping_mul(FACTORS[0])).wrapping_add(rest.wrapping_mul(FACTORS[1]));
        let mut i = 0;
        while i < A::WORDS {
            let pair = u64::from(self.backend.word(i)) << 32 | u64::from(self.frontend.word(i));
            sum = sum.wrapping_add(pair.wrapping_mul(FACTORS[2 + i]));
            i += 1;
        }
        sum
    }
}

/// Odd, and otherwise without a pattern: the digits of π after the point, the last bit of each set.
const FACTORS: [u64; 6] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7345,
    0xa409_3822_299f_31d1,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
    0xbe54_66cf_34e9_0c6d,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Ip4, Ip6};

    /// The tags once the socket is noted there, or nobody is.
    fn with(tags: u64, way: usize, tag: u16) -> u64 {
        tags & !(0xffff << (16 * way)) | u64::from(tag) << (16 * way)
    }

    #[test]
    fn a_socket_is_noted_where_it_is_then_where_nobody_is_then_in_place_of_the_oldest() {
        // The tags begin anew amid them.
        for first in [7, 7 + 0x7ffe * SETS] {
            let cookie = |i: u64| first + i * SETS;
            let mut tags = 0;
            for (i, expected) in [(1, 0), (0, 1), (2, 2)] {
                assert_eq!(place(tags, cookie(i)), expected);
                tags = with(tags, expected, tag(cookie(i)));
                assert_eq!(find(tags, cookie(i)), Some(expected));
            }
            assert_eq!(place(tags, cookie(2)), 2);
            assert_eq!(place(tags, cookie(3)), 3);
            tags = with(tags, 3, tag(cookie(3)));
            assert_eq!(place(tags, cookie(4)), 1, "{first}");
            assert_eq!(place(tags, cookie(3)), 3);
            tags = with(tags, 2, 0);
            assert_eq!(find(tags, cookie(2)), None);
            assert_eq!(place(tags, cookie(4)), 2);
            tags = with(tags, 2, tag(cookie(4)));
            tags = with(tags, place(tags, cookie(5)), tag(cookie(5)));
            assert_eq!([0, 1].map(|i| find(tags, cookie(i))), [None, Some(0)]);
        }
    }

    /// Another CPU has had its cookies for longer.
    #[test]
    fn an_older_cookie_takes_no_younger_ones_place_but_the_oldest() {
        let tags = word([5, 0, 6, 7].map(|i| tag(i * SETS)));
        assert_eq!(place(tags, SETS), 1);
    }

    #[test]
    fn whatever_the_tags_are_it_is_noted_and_only_one_gives_way() {
        let known = [0, 0x8000, 0x8001, 0x8002, 0xbfff, 0xc000, 0xfffe, 0xffff];
        for own in known {
            let cookie = 3 + u64::from(own & 0x7fff) * SETS;
            for mixture in 0..8_usize.pow(4) {
                let noted = [0, 1, 2, 3].map(|way| known[mixture >> (3 * way) & 7]);
                let way = place(word(noted), cookie);
                // How much older, in 15 bits; nothing where it is newer.
                let age = |noted: u16| match tag(cookie).wrapping_sub(noted) & 0x7fff {
                    0x4000.. => 0,
                    age => age,
                };
                if noted.contains(&tag(cookie)) {
                    assert_eq!(noted[way], tag(cookie), "{noted:x?}");
                } else if noted.contains(&0) {
                    assert_eq!(noted[way], 0, "{noted:x?}, {own:x}");
                } else {
                    let oldest = noted.map(age).into_iter().max();
                    assert_eq!(Some(age(noted[way])), oldest, "{noted:x?}, {own:x}");
                }
            }
        }
    }

    #[test]
    fn sockets_that_follow_each_other_are_in_different_sets() {
        for first in [0, 5 * SETS] {
            let mut seen = [false; SETS as usize];
            for cookie in first..first + SETS {
                let at = index(cookie) as usize * CONNECTED_SETS + set(cookie);
                assert!(!core::mem::replace(&mut seen[at], true), "{cookie}");
            }
        }
        // Every fourth for a long time.
        let taken = (0..4 * SETS)
            .step_by(4)
            .map(|cookie| (index(cookie), set(cookie)));
        let taken = taken.collect::<std::collections::BTreeSet<_>>();
        assert_eq!(taken.len() as u64, SETS);
    }

    /// Whichever words of it are another note's.
    fn shows_what_was_mixed<A: Family>(words: usize, first: Dialled<A>, second: Dialled<A>) {
        for mixture in 0_u32..1 << words {
            let mut mixed = first;
            let from = bytemuck::cast_slice::<_, u32>(core::slice::from_ref(&second));
            let into = bytemuck::cast_slice_mut::<_, u32>(core::slice::from_mut(&mut mixed));
            for (i, word) in into.iter_mut().enumerate() {
                if mixture >> i & 1 != 0 {
                    *word = from[i];
                }
            }
            let is_whole = mixed.is_of(mixed.cookie, &mixed.backend, mixed.backend_port);
            assert_eq!(is_whole, mixed == first || mixed == second, "{mixed:?}");
        }
    }

    #[test]
    fn what_two_wrote_at_once_is_nobodys() {
        let (backend, frontend) = (Ip4::new(10, 244, 0, 7), Ip4::new(10, 96, 0, 10));
        shows_what_was_mixed(
            8,
            Dialled::new(5, (backend, 8080), (frontend, 80), 3),
            Dialled::new(
                5 + SETS,
                (Ip4::new(10, 244, 0, 8), 8080),
                (frontend, 443),
                4,
            ),
        );
        let address = |last| Ip6 {
            octets: [0xfd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, last],
        };
        shows_what_was_mixed(
            14,
            Dialled::new(5, (address(1), 53), (address(2), 53), 3),
            Dialled::new(9, (address(3), 5353), (address(4), 53), 3),
        );
    }

    #[test]
    fn a_note_is_of_the_socket_and_the_backend_that_it_names() {
        let backend = Ip4::new(10, 244, 0, 7);
        let noted = Dialled::new(7, (backend, 8080), (Ip4::new(10, 96, 0, 10), 80), 3);
        assert!(noted.is_of(7, &backend, 8080));
        assert!(!noted.is_of(8, &backend, 8080));
        assert!(!noted.is_of(7, &backend, 8081));
        assert!(!noted.is_of(7, &Ip4::new(10, 244, 0, 8), 8080));
    }
}
