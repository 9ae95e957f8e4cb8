//! Which paths are counted? What comes before, and the packet that matters.

use std::net::SocketAddr;

use lb_common::layout::{FRONTEND_MAGLEV, FRONTEND_NODE_PORT};
use lb_tests::datapath::{Endpoint, Fate, Fixture, SNAT_PORT, Service, Toward};
use lb_tests::packet::Packet;
use lb_tests::topology::Family;
use lb_userspace::model::Protocol;

use crate::cases::Case;

/// A path: what happens before, and the packet that is counted, which comes last.
pub(super) struct Path {
    pub(super) name: &'static str,
    pub(super) fixture: Fixture,
    /// Places in the queue of flows that may go, if it is to be full.
    pub(super) evictable: Option<usize>,
    pub(super) steps: Vec<(&'static str, Packet, Fate)>,
}

/// Every path of packets.
pub(super) fn paths(case: Case) -> Vec<Path> {
    let mut paths = foreign(case);
    paths.extend(local(case));
    paths.extend(snat(case));
    paths.extend(new_flows(case));
    paths.extend(refusals(case));
    paths
}

fn path(name: &'static str, fixture: Fixture) -> Path {
    Path {
        name,
        fixture,
        evictable: None,
        steps: Vec::new(),
    }
}

fn kubia(case: Case, endpoint: SocketAddr) -> Fixture {
    Fixture::new().with(&Service::cluster_ip(
        case.protocol,
        case.vip(),
        &[Endpoint::here(endpoint)],
    ))
}

/// A connection between others passes, with a packet amid it.
fn foreign(case: Case) -> Vec<Path> {
    let packet = case.later(case.outside(), case.far_server());
    let passes = |(name, program)| Path {
        steps: vec![(program, packet.clone(), Fate::Untouched)],
        ..path(name, kubia(case, case.server()))
    };
    [
        ("foreign, at XDP", "xdp_uplink"),
        ("foreign, into the node", "tc_uplink_in"),
        ("foreign, out of the node", "tc_uplink_out"),
        ("foreign, from a pod", "tc_pod_in"),
        ("foreign, to a pod", "tc_pod_out"),
    ]
    .map(passes)
    .into()
}

/// A connection to a backend of this node, with a packet of either side amid it.
fn local(case: Case) -> Vec<Path> {
    let (vip, server) = (case.vip(), case.server());
    let ways = [
        (
            "established, local, outside to backend, at XDP",
            "established, local, backend to outside, behind XDP",
            case.outside(),
            "xdp_uplink",
            "tc_uplink_out",
        ),
        (
            "established, local, outside to backend",
            "established, local, backend to outside",
            case.outside(),
            "tc_uplink_in",
            "tc_uplink_out",
        ),
        (
            "established, local, pod to backend",
            "established, local, backend to pod",
            case.client(),
            "tc_pod_in",
            "tc_pod_out",
        ),
    ];
    let mut paths = Vec::new();
    for (there, back, client, enters, leaves) in ways {
        let begin = vec![
            (
                enters,
                case.first(client, vip),
                Fate::Becomes(case.first(client, server)),
            ),
            (
                leaves,
                case.reply(server, client),
                Fate::Becomes(case.reply(vip, client)),
            ),
            (
                enters,
                case.later(client, vip),
                Fate::Becomes(case.later(client, server)),
            ),
        ];
        let with = |step| [begin.clone(), vec![step]].concat();
        let forward = (
            enters,
            case.later(client, vip),
            Fate::Becomes(case.later(client, server)),
        );
        let reply = (
            leaves,
            case.later(server, client),
            Fate::Becomes(case.later(vip, client)),
        );
        paths.push(Path {
            steps: with(forward),
            ..path(there, kubia(case, server))
        });
        // Nobody would look twice at the same of both.
        if enters != "xdp_uplink" {
            paths.push(Path {
                steps: with(reply),
                ..path(back, kubia(case, server))
            });
        }
    }
    paths
}

/// The Service whose backend is on another node, dialled from outside.
fn remote(case: Case) -> Fixture {
    let (flags, far) = (FRONTEND_NODE_PORT, Endpoint::elsewhere(case.far_server()));
    Fixture::new().with(&Service::new(
        flags,
        case.protocol,
        case.node(30_123),
        &[far],
    ))
}

/// A connection through this node to a backend of another one.
fn snat(case: Case) -> Vec<Path> {
    let (client, frontend, far) = (case.outside(), case.node(30_123), case.far_server());
    let source = case.node(SNAT_PORT);
    let sent = |packet: Packet| Fate::Sent(packet.with_ttl(63), Toward::Elsewhere);
    let mut paths = Vec::new();
    for (program, begins, there, back) in [
        (
            "xdp_uplink",
            "new flow, SNAT, at XDP",
            "established, SNAT, from client, at XDP",
            "established, SNAT, to client, at XDP",
        ),
        (
            "tc_uplink_in",
            "new flow, SNAT",
            "established, SNAT, from client",
            "established, SNAT, to client",
        ),
    ] {
        let steps = [
            (
                program,
                case.first(client, frontend),
                sent(case.first(source, far)),
            ),
            (
                program,
                case.reply(far, source),
                sent(case.reply(frontend, client)),
            ),
            (
                program,
                case.later(client, frontend),
                sent(case.later(source, far)),
            ),
            (
                program,
                case.later(client, frontend),
                sent(case.later(source, far)),
            ),
            (
                program,
                case.later(far, source),
                sent(case.later(frontend, client)),
            ),
        ];
        for (name, length) in [(begins, 1), (there, 4), (back, 5)] {
            paths.push(Path {
                steps: steps[..length].to_vec(),
                ..path(name, remote(case))
            });
        }
    }
    paths
}

fn new_flows(case: Case) -> Vec<Path> {
    const PLACES: usize = 4;
    let (vip, server) = (case.vip(), case.server());
    let begin = |program, frontend, i: usize| {
        let mut client = case.outside();
        client.set_port(client.port() + i as u16);
        (
            program,
            case.first(client, frontend),
            Fate::Becomes(case.first(client, server)),
        )
    };
    let mut paths = Vec::new();
    for (program, room, full) in [
        (
            "xdp_uplink",
            "new flow, at XDP",
            "new flow, table full, at XDP",
        ),
        (
            "tc_pod_in",
            "new flow, from a pod",
            "new flow, table full, from a pod",
        ),
    ] {
        paths.push(Path {
            steps: vec![begin(program, vip, 0)],
            ..path(room, kubia(case, server))
        });
        // The second that finds no place knows it before it asks.
        paths.push(Path {
            evictable: Some(PLACES),
            steps: (0..PLACES + 2).map(|i| begin(program, vip, i)).collect(),
            ..path(full, kubia(case, server))
        });
    }
    let service = Service::cluster_ip(case.protocol, vip, &[Endpoint::here(server)]);
    let sticky = Fixture::new().with(&service.with_affinity(60));
    for (name, flows) in [
        ("new flow, affinity, first of a client", 1),
        ("new flow, affinity, second of a client", 2),
    ] {
        paths.push(Path {
            steps: (0..flows).map(|i| begin("xdp_uplink", vip, i)).collect(),
            ..path(name, sticky.clone())
        });
    }
    let (flags, frontend) = (FRONTEND_NODE_PORT | FRONTEND_MAGLEV, case.node(30_123));
    let agreed = Service::new(flags, case.protocol, frontend, &[Endpoint::here(server)]);
    paths.push(Path {
        steps: vec![begin("xdp_uplink", frontend, 0)],
        ..path("new flow, Maglev", Fixture::new().with(&agreed))
    });
    paths
}

fn refusals(case: Case) -> Vec<Path> {
    let nobody = Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[]));
    let mut undefined = case.vip();
    undefined.set_port(81);
    let refused = |program, to| {
        let packet = case.first(case.outside(), to);
        let answer = packet.reset().turned();
        vec![(program, packet, Fate::Answered(answer))]
    };
    vec![
        Path {
            steps: refused("xdp_uplink", case.vip()),
            ..path("refused, no endpoints, at XDP", nobody.clone())
        },
        Path {
            steps: refused("tc_pod_in", case.vip()),
            ..path("refused, no endpoints, from a pod", nobody)
        },
        Path {
            steps: refused("xdp_uplink", undefined),
            ..path(
                "refused, undefined port, at XDP",
                kubia(case, case.server()),
            )
        },
    ]
}

