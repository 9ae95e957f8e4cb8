//! Which cases are timed, and against which floor? Each with the most that it may cost.

use std::net::SocketAddr;

use lb_common::drops::Hook;

use super::load::Whose;
use super::subject::{Flows, Outcome, Runs, Subject};
use super::world;
use crate::packet::{ACK, Packet, SYN};
use crate::topology::{Family, addresses};

/// Bytes of every timed packet, link layer included.
pub(super) const FRAME: usize = 100;
/// The port of clients whose connection exists.
const KNOWN_PORT: u16 = 19_999;
/// The first port of new connections; a batch takes the 8,192 from here on.
const NEW_PORTS: u16 = 20_000;

/// A floor: the least that the like work costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Floor {
    /// Returns at once: subtracted from everything.
    Empty,
    /// Parses and looks up one frontend.
    Lookup,
    /// *lookup*, one LRU lookup, rewrite and checksums.
    Full,
    /// *full* at traffic control without the checksum helper: wrong for packets whose checksum the
    /// device is to complete.
    FullDirect,
    /// *full* of many flows in turn.
    FullMany(Flows),
    /// *full* and a route look-up.
    Fib,
    /// *full* and two bare inserts.
    TwoInserts,
}

impl Floor {
    /// The name that tables show.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Lookup => "lookup",
            Self::Full => "full",
            Self::FullDirect => "full-direct",
            Self::FullMany(flows) => flows.names()[1],
            Self::Fib => "fib",
            Self::TwoInserts => "two-inserts",
        }
    }

    const fn program(self, hook: Hook, family: Family) -> Option<&'static str> {
        Some(match (self, hook, family) {
            (Self::Empty, Hook::Xdp, _) => "xdp_empty",
            (Self::Empty, Hook::Tc, _) => "tc_empty",
            (Self::Lookup, Hook::Xdp, Family::V4) => "xdp_lookup4",
            (Self::Lookup, Hook::Xdp, Family::V6) => "xdp_lookup6",
            (Self::Lookup, Hook::Tc, Family::V4) => "tc_lookup4",
            (Self::Lookup, Hook::Tc, Family::V6) => "tc_lookup6",
            (Self::Full | Self::FullMany(_), Hook::Xdp, Family::V4) => "xdp_full4",
            (Self::Fib, Hook::Xdp, Family::V4) => "xdp_fib4",
            (Self::Full | Self::FullMany(_), Hook::Xdp, Family::V6) => "xdp_full6",
            (Self::Fib, Hook::Xdp, Family::V6) => "xdp_fib6",
            (Self::Full | Self::FullMany(_), Hook::Tc, Family::V4) => "tc_full4",
            (Self::Fib, Hook::Tc, Family::V4) => "tc_fib4",
            (Self::Full | Self::FullMany(_), Hook::Tc, Family::V6) => "tc_full6",
            (Self::Fib, Hook::Tc, Family::V6) => "tc_fib6",
            (Self::FullDirect, Hook::Tc, Family::V4) => "tc_direct4",
            (Self::FullDirect, Hook::Tc, Family::V6) => "tc_direct6",
            (Self::TwoInserts, Hook::Xdp, Family::V4) => "xdp_inserts4",
            (Self::TwoInserts, Hook::Xdp, Family::V6) => "xdp_inserts6",
            (Self::TwoInserts, Hook::Tc, Family::V4) => "tc_inserts4",
            (Self::TwoInserts, Hook::Tc, Family::V6) => "tc_inserts6",
            _ => return None,
        })
    }
}

/// What is timed, and what it is held against.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// The case's name in `--json`.
    pub(super) name: &'static str,
    /// Which packets, for people.
    pub(super) packets: &'static str,
    /// The program and what it gets.
    pub(super) subject: Subject,
    /// What does the like work.
    pub(super) floor: Floor,
    /// The most that it may cost, as a multiple of the floor.
    pub(super) at_most: f64,
    /// What would be better still.
    pub(super) stretch: f64,
}

