//! How do tests read and write the programs' maps? As the layout's own types.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, Queue, lpm_trie};
use bytemuck::{Pod, Zeroable};
use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::drops::{self, DropReason, Hook};
use lb_common::layout::{Flow, FlowKey, Link, RangeKey, Sieve, SieveFrame};
use lb_userspace::bpf::Words;
use lb_userspace::tables::{PerFamily, Tables, sieve};

/// A value of the layout, as aya takes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Plain<T>(pub(crate) T);

// SAFETY: `repr(transparent)` over a type that bytemuck knows to be plain bytes.
unsafe impl<T: Pod> aya::Pod for Plain<T> {}

/// Which counters of map `drops` are not zero, by `hook reason`.
pub type Drops = BTreeMap<String, u64>;

/// Maps that hold what programs wrote: emptied between rows, of whatever type the key is.
const STATE: [&str; 5] = ["flows", "snat", "affinity", "sockets", "fragments"];

/// A hash map that the programs share with userspace.
pub(crate) type Hash<'b, K, V> = HashMap<&'b mut MapData, Plain<K>, Plain<V>>;

/// The hash map of this name.
pub(crate) fn hash<'b, K: Pod, V: Pod>(bpf: &'b mut Ebpf, name: &str) -> Result<Hash<'b, K, V>> {
    let map = bpf.map_mut(name).with_context(|| missing(name))?;
    HashMap::try_from(map).with_context(|| format!("map {name}"))
}

/// What is said where there is none.
pub(crate) fn missing(name: &str) -> String {
    format!("the object has no map {name}: build it again with `cargo xtask build-ebpf`")
}

/// Enters all of these.
pub(crate) fn put<K: Pod, V: Pod>(
    bpf: &mut Ebpf,
    name: &str,
    entries: impl IntoIterator<Item = (K, V)>,
) -> Result<()> {
    let mut map = hash(bpf, name)?;
    for (key, value) in entries {
        map.insert(Plain(key), Plain(value), 0)
            .with_context(|| format!("map {name}"))?;
    }
    Ok(())
}

/// Sets all of these.
pub(crate) fn put_array<V: Pod>(
    bpf: &mut Ebpf,
    name: &str,
    entries: impl IntoIterator<Item = (u32, V)>,
) -> Result<()> {
    let map = bpf.map_mut(name).with_context(|| missing(name))?;
    let mut map: Array<_, Plain<V>> =
        Array::try_from(map).with_context(|| format!("map {name}"))?;
    for (index, value) in entries {
        map.set(index, Plain(value), 0)
            .with_context(|| format!("map {name}, index {index}"))?;
    }
    Ok(())
}

/// One element of an array.
pub(crate) fn element<V: Pod>(bpf: &mut Ebpf, name: &str, index: u32) -> Result<V> {
    let map = bpf.map_mut(name).with_context(|| missing(name))?;
    let map: Array<_, Plain<V>> = Array::try_from(map).with_context(|| format!("map {name}"))?;
    let element = map.get(&index, 0);
    Ok(element
        .with_context(|| format!("map {name}, index {index}"))?
        .0)
}

/// Writes all tables.
pub(crate) fn write(bpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    put_array(bpf, "config", [(0, tables.config)])?;
    put(
        bpf,
        "services",
        tables.services.iter().map(|(k, v)| (*k, **v)),
    )?;
    put_array(bpf, "slots", tables.slots.iter().map(|(k, v)| (*k, *v)))?;
    write_family::<Ip4>(bpf, tables)?;
    write_family::<Ip6>(bpf, tables)
}

fn write_family<A: PerFamily>(bpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    let (names, family) = (A::MAPS, A::of(tables));
    put(
        bpf,
        names.nodes,
        family.nodes.iter().map(|address| (*address, 1_u32)),
    )?;
    put_array(
        bpf,
        names.backends,
        family.backends.iter().map(|(k, v)| (*k, *v)),
    )?;
    put_array(bpf, names.info, family.info.iter().map(|(k, v)| (*k, *v)))?;
    put(
        bpf,
        names.frontends,
        family.frontends.iter().map(|(k, v)| (*k, *v)),
    )?;
    let map = bpf
        .map_mut(names.ranges)
        .with_context(|| missing(names.ranges))?;
    let mut ranges: LpmTrie<_, Plain<RangeData<A>>, u32> = LpmTrie::try_from(map)?;
    for range in &family.ranges {
        ranges.insert(&range_key(range), 1, 0)?;
    }
    Ok(())
}

