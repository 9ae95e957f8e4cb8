//! Which connections pass, as what, and why do the others not?

use lb_common::addr::Ip4;
use lb_common::decide::{SCTP, TCP, UDP};
use lb_common::flow::mirror;
use lb_common::layout::{
    Backend, FLOW_BRIDGED, FLOW_DIRECT, FLOW_HAIRPIN, FLOW_OUTSIDE, FLOW_RENUMBERED, FLOW_SNAT,
    Flow, FlowKey, FrontendInfo, FrontendKey, FrontendRef, Prefix,
};
use lb_common::tcp;

use super::*;
use crate::netlink::conntrack::{Status, TcpState};
use crate::tables::Tables;

const HZ: u32 = 250;
const NOW: u32 = 100_000;
const CIRCUMSTANCES: Circumstances = Circumstances {
    now: NOW,
    bridged: true,
};
const POD: &str = "10.42.0.9:40000";
const OUTSIDE: &str = "203.0.113.7:40000";
const VIP: &str = "10.43.165.39:80";
const BACKEND: &str = "10.42.0.10:8080";
const NODE: &str = "172.18.0.2:50000";

/// Kubia: one frontend, a pod and a process of the node as its backends.
fn tables() -> Tables {
    let mut tables = Tables::default();
    tables.config.hz = HZ;
    tables.config.pods4[0] = Prefix {
        network: Ip4::new(10, 42, 0, 0),
        mask: Ip4::new(255, 255, 0, 0),
        used: 1,
    };
    tables.v4.nodes.insert(Ip4::new(172, 18, 0, 2));
    for protocol in [TCP, UDP, SCTP] {
        let key = FrontendKey {
            address: Ip4::new(10, 43, 165, 39),
            port: 80,
            protocol,
            reserved: 0,
        };
        let index = u32::from(protocol);
        let reference = FrontendRef {
            info: index,
            service_port: 3,
        };
        tables.v4.frontends.insert(key, reference);
        let info = FrontendInfo {
            key,
            service_port: 3,
            ..FrontendInfo::default()
        };
        tables.v4.info.insert(index, info);
    }
    for (id, address) in [(1, Ip4::new(10, 42, 0, 10)), (2, Ip4::new(172, 18, 0, 2))] {
        let backend = Backend {
            address,
            port: 8080,
            service_port: 3,
            generation: 40 + id,
            ..Backend::default()
        };
        tables.v4.backends.insert(id, backend);
    }
    tables
}

fn ends(source: &str, destination: &str) -> Ends {
    Ends {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    }
}

/// An established connection through the VIP whose replies come from `backend` to `seen_as`.
fn connection(client: &str, backend: &str, seen_as: &str) -> Connection {
    Connection {
        protocol: TCP,
        original: ends(client, VIP),
        reply: ends(backend, seen_as),
        status: Status::Confirmed | Status::SeenReply | Status::Assured | Status::DstNat,
        tcp: Some(TcpState::Established),
        mark: 0,
        zone: 0,
        id: 7,
    }
}

fn taken(connection: Connection) -> Plan {
    take_all(&[connection], &tables(), CIRCUMSTANCES)
}

#[test]
fn what_kube_proxy_translates_becomes_the_flow_that_translates_it_so() {
    for (client, backend, seen_as, flags) in [
        (POD, BACKEND, POD, 0),
        (POD, "172.18.0.2:8080", POD, 0),
        (OUTSIDE, BACKEND, OUTSIDE, FLOW_OUTSIDE),
        (OUTSIDE, BACKEND, NODE, FLOW_OUTSIDE | FLOW_SNAT),
        ("10.42.0.10:40000", BACKEND, NODE, FLOW_HAIRPIN),
        (POD, BACKEND, "10.42.0.9:40001", FLOW_RENUMBERED),
    ] {
        let known = connection(client, backend, seen_as);
        let plan = taken(known);
        assert_eq!(plan.stay, [], "{client} {backend} {seen_as}");
        let [passage] = plan.v4[..] else {
            panic!("{client} {backend} {seen_as}: {plan:?}");
        };
        assert_eq!(passage.flow.flags, flags, "{client} {backend} {seen_as}");
        assert_eq!(ends_of_key(&passage.key), known.original);
        assert_eq!(ends_of_flow(&passage.flow).turned(), known.reply);
        assert_eq!(ends_of_flow(&passage.reply).turned(), known.original);
        assert_eq!(passage.flow.service_port, 3);
        let generation = if backend == BACKEND { 41 } else { 42 };
        assert_eq!(passage.flow.generation, generation);
        assert_eq!(passage.way, Way::Take { known });
    }
}