/// The floors of a hook and family, each with the runs that it is timed on.
pub(super) fn floors(
    hook: Hook,
    family: Family,
    flows: Flows,
    transit: &Transit,
) -> Vec<(Floor, Subject)> {
    use Floor::{Empty, Fib, Full, FullDirect, FullMany, Lookup, TwoInserts};
    [
        (Empty, Runs::Same),
        (Empty, Runs::NewPort),
        (Empty, Runs::NewClient),
        (Empty, Runs::ManyFlows(flows)),
        (Lookup, Runs::Same),
        (Full, Runs::Same),
        (FullDirect, Runs::Same),
        (FullMany(flows), Runs::ManyFlows(flows)),
        (Fib, Runs::Same),
        (TwoInserts, Runs::NewPort),
        (TwoInserts, Runs::NewClient),
    ]
    .into_iter()
    .filter_map(|(floor, runs)| {
        let program = floor.program(hook, family)?;
        let outcome = match floor {
            Empty | Lookup => Outcome::Untouched,
            Full | FullDirect | FullMany(_) | TwoInserts => {
                Outcome::ToOneOf(world::backends(family))
            }
            Fib => Outcome::Between(transit.source, transit.backend),
        };
        let entrance = match floor {
            Fib => Entrance::remote(hook, family),
            _ => Entrance::of(hook, family),
        };
        let packet = match runs {
            Runs::Same => data(entrance.client, entrance.frontend),
            Runs::NewPort | Runs::NewClient => entrance.new_packet(),
            Runs::ManyFlows(_) => Entrance::many(hook, family).packet(),
        };
        let subject = Subject {
            whose: Whose::Floors,
            program,
            hook,
            packet,
            outcome,
            runs,
        };
        Some((floor, subject))
    })
    .collect()
}

/// How a connection to a backend on another node goes through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transit {
    /// What the backend sees.
    pub(super) source: SocketAddr,
    /// The backend.
    pub(super) backend: SocketAddr,
}

/// Where a connection enters a hook: the program, and who dials what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrance {
    /// The hook.
    pub(super) hook: Hook,
    /// The program that takes the client's packets.
    pub(super) program: &'static str,
    /// The client.
    pub(super) client: SocketAddr,
    /// What it dials.
    pub(super) frontend: SocketAddr,
}

impl Entrance {
    /// The hook's own: at XDP a client from outside dials the node, at traffic control a pod dials a
    /// ClusterIP.
    pub(super) fn of(hook: Hook, family: Family) -> Self {
        match hook {
            Hook::Xdp => Self::node_port(hook, "xdp_uplink", family),
            Hook::Tc | Hook::Socket => Self {
                hook,
                program: "tc_pod_in",
                client: SocketAddr::new(addresses::pod(250, 9).of(family), KNOWN_PORT),
                frontend: world::cluster_ip(family),
            },
        }
    }

    /// The program that takes replies to the client.
    pub(super) const fn way_back(&self) -> &'static str {
        match self.hook {
            Hook::Xdp => "tc_uplink_out",
            Hook::Tc | Hook::Socket => "tc_pod_out",
        }
    }

    /// Where clients outside enter whose backend is on another node.
    pub(super) fn remote(hook: Hook, family: Family) -> Self {
        // Another one than of connections that stay here, and another one for each hook.
        let client = match hook {
            Hook::Xdp => 8,
            Hook::Tc | Hook::Socket => 9,
        };
        Self {
            frontend: world::remote_node_port(family),
            client: SocketAddr::new(addresses::outside(client).of(family), KNOWN_PORT),
            ..Self::node_port(hook, uplink(hook), family)
        }
    }

    /// The first of many clients that dial the same, with the first of their ports: the same ones for
    /// all hooks, as the table has no room for many of each.
    pub(super) fn many(hook: Hook, family: Family) -> Self {
        Self {
            client: SocketAddr::new(addresses::outside(64).of(family), NEW_PORTS),
            ..Self::node_port(hook, uplink(hook), family)
        }
    }

    /// A packet amid the connection.
    pub(super) fn packet(&self) -> Packet {
        data(self.client, self.frontend)
    }

    /// The packet with which the client's connection begins.
    pub(super) fn first_packet(&self) -> Packet {
        padded(&Packet::tcp(self.client, self.frontend, SYN))
    }

    /// The first packet of a new connection of the client's.
    fn new_packet(&self) -> Packet {
        let client = SocketAddr::new(self.client.ip(), NEW_PORTS);
        self.first_packet().between(client, self.frontend)
    }

    fn node_port(hook: Hook, program: &'static str, family: Family) -> Self {
        Self {
            hook,
            program,
            client: SocketAddr::new(addresses::outside(7).of(family), KNOWN_PORT),
            frontend: world::node_port(family),
        }
    }

    /// Its packets, timed in this way.
    pub(super) fn subject(&self, outcome: Outcome, runs: Runs) -> Subject {
        Subject {
            whose: Whose::Ours,
            program: self.program,
            hook: self.hook,
            packet: self.packet(),
            outcome,
            runs,
        }
    }
}