/// Takes back what [`write`] wrote.
pub(super) fn erase(bpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    let zero = Zeroable::zeroed;
    put_array::<lb_common::layout::Config>(bpf, "config", [(0, zero())])?;
    remove(
        bpf,
        "services",
        tables.services.iter().map(|(id, name)| (*id, **name)),
    )?;
    put_array(
        bpf,
        "slots",
        tables.slots.keys().map(|index| (*index, 0_u32)),
    )?;
    erase_family::<Ip4>(bpf, tables)?;
    erase_family::<Ip6>(bpf, tables)
}

fn erase_family<A: PerFamily>(bpf: &mut Ebpf, tables: &Tables) -> Result<()> {
    let (names, family) = (A::MAPS, A::of(tables));
    remove(
        bpf,
        names.frontends,
        family.frontends.iter().map(|(k, v)| (*k, *v)),
    )?;
    let infos = family
        .info
        .keys()
        .map(|index| (*index, lb_common::layout::FrontendInfo::<A>::zeroed()));
    put_array(bpf, names.info, infos)?;
    let backends = family
        .backends
        .keys()
        .map(|id| (*id, lb_common::layout::Backend::<A>::zeroed()));
    put_array(bpf, names.backends, backends)?;
    remove(
        bpf,
        names.nodes,
        family.nodes.iter().map(|address| (*address, 1_u32)),
    )?;
    let map = bpf
        .map_mut(names.ranges)
        .with_context(|| missing(names.ranges))?;
    let mut ranges: LpmTrie<_, Plain<RangeData<A>>, u32> = LpmTrie::try_from(map)?;
    for range in &family.ranges {
        ranges.remove(&range_key(range))?;
    }
    Ok(())
}

/// The values only say what type the map has.
fn remove<K: Pod, V: Pod>(
    bpf: &mut Ebpf,
    name: &str,
    entries: impl IntoIterator<Item = (K, V)>,
) -> Result<()> {
    let mut map = hash::<K, V>(bpf, name)?;
    for (key, _) in entries {
        map.remove(&Plain(key))
            .with_context(|| format!("map {name}"))?;
    }
    Ok(())
}

/// The longest-prefix key without its length, which aya keeps apart.
#[derive(Clone, Copy)]
#[repr(C)]
struct RangeData<A> {
    service_port: u32,
    network: A,
}

// SAFETY: `repr(C)`, addresses are aligned to 4 bytes or less: there is no padding.
unsafe impl<A: Family> Zeroable for RangeData<A> {}
// SAFETY: as above.
unsafe impl<A: Family> Pod for RangeData<A> {}

fn range_key<A: Family>(range: &RangeKey<A>) -> lpm_trie::Key<Plain<RangeData<A>>> {
    let RangeKey {
        prefix_length,
        service_port,
        network,
    } = *range;
    lpm_trie::Key::new(
        prefix_length,
        Plain(RangeData {
            service_port,
            network,
        }),
    )
}

/// From now on packets pass unread that cannot concern these tables and links.
pub(crate) fn write_sieves(bpf: &Ebpf, tables: &Tables, links: &[Link]) -> Result<()> {
    write_sieve::<Ip4>(bpf, tables, links)?;
    write_sieve::<Ip6>(bpf, tables, links)
}

fn write_sieve<A: PerFamily>(bpf: &Ebpf, tables: &Tables, links: &[Link]) -> Result<()> {
    let sieve = sieve::sieve::<A>(tables, links);
    let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(&*sieve));
    for (there, word) in sieve_words::<A>(bpf)?.all().iter().zip(words) {
        if there.load(Relaxed) != *word {
            there.store(*word, Relaxed);
        }
    }
    Ok(())
}

fn sieve_words<A: PerFamily>(bpf: &Ebpf) -> Result<Words> {
    let Some(Map::Array(map)) = bpf.map(A::SIEVE) else {
        bail!(missing(A::SIEVE));
    };
    let words = size_of::<Sieve<A>>() / size_of::<u64>();
    Ok(Words::of(map.fd().as_fd().try_clone_to_owned()?, words)?)
}

/// Says what transit needs to know of a link.
pub(super) fn set_link(bpf: &mut Ebpf, ifindex: u32, link: Link) -> Result<()> {
    put(bpf, "links", [(ifindex, link)])
}

