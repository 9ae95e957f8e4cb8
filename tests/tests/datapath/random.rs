//! Packets that nobody thought of: what is not ours stays as it is, what is translated comes back,
//! and no checksum becomes right or wrong on the way. From fixed seeds, so that what fails once
//! fails again; the seed is part of what is said then.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_common::layout::{FLOW_OUTSIDE, FLOW_SNAT};
use lb_tests::datapath::{
    At, Bench, Code, Endpoint, Fate, Fixture, FlowPair, Kernel, PROGRAMS, Row, SNAT_PORT, Service,
    Toward,
};
use lb_tests::packet::{Body, Extension, Packet};
use lb_tests::random::Random;
use lb_tests::topology::{Cluster, Family, UPLINK, on};

use super::cases::{CLIENT, Case, SERVER, SPARE, all, row};

/// How many of each are tried: about a second's worth.
const FLOWS: usize = 150;
const FOREIGN: usize = 2_000;
const DAMAGED: usize = 6_000;

/// Where an Ethernet header ends.
const IP: usize = 14;

fn kubia(case: Case, endpoint: Endpoint) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]))
}

/// Options or extension headers, now and then.
fn dressed(random: &mut Random, packet: Packet) -> Packet {
    if !random.once_in(3) {
        return packet;
    }
    if packet.source.is_ipv4() {
        let words = 1 + random.below(10);
        return packet.with_options(&vec![1; 4 * words]);
    }
    let count = 1 + random.below(4);
    let extensions: Vec<_> = (0..count)
        .map(|_| match random.below(3) {
            0 => Extension::routing(0),
            1 => Extension::padding(Extension::HOP_BY_HOP, 8 * (1 + random.below(8))),
            _ => Extension::padding(Extension::DESTINATION_OPTIONS, 8 * (1 + random.below(8))),
        })
        .collect();
    packet.with_extensions(&extensions)
}

/// A flow of random ports, sizes and headers, there and back, three times.
fn round_trip(random: &mut Random, case: Case, seed: usize) -> Row {
    let is_outside = random.once_in(2);
    let is_far = random.once_in(2);
    let endpoint = if is_far {
        Endpoint::elsewhere(case.far_server())
    } else {
        Endpoint::here(case.server())
    };
    let backend = if is_far {
        case.far_server()
    } else {
        case.server()
    };
    let mut client = if is_outside {
        case.outside()
    } else {
        case.client()
    };
    client.set_port(1 + random.below(65_535) as u16);
    let transit = is_outside && is_far;
    let source = if transit {
        case.node(SNAT_PORT)
    } else {
        client
    };
    let (there, back) = match (is_outside, is_far) {
        (true, true) => (At::FromUplink, At::FromUplink),
        (true, false) => (At::FromUplink, At::ToUplink),
        (false, _) => (At::FromPod(CLIENT), At::ToPod(CLIENT)),
    };
    let mut steps = Vec::new();
    for turn in 0..3 {
        let most = if random.once_in(4) { 3_000 } else { 1_000 };
        let payload = random.below(most);
        let payload = random.bytes(payload);
        let opening = turn == 0 && case.is_tcp();
        let ask = if opening {
            case.first(client, case.vip())
        } else {
            case.later(client, case.vip()).with_payload(&payload)
        };
        let answer = case
            .reply(backend, source)
            .with_payload(if opening { b"" } else { &payload });
        for (at, packet, turned, toward) in [
            (
                there,
                ask.clone(),
                ask.between(source, backend),
                Toward::Elsewhere,
            ),
            (
                back,
                answer.clone(),
                answer.between(case.vip(), client),
                Toward::Router,
            ),
        ] {
            // What is longer than a link takes travels in fragments.
            let (packet, turned) = if packet.bytes().len() > 1_300 {
                (packet, turned)
            } else {
                let mut again = random.clone();
                (dressed(random, packet), dressed(&mut again, turned))
            };
            let fate = |packet: Packet| {
                if transit {
                    Fate::Sent(packet.with_ttl(63), toward)
                } else {
                    Fate::Becomes(packet)
                }
            };
            if packet.bytes().len() > 1_300 && packet.options.is_empty() {
                let size = 8 * (8 + random.below(100));
                let id = random.number() as u16;
                let parts = packet.in_fragments(id, size).into_iter();
                let parts = parts.zip(turned.in_fragments(id, size));
                steps.extend(parts.map(|(part, turned)| (at, part, fate(turned))));
            } else {
                steps.push((at, packet, fate(turned)));
            }
        }
    }
    let flags = match (is_outside, transit) {
        (_, true) => FLOW_OUTSIDE | FLOW_SNAT,
        (true, false) => FLOW_OUTSIDE,
        (false, _) => 0,
    };
    Row {
        steps,
        flows: vec![FlowPair {
            source,
            ..case.flow(client, backend, flags)
        }],
        ..row(
            &format!("{} {}, seed {seed}", case.family, case.protocol),
            kubia(case, endpoint),
        )
    }
}