/// A connection that exists, to one of the first Service's endpoints, both ways: the client's
/// packets and, where the hook sees them, the replies.
pub(super) fn established(entrance: &Entrance, backend: SocketAddr) -> Vec<Case> {
    let case = |packets, subject| Case {
        name: "established_local",
        packets,
        subject,
        floor: Floor::Full,
        at_most: 1.4,
        stretch: 1.2,
    };
    let there = entrance.subject(Outcome::ToOneOf(vec![backend]), Runs::Same);
    let mut cases = vec![case("from client", there)];
    if entrance.hook == Hook::Tc {
        let back = Subject {
            program: "tc_pod_out",
            packet: data(backend, entrance.client),
            outcome: Outcome::From(entrance.frontend),
            ..cases[0].subject.clone()
        };
        cases.push(case("to client", back));
    }
    cases
}

/// Many connections that exist, in turn.
pub(super) fn many_flows(hook: Hook, family: Family, flows: Flows) -> Vec<Case> {
    let many = Entrance::many(hook, family);
    vec![Case {
        name: flows.names()[0],
        packets: "from clients",
        subject: many.subject(
            Outcome::ToOneOf(world::backends(family)),
            Runs::ManyFlows(flows),
        ),
        floor: Floor::FullMany(flows),
        at_most: 1.4,
        stretch: 1.2,
    }]
}

/// A connection that exists, to an endpoint on another node, both ways: in and out of the node.
pub(super) fn established_snat(entrance: &Entrance, transit: &Transit) -> Vec<Case> {
    let case = |packets, subject| Case {
        name: "established_snat",
        packets,
        subject,
        floor: Floor::Fib,
        at_most: 1.5,
        stretch: 1.25,
    };
    let there = entrance.subject(Outcome::Sent(transit.source, transit.backend), Runs::Same);
    let back = Subject {
        packet: data(transit.backend, transit.source),
        outcome: Outcome::Sent(entrance.frontend, entrance.client),
        ..there.clone()
    };
    vec![case("from client", there), case("to client", back)]
}

/// A connection with every packet.
pub(super) fn new_flow(entrance: &Entrance, family: Family) -> Vec<Case> {
    let case = |packets, runs| {
        let mut subject = entrance.subject(Outcome::ToOneOf(world::backends(family)), runs);
        subject.packet = entrance.new_packet();
        Case {
            name: "new_flow",
            packets,
            subject,
            floor: Floor::TwoInserts,
            at_most: 1.3,
            stretch: 1.15,
        }
    };
    vec![
        case("from client", Runs::NewPort),
        case("from client, table full", Runs::NewClient),
    ]
}

/// Packets that are none of our business.
pub(super) fn foreign(hook: Hook, family: Family) -> Vec<Case> {
    let socket = |address: addresses::Pair, port| SocketAddr::new(address.of(family), port);
    let client = socket(addresses::outside(7), KNOWN_PORT);
    let packets = [
        (
            "neither address ours",
            client,
            socket(addresses::routed(9), 443),
        ),
        ("to a node address", client, socket(addresses::node(0), 22)),
        (
            "from a backend",
            world::other_backend(family),
            socket(addresses::routed(9), 443),
        ),
    ];
    let (programs, at_most, stretch): (&[_], _, _) = match hook {
        Hook::Xdp => (&["xdp_uplink"], 0.8, 0.4),
        Hook::Tc | Hook::Socket => (&["tc_uplink_in", "tc_uplink_out"], 1.0, 0.6),
    };
    let case = |program, (packets, source, destination)| Case {
        name: "foreign",
        packets,
        subject: Subject {
            whose: Whose::Ours,
            program,
            hook,
            packet: data(source, destination),
            outcome: Outcome::Untouched,
            runs: Runs::Same,
        },
        floor: Floor::Full,
        at_most,
        stretch,
    };
    let of_program = |program: &&'static str| packets.map(|packet| case(*program, packet));
    programs.iter().flat_map(of_program).collect()
}

/// The program that takes what comes from other nodes and from outside.
const fn uplink(hook: Hook) -> &'static str {
    match hook {
        Hook::Xdp => "xdp_uplink",
        Hook::Tc | Hook::Socket => "tc_uplink_in",
    }
}

/// A TCP packet amid a connection.
fn data(source: SocketAddr, destination: SocketAddr) -> Packet {
    padded(&Packet::tcp(source, destination, ACK))
}

/// The packet with so much payload that the frame has the size that all have.
fn padded(packet: &Packet) -> Packet {
    let headers = packet.bytes().len();
    packet.clone().with_payload(&[0x5a; FRAME][headers..])
}
