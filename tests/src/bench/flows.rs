//! Which flows are in the maps before a batch, and which after it? Entered, counted and taken out
//! again by userspace.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use lb_common::Family as Addresses;
use lb_common::flow::{mirror, mirror_key};
use lb_common::layout::{Flow, FlowKey};
use lb_common::limits;
use lb_common::tcp;
use lb_userspace::tables::PerFamily;

use super::load::{Objects, Whose};
use super::subject::{Runs, Subject};
use super::world::{self, address, tcp_key};
use crate::datapath::maps::{Plain, drain, hash, put};
use crate::packet::Packet;
use crate::topology::Family;

/// Enters other clients' flows into both objects' maps, as many as there may be while none need go.
pub(super) fn enter_others<A: PerFamily>(objects: &mut Objects, family: Family) -> Result<()> {
    enter_strangers::<A>(&mut objects.ours, world::FLOWS, family)?;
    enter_strangers::<A>(&mut objects.floors, world::FLOWS, family)
}

/// Enters so many that each that begins needs the place of another: in the floors' table, where any
/// may go, all that there is room for; in ours, where these may not, as many as it may keep while
/// others begin.
pub(super) fn enter_too_many<A: PerFamily>(objects: &mut Objects, family: Family) -> Result<()> {
    const KEPT: u32 = limits::FLOWS / 2 - limits::EVICTABLE - SPARE;
    enter_strangers::<A>(&mut objects.ours, KEPT, family)?;
    enter_strangers::<A>(&mut objects.floors, limits::FLOWS / 2, family)
}

/// Flows of the timed packets, and what the kernel holds back per CPU.
const SPARE: u32 = 1_000;

fn enter_strangers<A: PerFamily>(ebpf: &mut Ebpf, count: u32, family: Family) -> Result<()> {
    put(ebpf, map::<A>(), world::strangers::<A>(count, family))
}

/// Enters for the floors the flow of this packet, as ours have it.
pub(super) fn enter_ours<A: PerFamily>(objects: &mut Objects, packet: &Packet) -> Result<()> {
    let flow = flow_of::<A>(&mut objects.ours, packet)?;
    put(
        &mut objects.floors,
        map::<A>(),
        [(key_of::<A>(packet)?, flow)],
    )
}

/// Enters connections with these packets into both objects' maps, each to one of the backends.
pub(super) fn enter_many<A: PerFamily>(
    objects: &mut Objects,
    packets: impl Iterator<Item = Packet>,
    backends: &[SocketAddr],
) -> Result<()> {
    let mut entries = Vec::new();
    for (packet, backend) in packets.zip(backends.iter().cycle()) {
        let key = key_of::<A>(&packet)?;
        let flow = Flow {
            state: tcp::SEEN | tcp::SYN | tcp::ACK,
            ..flow_to::<A>(&key, *backend)?
        };
        let reply = Flow {
            state: flow.state,
            ..mirror(&key, &flow)
        };
        entries.extend([(key, flow), (mirror_key(&key, &flow), reply)]);
    }
    put(&mut objects.ours, map::<A>(), entries.iter().copied())?;
    put(&mut objects.floors, map::<A>(), entries)
}

/// Ends in ours the connections with these packets.
pub(super) fn end_ours<A: PerFamily>(
    objects: &mut Objects,
    packets: impl Iterator<Item = Packet>,
) -> Result<()> {
    let mut flows = hash::<FlowKey<A>, Flow<A>>(&mut objects.ours, map::<A>())?;
    for packet in packets {
        let key = key_of::<A>(&packet)?;
        let Plain(flow) = flows.get(&Plain(key), 0)?;
        flows.remove(&Plain(mirror_key(&key, &flow)))?;
        flows.remove(&Plain(key))?;
    }
    Ok(())
}

/// Enters what the floors find there: the client's flow to a backend, and the one that those find
/// that insert, whatever packet they get.
pub(super) fn enter_known<A: PerFamily>(
    floors: &mut Ebpf,
    packet: &Packet,
    backend: SocketAddr,
) -> Result<()> {
    let key = key_of::<A>(packet)?;
    let flow = flow_to(&key, backend)?;
    // As in the floors' `straight.rs`.
    let of_anybody = FlowKey {
        source: key.destination,
        source_port: 0,
        ..key
    };
    put(floors, map::<A>(), [(key, flow), (of_anybody, flow)])
}

