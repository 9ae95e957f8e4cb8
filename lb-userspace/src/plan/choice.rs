//! Which slots does a pool have, so that draws spread over its backends as they should?
//!
//! A plain list where any choice will do. Where nodes must agree, a Maglev table (Eisenbud et al.,
//! NSDI 2016, section 3.4): it follows from addresses, ports and weights alone, so every node that
//! knows the same endpoints makes the same one, whatever numbers they have there and in whatever
//! order they came; and when one of them goes, nearly all others keep their slots.

use lb_common::addr::Family;
use lb_common::hash::{COMMON_KEY, finish, mix};

/// A backend to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member<A> {
    /// Address and port.
    pub(super) place: (A, u16),
    /// Its id on this node.
    pub(super) id: u32,
    /// Its share among the others'; at least 1.
    pub(super) weight: u32,
}

/// Sizes of Maglev tables, in slots: primes, as each member's walk must reach every slot, and far
/// apart, as a pool that grows beyond one has nearly all its flows choose anew.
const SIZES: [u32; 6] = [251, 1_021, 4_093, 16_381, 65_521, 131_071];

/// Slots for the member with the smallest share, at least, if the largest table has them: shares
/// are then right to about one percent, and so much moves when another member goes.
const SLOTS_EACH: u64 = 100;

/// Keys of the two hashes that a member's walk through the table depends on.
const WALK_KEYS: [u64; 2] = [COMMON_KEY ^ 1, COMMON_KEY ^ 2];

/// Each member once, or as often as its weight says. The members are sorted.
pub(super) fn list<A>(members: &[Member<A>]) -> Vec<u32> {
    let unit = members.iter().fold(0, |unit, m| gcd(unit, m.weight)).max(1);
    let shares = members.iter();
    shares
        .flat_map(|m| std::iter::repeat_n(m.id, (m.weight / unit) as usize))
        .collect()
}

/// The Maglev table of the members, which are sorted by place.
pub(super) fn table<A: Family>(members: &[Member<A>]) -> Vec<u32> {
    let heaviest = members.iter().map(|m| m.weight).max().unwrap_or_default();
    if members.len() < 2 {
        return list(members);
    }
    let size = size(members);
    let mut table = vec![None; size as usize];
    let mut left = size;
    let mut walks: Vec<Walk> = members.iter().map(|m| Walk::new(m, size)).collect();
    // Round by round the heaviest takes a slot in each, the others as often as their share.
    loop {
        for (member, walk) in members.iter().zip(&mut walks) {
            walk.credit += member.weight;
            if walk.credit < heaviest {
                continue;
            }
            walk.credit -= heaviest;
            *walk.next_free(&mut table) = Some(member.id);
            left -= 1;
            if left == 0 {
                return table.into_iter().flatten().collect();
            }
        }
    }
}

/// How large a table does them justice?
fn size<A>(members: &[Member<A>]) -> u32 {
    let total: u64 = members.iter().map(|m| u64::from(m.weight)).sum();
    let smallest = members.iter().map(|m| m.weight).min().unwrap_or(1).max(1);
    let wanted = total.div_ceil(smallest.into()) * SLOTS_EACH;
    let fits = |size: &&u32| u64::from(**size) >= wanted;
    let [.., largest] = SIZES;
    *SIZES.iter().find(fits).unwrap_or(&largest)
}

/// A member's walk through the table: every slot once, in an order of its own.
struct Walk {
    at: u32,
    step: u32,
    size: u32,
    /// How much of its next turn it has earned.
    credit: u32,
}

impl Walk {
    fn new<A: Family>(member: &Member<A>, size: u32) -> Self {
        let [at, step] = WALK_KEYS.map(|key| place_hash(&member.place, key));
        Self {
            at: at % size,
            step: step % (size - 1) + 1,
            size,
            credit: 0,
        }
    }

    /// The next slot of the walk that nobody has. There is one.
    fn next_free<'t>(&mut self, table: &'t mut [Option<u32>]) -> &'t mut Option<u32> {
        loop {
            let at = self.at as usize;
            self.at = (self.at + self.step) % self.size;
            if table[at].is_none() {
                return &mut table[at];
            }
        }
    }
}