/// What is answered comes back as if the frontend had answered.
#[test]
fn random_flows_come_back() {
    on(Cluster::routed_veth, |cluster| {
        let mut bench = Bench::new(cluster, &[CLIENT, SERVER, SPARE])?;
        let rows: Vec<_> = (1..=FLOWS)
            .map(|seed| {
                let mut random = Random::new(seed as u64);
                let case = random.one_of(&all());
                round_trip(&mut random, case, seed)
            })
            .collect();
        bench.check(&rows)
    });
}

/// Runs a test with the programs in the kernel of a node, and a Service of each kind of case whose
/// flow has begun: there are entries to meet.
fn with_flows(test: impl FnOnce(&mut Kernel, u32) -> Result<()> + Send) {
    on(Cluster::routed_veth, |cluster| {
        cluster.here().pod_at(CLIENT, "client")?;
        cluster.here().place().netns().run(|| {
            let mut kernel = Kernel::load()?;
            kernel.attach_xdp(UPLINK)?;
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            let mut fixture = Fixture::new();
            for case in all() {
                let endpoint = Endpoint::here(case.server());
                fixture =
                    fixture.with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]));
            }
            kernel.reset(&fixture.tables)?;
            for case in all() {
                let packet = case.first(case.outside(), case.vip());
                let run = kernel.run("tc_uplink_in", uplink, &packet.bytes())?;
                ensure!(run.code == Code::Next && run.bytes != packet.bytes());
            }
            test(&mut kernel, uplink)
        })
    });
}

/// An address that no Service has, nor is of their range.
fn foreign_address(random: &mut Random, case: Case) -> IpAddr {
    match random.below(5) {
        0 => case.node_address(),
        1 => case.server().ip(),
        2 => case.client().ip(),
        3 => case.outside().ip(),
        _ => {
            let world = random.number();
            match case.family {
                Family::V4 => IpAddr::from([192, 0, (world >> 8) as u8, world as u8]),
                Family::V6 => IpAddr::from([
                    0x2001,
                    0xdb8,
                    (world >> 48) as u16,
                    (world >> 32) as u16,
                    0,
                    0,
                    (world >> 16) as u16,
                    world as u16,
                ]),
            }
        }
    }
}

/// Ports below those of the flows that are there, so that none of these packets is of one.
fn foreign_packet(random: &mut Random) -> Packet {
    let case = random.one_of(&all());
    let mut socket = || {
        let port = random.below(8_000) as u16;
        SocketAddr::new(foreign_address(random, case), port)
    };
    let (source, destination) = (socket(), socket());
    let count = random.below(1_200);
    let payload = random.bytes(count);
    let body = match random.below(4) {
        0 => Body::Raw {
            protocol: random.number() as u8,
            bytes: payload.clone(),
        },
        1 => Body::Udp {
            payload: payload.clone(),
            has_checksum: random.once_in(2),
        },
        _ => case.later(source, destination).with_payload(&payload).body,
    };
    let packet = dressed(random, Packet::new(source, destination, body));
    if random.once_in(4) {
        let (id, offset) = (random.number() as u16, 8 * random.below(200) as u16);
        return packet.fragment(id, offset, random.once_in(2));
    }
    packet
}

#[test]
fn foreign_packets_stay_as_they_are() {
    with_flows(|kernel, uplink| {
        for seed in 1..=FOREIGN {
            let mut random = Random::new(seed as u64);
            let mut bytes = foreign_packet(&mut random).bytes();
            if random.once_in(3) {
                // Whatever stands behind the addresses.
                let first = IP + 40;
                if bytes.len() > first {
                    let at = first + random.below(bytes.len() - first);
                    bytes[at] ^= 1 << random.below(8);
                }
            }
            if random.once_in(5) {
                bytes.truncate((IP + 40).max(random.below(bytes.len())));
            }
            for program in PROGRAMS {
                let run = kernel.run(program, uplink, &bytes)?;
                ensure!(
                    run.code == Code::Next && run.bytes == bytes,
                    "seed {seed}, {program}: {:?}\n{bytes:02x?}\nbecame\n{:02x?}",
                    run.code,
                    run.bytes
                );
            }
        }
        Ok(())
    });
}