fn flow_to<A: Addresses>(key: &FlowKey<A>, backend: SocketAddr) -> Result<Flow<A>> {
    Ok(Flow {
        source: key.source,
        source_port: key.source_port,
        destination: address(backend.ip())?,
        destination_port: backend.port(),
        ..Flow::default()
    })
}

/// How many packets the flow of this packet has counted.
pub(super) fn packets_of<A: PerFamily>(ours: &mut Ebpf, packet: &Packet) -> Result<u64> {
    Ok(flow_of::<A>(ours, packet)?.packets)
}

/// Between whom the packet goes on.
pub(super) fn ends_of<A: PerFamily>(ours: &mut Ebpf, packet: &Packet) -> Result<[SocketAddr; 2]> {
    let flow = flow_of::<A>(ours, packet)?;
    Ok([
        SocketAddr::new(flow.source.to_ip(), flow.source_port),
        SocketAddr::new(flow.destination.to_ip(), flow.destination_port),
    ])
}

/// Checks that others took the place of the flow of this packet.
pub(super) fn must_be_gone<A: PerFamily>(ebpf: &mut Ebpf, packet: &Packet) -> Result<()> {
    let flow = flow_of::<A>(ebpf, packet);
    ensure!(flow.is_err(), "the table has room: {flow:?} is still there");
    Ok(())
}

fn flow_of<A: PerFamily>(ours: &mut Ebpf, packet: &Packet) -> Result<Flow<A>> {
    let key = key_of::<A>(packet)?;
    let flows = hash::<FlowKey<A>, Flow<A>>(ours, map::<A>())?;
    let Plain(flow) = flows
        .get(&Plain(key), 0)
        .with_context(|| format!("no flow {key:?}"))?;
    Ok(flow)
}

/// Checks that a batch entered its flows in both directions, and makes room for the next.
///
/// # Errors
/// An entry is missing, or counted more than its one packet.
pub(super) fn settle<A: PerFamily>(
    objects: &mut Objects,
    subject: &Subject,
    batch: u32,
) -> Result<()> {
    let runs = subject.runs.per_batch();
    let (ebpf, packets) = match subject.whose {
        Whose::Ours => (&mut objects.ours, 1),
        Whose::Floors => (&mut objects.floors, 0),
    };
    let mut flows = hash::<FlowKey<A>, Flow<A>>(ebpf, map::<A>())?;
    // Where the table is full the earlier ones may have been evicted already.
    let first = match subject.runs {
        Runs::Same | Runs::ManyFlows(_) => return Ok(()),
        Runs::NewPort => 0,
        Runs::NewClient => runs - 1,
    };
    for run in first..runs {
        let key = key_of::<A>(&subject.packet_of(batch, run))?;
        let missing = || format!("{}: run {run} entered no {key:?}", subject.program);
        let Plain(flow) = flows.get(&Plain(key), 0).with_context(missing)?;
        ensure!(
            flow.packets == packets,
            "{}: {flow:?} counts {} packets",
            subject.program,
            flow.packets
        );
        let (reply_key, reply) = (mirror_key(&key, &flow), mirror(&key, &flow));
        let Plain(found) = flows.get(&Plain(reply_key), 0).with_context(missing)?;
        ensure!(
            (found.source, found.destination) == (reply.source, reply.destination),
            "{}: the reply's entry is {found:?}",
            subject.program
        );
        if subject.runs == Runs::NewPort {
            flows.remove(&Plain(reply_key))?;
            flows.remove(&Plain(key))?;
        }
    }
    if subject.runs == Runs::NewPort && subject.whose == Whose::Ours {
        // The next batch's flows have the same keys: these would be met there, and end them.
        drain::<A>(&mut objects.ours)?;
    }
    Ok(())
}

fn key_of<A: Addresses>(packet: &Packet) -> Result<FlowKey<A>> {
    let end = |socket: SocketAddr| anyhow::Ok((address(socket.ip())?, socket.port()));
    Ok(tcp_key(end(packet.source)?, end(packet.destination)?))
}

const fn map<A: PerFamily>() -> &'static str {
    if A::WORDS == 1 { "flows4" } else { "flows6" }
}
