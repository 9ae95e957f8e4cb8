//! How are elements of a map written, as many as there are by one call?

use bytemuck::Pod;

use super::{failed, not_updated};
use crate::bpf::Map;
use crate::dataplane::Halt;

/// What becomes of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write<K, V> {
    /// It has this value, whether it was there or not.
    Update(K, V),
    /// It is not there; absent is fine.
    Delete(K),
}

impl<V: Pod> Write<u32, V> {
    /// An element of an array, which becomes zero.
    pub(super) fn clear(index: u32) -> Self {
        Self::Update(index, V::zeroed())
    }
}

/// Writes in this order: runs of updates and runs of deletes.
pub(super) fn write<K: Pod, V: Pod>(
    map: &Map<K, V>,
    name: &str,
    writes: &[Write<K, V>],
) -> Result<(), Halt> {
    let is_update = |write: &_| matches!(write, Write::Update(..));
    let mut done = 0;
    for run in writes.chunk_by(|one, next| is_update(one) == is_update(next)) {
        let (keys, values): (Vec<K>, Vec<V>) = run
            .iter()
            .map(|write| match write {
                Write::Update(key, value) => (*key, *value),
                Write::Delete(key) => (*key, V::zeroed()),
            })
            .unzip();
        let outcome = if is_update(&run[0]) {
            let outcome = map.update_all(&keys, &values);
            outcome.map_err(|(at, error)| (at, not_updated(map, name)(error)))
        } else {
            let outcome = map.delete_all(&keys);
            outcome.map_err(|(at, error)| (at, failed(name, "delete")(error)))
        };
        outcome.map_err(|(at, error)| Halt {
            done: done + at,
            error,
        })?;
        done += run.len();
    }
    Ok(())
}