#[test]
fn what_cannot_be_said_by_a_flow_stays_and_is_told_why() {
    let good = connection(POD, BACKEND, POD);
    let with = |status| Connection {
        status: good.status | status,
        ..good
    };
    for (connection, why) in [
        (
            Connection {
                original: ends(POD, "10.43.165.39:81"),
                ..good
            },
            Why::UnknownFrontend,
        ),
        (connection(POD, "10.42.0.11:8080", POD), Why::UnknownBackend),
        (connection("172.18.0.2:40000", BACKEND, NODE), Why::OfNode),
        (connection("127.0.0.1:40000", BACKEND, NODE), Why::OfNode),
        (
            connection(OUTSIDE, "172.18.0.2:8080", NODE),
            Why::MasqueradedToNode,
        ),
        (
            Connection {
                protocol: SCTP,
                tcp: None,
                ..good
            },
            Why::Sctp,
        ),
        (with(Status::SeqAdjust), Why::Sequence),
        (with(Status::Offload), Why::Offloaded),
        (Connection { zone: 1, ..good }, Why::Zone),
    ] {
        let plan = taken(connection);
        let [(passenger, said)] = plan.stay[..] else {
            panic!("{why:?}: {plan:?}");
        };
        assert_eq!(said, why);
        assert_eq!(passenger.client, connection.original.source);
        assert_eq!(plan.passing(), 0, "{why:?}");
    }
}

#[test]
fn what_is_over_goes_what_is_not_translated_is_nobodys_and_handshakes_are_waited_for() {
    let good = connection(POD, BACKEND, POD);
    let over = Connection {
        tcp: Some(TcpState::Ended),
        ..good
    };
    let direct = Connection {
        status: good.status - Status::DstNat,
        ..good
    };
    assert_eq!(taken(over).over, [Over::Theirs(over)]);
    let others = Connection {
        original: ends(POD, "10.43.165.39:81"),
        ..over
    };
    for nothing in [over, others, direct] {
        let plan = taken(nothing);
        let all = (plan.passing(), plan.stay.len(), plan.later.len());
        assert_eq!(all, (0, 0, 0), "{plan:?}");
    }
    let opening = Connection {
        tcp: Some(TcpState::Opening),
        ..good
    };
    assert_eq!(taken(opening).later.len(), 1);
}

#[test]
fn a_flow_has_come_as_far_as_its_connection() {
    use lb_common::flow::{Stage, stage};
    let tcp = connection(POD, BACKEND, POD);
    let udp = Connection {
        protocol: UDP,
        tcp: None,
        ..tcp
    };
    let young = Status::Confirmed | Status::DstNat;
    for (connection, expected) in [
        (tcp, Stage::Established),
        (
            Connection {
                tcp: Some(TcpState::HalfClosed),
                ..tcp
            },
            Stage::HalfClosed,
        ),
        (udp, Stage::UdpAssured),
        (
            Connection {
                status: young | Status::SeenReply,
                ..udp
            },
            Stage::Udp,
        ),
        (
            Connection {
                status: young,
                ..udp
            },
            Stage::Udp,
        ),
    ] {
        let plan = taken(connection);
        let [passage] = plan.v4[..] else {
            panic!("{plan:?}");
        };
        let Passage { flow, reply, .. } = passage;
        assert_eq!(stage(connection.protocol, &flow, &reply, HZ), expected);
        let is_answered = connection.status.contains(Status::SeenReply);
        assert_eq!(reply.state != 0, is_answered);
    }
}