/// The flow entries, in no order.
pub(super) fn flows<A: Family>(bpf: &mut Ebpf) -> Result<Vec<(FlowKey<A>, Flow<A>)>> {
    let map = hash::<FlowKey<A>, Flow<A>>(bpf, &format!("flows{}", digit::<A>()))?;
    let entries = map
        .iter()
        .map(|entry| entry.map(|(key, flow)| (key.0, flow.0)));
    Ok(entries.collect::<Result<_, MapError>>()?)
}

/// Changes every flow entry; packets for which it has to be found then are let through to it.
pub(super) fn change_flows<A: PerFamily>(
    bpf: &mut Ebpf,
    frame: SieveFrame<A>,
    change: impl Fn(&mut Flow<A>),
) -> Result<()> {
    let mut flows = flows::<A>(bpf)?;
    let sieve = sieve_words::<A>(bpf)?;
    let marks = &sieve.all()[offset_of!(Sieve<A>, marks) / size_of::<u64>()..];
    for (key, flow) in &mut flows {
        change(flow);
        for spot in sieve::spots_of_flow(frame, key, flow) {
            marks[spot / 64].fetch_or(1 << (spot % 64), Relaxed);
        }
    }
    put(bpf, &format!("flows{}", digit::<A>()), flows)
}

fn digit<A: Family>() -> char {
    if A::WORDS == 1 { '4' } else { '6' }
}

/// Empties everything that programs write.
pub(super) fn forget(bpf: &mut Ebpf) -> Result<()> {
    use lb_common::layout::{
        Affinity, AffinityKey, FragmentInfo, FragmentKey, Reservation, SocketFlow, SocketKey,
    };
    fn family<A: Family>(bpf: &mut Ebpf) -> Result<()> {
        let [flows, snat, affinity, sockets, fragments] =
            STATE.map(|map| format!("{map}{}", digit::<A>()));
        empty::<FlowKey<A>, Flow<A>>(bpf, &flows)?;
        drain::<A>(bpf)?;
        empty::<FlowKey<A>, Reservation<A>>(bpf, &snat)?;
        empty::<AffinityKey<A>, Affinity>(bpf, &affinity)?;
        empty::<SocketKey<A>, SocketFlow<A>>(bpf, &sockets)?;
        empty::<FragmentKey<A>, FragmentInfo>(bpf, &fragments)
    }
    family::<Ip4>(bpf)?;
    family::<Ip6>(bpf)?;
    empty::<u32, Link>(bpf, "links")?;
    let map = bpf.map_mut("drops").with_context(|| missing("drops"))?;
    let mut drops: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
    for index in 0..drops::COUNTERS {
        drops.set(index, aya::maps::PerCpuValues::try_from(vec![0; cpus])?, 0)?;
    }
    // How many answers were sent since when: two halves of a word.
    let map = bpf.map_mut("answers").with_context(|| missing("answers"))?;
    let mut answers: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
    for index in 0..answers.len() {
        answers.set(index, aya::maps::PerCpuValues::try_from(vec![0; cpus])?, 0)?;
    }
    Ok(())
}

fn empty<K: Pod, V: Pod>(bpf: &mut Ebpf, name: &str) -> Result<()> {
    let mut map = hash::<K, V>(bpf, name)?;
    let keys: Vec<_> = map.keys().collect::<Result<_, MapError>>()?;
    for key in keys {
        map.remove(&key).with_context(|| format!("map {name}"))?;
    }
    Ok(())
}

/// Empties the queue of flows that may go.
pub(crate) fn drain<A: Family>(bpf: &mut Ebpf) -> Result<()> {
    let name = format!("evictable{}", digit::<A>());
    let map = bpf.map_mut(&name).with_context(|| missing(&name))?;
    let mut queue: Queue<_, Plain<FlowKey<A>>> = Queue::try_from(map)?;
    while queue.pop(0).is_ok() {}
    Ok(())
}

/// The counters that moved since [`forget`].
pub(super) fn drops(bpf: &mut Ebpf) -> Result<Drops> {
    let map = bpf.map_mut("drops").with_context(|| missing("drops"))?;
    let map: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
    let mut counts = Drops::new();
    for hook in Hook::ALL {
        for reason in DropReason::ALL {
            let count = map.get(&drops::counter(*hook, *reason), 0)?.iter().sum();
            if count > 0 {
                counts.insert(format!("{} {}", hook.name(), reason.name()), count);
            }
        }
    }
    Ok(counts)
}
