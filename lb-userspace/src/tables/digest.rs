//! Are two tables the same, where only one of them is at hand? By their sums, map by map.

use std::collections::BTreeMap;

use bytemuck::Pod;
use lb_common::addr::{Ip4, Ip6};
use serde::{Deserialize, Serialize};

use super::{PerFamily, Tables};

/// What a map holds, in two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// How many elements.
    pub elements: usize,
    /// Sum of them all, in their order (FNV-1a): against accidents, not against forgers.
    pub sum: u64,
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl Digest {
    /// Of a map that is none of the tables'.
    pub fn of_elements<'m, K: Pod, V: Pod>(elements: impl Iterator<Item = (&'m K, &'m V)>) -> Self {
        Self::of(elements)
    }

    fn of<P: Parts>(elements: impl Iterator<Item = P>) -> Self {
        let mut digest = Self {
            elements: 0,
            sum: FNV_OFFSET,
        };
        for element in elements {
            digest.elements += 1;
            element.add_to(&mut digest);
        }
        digest
    }

    fn add(&mut self, part: &impl Pod) {
        for byte in bytemuck::bytes_of(part) {
            self.sum = (self.sum ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }
}

/// An element of a map.
trait Parts {
    fn add_to(&self, digest: &mut Digest);
}

/// A key and its value.
impl<K: Pod, V: Pod> Parts for (&K, &V) {
    fn add_to(&self, digest: &mut Digest) {
        digest.add(self.0);
        digest.add(self.1);
    }
}

/// A key, of a map whose values say nothing.
impl<K: Pod> Parts for &K {
    fn add_to(&self, digest: &mut Digest) {
        digest.add(*self);
    }
}

impl Tables {
    /// What each map holds.
    #[must_use]
    pub fn digests(&self) -> BTreeMap<String, Digest> {
        let mut digests = BTreeMap::from([
            ("config", Digest::of([&self.config].into_iter())),
            (
                "services",
                Digest::of(self.services.iter().map(|(id, name)| (id, &**name))),
            ),
            ("slots", Digest::of(self.slots.iter())),
        ]);
        digests.extend(of_family::<Ip4>(self));
        digests.extend(of_family::<Ip6>(self));
        let named = digests.into_iter();
        named
            .map(|(map, digest)| (map.to_owned(), digest))
            .collect()
    }
}

fn of_family<A: PerFamily + Pod>(tables: &Tables) -> [(&'static str, Digest); 5] {
    let rows = A::of(tables);
    [
        (A::MAPS.frontends, Digest::of(rows.frontends.iter())),
        (A::MAPS.info, Digest::of(rows.info.iter())),
        (A::MAPS.backends, Digest::of(rows.backends.iter())),
        (A::MAPS.ranges, Digest::of(rows.ranges.iter())),
        (A::MAPS.nodes, Digest::of(rows.nodes.iter())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_of_an_element_changes_the_sum_of_its_map_alone() {
        let mut tables = Tables::default();
        tables.slots.extend([(0, 7), (1, 8)]);
        let before = tables.digests();
        assert_eq!(before["slots"].elements, 2);
        for (index, backend) in [(0, 8), (2, 8), (1, 7)] {
            let mut other = tables.clone();
            other.slots.insert(index, backend);
            let after = other.digests();
            for (map, digest) in &after {
                assert_eq!(before[map] == *digest, map != "slots", "{map}");
            }
        }
        assert_eq!(tables.clone().digests(), before);
    }
}
