//! What do the kernel's helpers do for an interpreted program? What the programs here need of them, on
//! plain tables; each call is counted.

use anyhow::{Context as _, Result, bail, ensure};

use super::context::{self, Place};
use super::{Counts, State};

/// What marks a map's handle; no piece of memory is there.
const HANDLE: u64 = 0xffff << 48;

/// Where flags say of how many bytes a field is that changed; none, and the difference is given.
const SIZE: u64 = 0xf;
/// `BPF_F_MARK_MANGLED_0`: a UDP checksum, where zero means none.
const MARK_MANGLED: u64 = 0x20;
/// `TC_ACT_REDIRECT` and `XDP_REDIRECT`.
const REDIRECT: [u64; 2] = [7, 4];
/// `EINVAL`.
const EINVAL: i64 = -22;

/// A map, as a program names it.
pub(super) fn handle(fd: i32) -> u64 {
    HANDLE | u64::from(fd.cast_unsigned())
}

/// The name of a helper that any program here calls.
pub(super) fn name(number: u32) -> Option<&'static str> {
    Some(match number {
        1 => "map_lookup_elem",
        2 => "map_update_elem",
        3 => "map_delete_elem",
        11 => "l4_csum_replace",
        19 => "skb_vlan_pop",
        23 => "redirect",
        38 => "skb_change_tail",
        39 => "skb_pull_data",
        43 => "skb_change_head",
        44 => "xdp_adjust_head",
        46 => "get_socket_cookie",
        50 => "skb_adjust_room",
        65 => "xdp_adjust_tail",
        69 => "fib_lookup",
        85 => "sk_lookup_udp",
        86 => "sk_release",
        87 => "map_push_elem",
        88 => "map_pop_elem",
        99 => "skc_lookup_tcp",
        118 => "jiffies64",
        122 => "get_netns_cookie",
        152 => "redirect_neigh",
        187 => "set_retval",
        _ => return None,
    })
}

/// Calls a helper; what it returns.
pub(super) fn call(
    number: u32,
    registers: &[u64; 11],
    state: &mut State,
    counts: &mut Counts,
) -> Result<u64> {
    let name = name(number).with_context(|| format!("helper {number} is new here"))?;
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|i| registers[i]);
    // What takes no arguments finds anything in their registers.
    if name.starts_with("map_") {
        let called = ask(
            name,
            first & !HANDLE,
            [second, third, fourth],
            state,
            counts,
        );
        return called.with_context(|| name.to_owned());
    }
    *counts.helpers.entry(name).or_default() += 1;
    Ok(match name {
        "jiffies64" => state.jiffies,
        "get_socket_cookie" => 1,
        // The namespace is the node's, the initial one; no socket of this node is in the way.
        "get_netns_cookie" | "skc_lookup_tcp" | "sk_lookup_udp" | "skb_pull_data"
        | "set_retval" | "sk_release" | "skb_vlan_pop" => 0,
        "redirect" => REDIRECT[usize::from(state.place == Some(Place::Xdp))],
        "redirect_neigh" => REDIRECT[0],
        "fib_lookup" => {
            context::write_route(second, state)?;
            0
        }
        "l4_csum_replace" => replace_checksum([second, third, fourth, registers[5]], state)?,
        "skb_change_tail" => context::resize(first, second, state)?,
        "xdp_adjust_tail" => {
            let change = i64::from((second as u32).cast_signed());
            let length = context::length(first, state)?.wrapping_add_signed(change);
            context::resize(first, length, state)?
        }
        other => bail!("no path that is counted calls {other}: it is not written here yet"),
    })
}

/// A call about a map.
fn ask(
    name: &'static str,
    fd: u64,
    [second, third, fourth]: [u64; 3],
    state: &mut State,
    counts: &mut Counts,
) -> Result<u64> {
    let State { memory, tables, .. } = state;
    let table = tables
        .get_mut(usize::try_from(fd)?)
        .and_then(Option::as_mut)
        .context("no such map")?;
    let calls = counts.maps.entry(table.name.clone()).or_default();
    if name == "map_push_elem" {
        calls.pushes += 1;
        let pushed = table.push(memory.bytes(second, table.value_size)?, third);
        return Ok(pushed.cast_unsigned());
    }
    if name == "map_pop_elem" {
        calls.pops += 1;
        return Ok(match table.pop() {
            Ok(value) => {
                memory
                    .bytes_mut(second, value.len())?
                    .copy_from_slice(&value);
                0
            }
            Err(error) => error.cast_unsigned(),
        });
    }
    counts.hashed += table.hashed() as u32;
    let key = memory.bytes(second, table.key_size)?.to_vec();
    Ok(match name {
        "map_lookup_elem" => {
            calls.look_ups += 1;
            table.look_up(&key, memory)?
        }
        "map_update_elem" => {
            calls.updates += 1;
            let value = memory.bytes(third, table.value_size)?.to_vec();
            table.update(&key, &value, fourth, memory)?.cast_unsigned()
        }
        "map_delete_elem" => {
            calls.deletes += 1;
            table.delete(&key).cast_unsigned()
        }
        _ => bail!("it is about no map"),
    })
}

/// Changes a checksum in the packet by a difference of what it covers.
fn replace_checksum([offset, old, new, flags]: [u64; 4], state: &mut State) -> Result<u64> {
    ensure!(
        old == 0 && flags & SIZE == 0,
        "a checksum changed in a way that is new here"
    );
    let place = state.data + offset;
    let sum = state.memory.read(place, 2)?;
    let is_udp = flags & MARK_MANGLED != 0;
    if is_udp && sum == 0 {
        return Ok(0);
    }
    let mut changed = (!sum & 0xffff) + (new & 0xffff_ffff);
    while changed > 0xffff {
        changed = (changed & 0xffff) + (changed >> 16);
    }
    let changed = !changed & 0xffff;
    let changed = if is_udp && changed == 0 {
        0xffff
    } else {
        changed
    };
    state.memory.write(place, 2, changed)?;
    Ok(0)
}

/// What a helper says that takes no such thing.
pub(super) const REFUSED: u64 = EINVAL.cast_unsigned();
