//! What has happened before a packet is timed? Connections began, and the table has filled.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use lb_common::drops::Hook;
use lb_common::{Ip4, Ip6, limits};
use lb_userspace::tables::PerFamily;

use super::case::{Entrance, Transit};
use super::load::{Objects, program};
use super::subject::{Flows, Outcome, Runs, Subject};
use super::{flows, measure, stage, world};
use crate::packet::{ACK, Packet, SYN};
use crate::topology::Family;

/// Lets a connection begin by its handshake, so that it has its place in the flow table for good, and
/// tells which backend it got.
pub(super) fn begin(objects: &Objects, entrance: &Entrance) -> Result<SocketAddr> {
    let packet = entrance.first_packet();
    let backends = world::backends(Family::of(entrance.client.ip()));
    let bytes = run(objects, entrance.program, &packet)?;
    let is_to = |backend: &&SocketAddr| packet.between(packet.source, **backend).bytes() == bytes;
    let found = backends.iter().copied().find(|backend| is_to(&backend));
    let backend = found.with_context(|| {
        format!(
            "{}: a connection to {} began with none of its backends",
            entrance.program, entrance.frontend
        )
    })?;
    let reply = Packet::tcp(backend, entrance.client, SYN | ACK);
    run(objects, entrance.way_back(), &reply)?;
    run(objects, entrance.program, &entrance.packet())?;
    Ok(backend)
}

/// As `begin`, of a connection whose backend is on another node, for the floors too, and tells how it
/// goes through. Its replies come in as its packets do.
pub(super) fn begin_transit<A: PerFamily>(
    objects: &mut Objects,
    entrance: &Entrance,
) -> Result<Transit> {
    let packet = entrance.first_packet();
    run(objects, entrance.program, &packet)?;
    let [source, backend] = flows::ends_of::<A>(&mut objects.ours, &packet)?;
    let reply = Packet::tcp(backend, source, SYN | ACK);
    for packet in [reply, entrance.packet()] {
        run(objects, entrance.program, &packet)?;
    }
    flows::enter_ours::<A>(objects, &packet)?;
    Ok(Transit { source, backend })
}

/// Runs one of our programs once; the packet that it leaves.
fn run(objects: &Objects, name: &str, packet: &Packet) -> Result<Vec<u8>> {
    let (_, bytes) = stage::run(program(&objects.ours, name)?, &packet.bytes(), 1)?;
    Ok(bytes)
}

/// Packets of many connections.
pub(super) fn many(family: Family, flows: Flows) -> Subject {
    let entrance = Entrance::many(Hook::Xdp, family);
    entrance.subject(
        Outcome::ToOneOf(world::backends(family)),
        Runs::ManyFlows(flows),
    )
}

/// Has the program run until what ends for each flow that begins is one that it began itself: our queue
/// of flows that may go has only those, and is empty before.
pub(super) fn fill(objects: &mut Objects, subject: &Subject, rounds: u32) -> Result<()> {
    let batches = limits::FLOWS / 2 / subject.runs.per_batch() + 1;
    for batch in rounds + 1..=rounds + batches {
        measure(objects, subject, batch)?;
    }
    let first = subject.packet_of(rounds + 1, 0);
    match (&subject.outcome, Family::of(first.source.ip())) {
        (Outcome::Untouched, _) => Ok(()),
        (_, Family::V4) => flows::must_be_gone::<Ip4>(objects.of_mut(subject.whose), &first),
        (_, Family::V6) => flows::must_be_gone::<Ip6>(objects.of_mut(subject.whose), &first),
    }
}