/// The flow of an open connection from POD.
fn flow(seen_as: &str, flags: u16) -> (FlowKey<Ip4>, Flow<Ip4>) {
    let plan = taken(connection(POD, BACKEND, seen_as));
    let [passage] = plan.v4[..] else {
        panic!("{plan:?}");
    };
    let flow = Flow {
        flags: passage.flow.flags | flags,
        ..passage.flow
    };
    (passage.key, flow)
}

fn given(key: &FlowKey<Ip4>, flow: &Flow<Ip4>, reply_state: u8, bridged: bool) -> Plan {
    let reply = Flow {
        state: reply_state,
        ..mirror(key, flow)
    };
    let circumstances = Circumstances { now: NOW, bridged };
    let entries = [(*key, *flow), (mirror_key_of(key, flow), reply)];
    give_all(&entries, &[], tables().config.hz, circumstances)
}

fn mirror_key_of(key: &FlowKey<Ip4>, flow: &Flow<Ip4>) -> FlowKey<Ip4> {
    lb_common::flow::mirror_key(key, flow)
}

const OPEN: u8 = tcp::SEEN | tcp::SYN | tcp::ACK;

#[test]
fn a_flow_becomes_the_connection_that_it_would_have_been_under_kube_proxy() {
    for (seen_as, flags, is_seen) in [
        (POD, 0, true),
        (NODE, FLOW_SNAT, false),
        (NODE, FLOW_HAIRPIN, false),
        ("10.42.0.9:40001", FLOW_RENUMBERED, true),
        (POD, FLOW_BRIDGED, true),
    ] {
        let (key, flow) = flow(seen_as, flags);
        let plan = given(&key, &flow, OPEN, true);
        let [passage] = plan.v4[..] else {
            panic!("{seen_as}: {plan:?}");
        };
        let Way::Give { new, seen } = passage.way else {
            panic!("{passage:?}");
        };
        let known = connection(POD, BACKEND, seen_as);
        assert_eq!((new.original, new.reply), (known.original, known.reply));
        assert!(new.answered && !new.half_closed);
        // What the stack has seen of it must go first: its replies have the same ends.
        assert_eq!(seen, is_seen.then_some(known.reply.turned()), "{seen_as}");
    }
}

#[test]
fn flows_that_nf_conntrack_cannot_take_stay_or_wait() {
    let (key, open) = flow(POD, 0);
    let bridged = Flow {
        flags: FLOW_BRIDGED,
        ..open
    };
    assert_eq!(given(&key, &bridged, OPEN, false).stay[0].1, Why::Bridged);
    let sctp = FlowKey {
        protocol: SCTP,
        ..key
    };
    assert_eq!(given(&sctp, &open, OPEN, true).stay[0].1, Why::Sctp);
    let opening = Flow {
        state: tcp::SEEN | tcp::SYN,
        ..open
    };
    assert_eq!(given(&key, &opening, 0, true).later.len(), 1);
    let over = given(&key, &open, OPEN | tcp::RST, true);
    assert_eq!(
        (over.passing(), over.later.len(), over.over.len()),
        (0, 1, 0)
    );
    let quiet = Flow {
        last_seen: NOW - HZ,
        ..open
    };
    let over = given(&key, &quiet, OPEN | tcp::RST, true);
    assert_eq!(over.over, [Over::Ours4(key, quiet)]);
    assert_eq!((over.passing(), over.later.len()), (0, 0));
    let direct_key = FlowKey {
        destination: open.destination,
        destination_port: open.destination_port,
        ..key
    };
    let direct = Flow {
        flags: FLOW_DIRECT,
        ..open
    };
    assert_eq!(given(&direct_key, &direct, OPEN, true).passing(), 0);
}