/// A call of the node's own socket: what it is, the program, whom it names before and after, and whether the
/// socket has called so before.
pub(super) type Call = (&'static str, &'static str, Protocol, [SocketAddr; 2], bool);

/// What the calls find.
pub(super) fn of_calls(family: Family) -> Fixture {
    [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .fold(Fixture::new(), |fixture, protocol| {
            let case = Case { family, protocol };
            fixture.with(&Service::cluster_ip(
                protocol,
                case.vip(),
                &[Endpoint::here(case.server())],
            ))
        })
}

/// Every path of calls.
pub(super) fn calls(family: Family) -> Vec<Call> {
    let case = Case {
        family,
        protocol: Protocol::Tcp,
    };
    let (vip, server, other) = (case.vip(), case.server(), case.far_server());
    let [connect, send] = match family {
        Family::V4 => ["sock_connect4", "sock_sendmsg4"],
        Family::V6 => ["sock_connect6", "sock_sendmsg6"],
    };
    let (ours, foreign) = ([vip, server], [other, other]);
    vec![
        ("connect, TCP", connect, Protocol::Tcp, ours, false),
        ("connect, UDP", connect, Protocol::Udp, ours, false),
        ("connect, foreign", connect, Protocol::Tcp, foreign, false),
        ("sendmsg, first", send, Protocol::Udp, ours, false),
        ("sendmsg, later", send, Protocol::Udp, ours, true),
        ("sendmsg, foreign", send, Protocol::Udp, foreign, false),
    ]
}