/// A packet of ours with some of its bytes changed, or cut.
fn damaged_packet(random: &mut Random) -> Vec<u8> {
    let case = random.one_of(&all());
    let (from, to) = random.one_of(&[
        (case.outside(), case.vip()),
        (case.client(), case.vip()),
        (case.server(), case.outside()),
    ]);
    let packet = random.one_of(&[case.first(from, to), case.later(from, to)]);
    let packet = dressed(random, packet);
    let mut bytes = packet.bytes();
    for _ in 0..=random.below(3) {
        let at = 12 + random.below(bytes.len() - 12);
        bytes[at] = random.number() as u8;
    }
    if random.once_in(8) {
        let least = IP + if from.is_ipv4() { 20 } else { 40 };
        bytes.truncate(least.max(random.below(bytes.len())));
    }
    bytes
}

/// Sum of all words from here on, as a number in one's complement, where zero is written as 0xffff
/// as well.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes
        .chunks(2)
        .map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u64::from(low)));
    words.sum::<u64>() % 0xffff
}

/// Where the transport header is, and its protocol; none in a later fragment. As plainly as
/// possible: of packets that a program changed, so they are sound.
fn transport(bytes: &[u8]) -> Option<(usize, u8)> {
    if bytes[IP] >> 4 == 4 {
        let offset = u16::from_be_bytes([bytes[IP + 6], bytes[IP + 7]]) & 0x1fff;
        let header = usize::from(bytes[IP] & 15) * 4;
        return (offset == 0).then_some((IP + header, bytes[IP + 9]));
    }
    let (mut next, mut at) = (bytes[IP + 6], IP + 40);
    loop {
        match next {
            44 if bytes[at + 2] != 0 || bytes[at + 3] & 0xf8 != 0 => return None,
            44 => (next, at) = (bytes[at], at + 8),
            0 | 43 | 60 => (next, at) = (bytes[at], at + 8 * (usize::from(bytes[at + 1]) + 1)),
            _ => return Some((at, next)),
        }
    }
}

/// Whatever was wrong with a sum is as wrong as before, and what was right is right.
fn keeps_its_sums(before: &[u8], after: &[u8]) -> Result<()> {
    ensure!(before.len() == after.len(), "another length");
    let (addresses, header_ends) = if before[IP] >> 4 == 4 {
        let header = usize::from(before[IP] & 15) * 4;
        ensure!(
            sum(&before[IP..IP + header]) == sum(&after[IP..IP + header]),
            "the header checksum"
        );
        (IP + 12..IP + 20, IP + header)
    } else {
        (IP + 8..IP + 40, IP + 40)
    };
    let Some((at, protocol)) = transport(before) else {
        ensure!(before[header_ends..] == after[header_ends..], "its content");
        return Ok(());
    };
    ensure!(before[addresses.end..at] == after[addresses.end..at] || before[IP] >> 4 == 4);
    let udp_sum = |bytes: &[u8]| [bytes[at + 6], bytes[at + 7]];
    if protocol == 17 && udp_sum(before) == [0, 0] {
        ensure!(udp_sum(after) == [0, 0], "a checksum where there was none");
        return Ok(());
    }
    ensure!(protocol != 17 || udp_sum(after) != [0, 0], "no checksum");
    let all = |bytes: &[u8]| {
        let covered = [&bytes[addresses.clone()], &bytes[at..]].concat();
        sum(&covered)
    };
    ensure!(all(before) == all(after), "the transport checksum");
    Ok(())
}

#[test]
fn a_changed_packet_keeps_what_was_right_and_what_was_wrong_with_its_sums() {
    with_flows(|kernel, uplink| {
        let mut changed = 0;
        for seed in 1..=DAMAGED {
            let mut random = Random::new(seed as u64);
            let bytes = damaged_packet(&mut random);
            let program = random.one_of(&PROGRAMS);
            let run = kernel.run(program, uplink, &bytes)?;
            if run.code == Code::Next && run.bytes != bytes {
                changed += 1;
                keeps_its_sums(&bytes, &run.bytes).with_context(|| {
                    format!(
                        "seed {seed}, {program}\n{bytes:02x?}\nbecame\n{:02x?}",
                        run.bytes
                    )
                })?;
            }
        }
        ensure!(
            changed > DAMAGED / 10,
            "only {changed} of {DAMAGED} were ours"
        );
        Ok(())
    });
}