fn place_hash<A: Family>((address, port): &(A, u16), key: u64) -> u32 {
    let words = (0..A::WORDS).map(|i| u64::from(address.word(i)));
    finish(words.fold(mix(key, (*port).into()), mix))
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lb_common::{Ip4, Ip6};

    use super::*;

    /// So many pods of equal weight, by address; ids are as scattered as they get.
    fn pods(count: u8) -> Vec<Member<Ip4>> {
        let pod = |i| Member {
            place: (Ip4::new(10, 42, i % 7, i), 8_080),
            id: u32::from(i).wrapping_mul(40_503) + 1,
            weight: 1,
        };
        let mut pods: Vec<_> = (0..count).map(pod).collect();
        pods.sort_by_key(|pod| pod.place);
        pods
    }

    fn counts(slots: &[u32]) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for id in slots {
            *counts.entry(*id).or_default() += 1;
        }
        counts
    }

    #[test]
    fn sizes_are_primes() {
        for size in SIZES {
            let divisor = (2..size)
                .take_while(|i| i * i <= size)
                .find(|i| size % i == 0);
            assert_eq!(divisor, None, "{size}");
        }
    }

    /// The whole range of a pool's sizes, in both directions: whoever goes, the others stay.
    #[test]
    fn a_member_that_goes_moves_at_most_one_and_a_half_percent_of_the_others() {
        let all = pods(100);
        let before = table(&all);
        assert_eq!(before.len(), 16_381);
        for gone in 0..all.len() {
            let mut rest = all.clone();
            let gone = rest.remove(gone).id;
            let after = table(&rest);
            let pairs = before.iter().zip(&after);
            let others = pairs.filter(|(before, _)| **before != gone);
            let (kept, moved): (Vec<_>, Vec<_>) = others.partition(|(b, a)| b == a);
            let (kept, moved) = (kept.len(), moved.len());
            assert!(
                moved * 1_000 <= (kept + moved) * 15,
                "{gone}: {moved} of {kept}"
            );
        }
    }

    #[test]
    fn shares_are_even_to_some_percent() {
        for count in [2, 3, 10, 11, 40, 100] {
            let slots = table(&pods(count));
            let even = slots.len() / usize::from(count);
            for (id, share) in counts(&slots) {
                let off = share.abs_diff(even);
                assert!(
                    off * 50 < even,
                    "{count} members: {id} has {share} of {even}"
                );
            }
        }
    }

    #[test]
    fn ids_have_no_say() {
        let here = pods(10);
        let mut elsewhere = here.clone();
        for member in &mut elsewhere {
            member.id += 1_000;
        }
        let moved: Vec<u32> = table(&here).iter().map(|id| id + 1_000).collect();
        assert_eq!(table(&elsewhere), moved);
    }

    #[test]
    fn every_word_of_an_address_and_the_port_count() {
        let pod = |last, port| Member {
            place: (
                Ip6 {
                    octets: [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last],
                },
                port,
            ),
            id: 1,
            weight: 1,
        };
        let walks = [pod(1, 80), pod(2, 80), pod(1, 81)].map(|pod| {
            let Walk { at, step, .. } = Walk::new(&pod, 65_521);
            (at, step)
        });
        assert!(walks[0] != walks[1] && walks[0] != walks[2] && walks[1] != walks[2]);
    }

    #[test]
    fn weights_are_shares() {
        let mut members = pods(3);
        for (member, weight) in members.iter_mut().zip([10, 20, 70]) {
            member.weight = weight;
        }
        let [a, b, c] = [0, 1, 2].map(|i: usize| members[i].id);
        assert_eq!(list(&members), [vec![a], vec![b; 2], vec![c; 7]].concat());
        let slots = table(&members);
        let counts = counts(&slots);
        for (id, percent) in [(a, 10), (b, 20), (c, 70)] {
            let fair = slots.len() * percent / 100;
            let has = counts[&id];
            assert!(
                has.abs_diff(fair) * 100 < slots.len(),
                "{id}: {has} of {fair}"
            );
        }
    }

    #[test]
    fn one_member_needs_one_slot_and_none_none() {
        assert_eq!(table(&pods(1)).len(), 1);
        assert!(table(&pods(0)).is_empty() && list(&pods(0)).is_empty());
    }
}
