//! Who may be served by whom: traffic policies and source ranges.

use lb_common::layout::{
    FLOW_OUTSIDE, FRONTEND_LOAD_BALANCER, FRONTEND_NODE_PORT, POOL_DROP, POOL_LOCAL,
};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, FlowPair, Row, Service};

use super::cases::{CLIENT, SERVER, check, row};

/// `externalTrafficPolicy: Local` on a node without endpoints, while others have some: the outside
/// client is dropped in silence, a pod is served as under `Cluster`.
#[test]
fn a_local_policy_without_local_endpoints_drops_outside_clients_only() {
    check(|case| {
        let (frontend, far) = (case.node(30_123), case.far_server());
        let service = Service::new(
            FRONTEND_NODE_PORT,
            case.protocol,
            frontend,
            &[Endpoint::elsewhere(far)],
        )
        .for_outside(&[], POOL_LOCAL | POOL_DROP);
        let fixture = Fixture::new().with(&service);
        let client = case.client();
        vec![
            Row {
                steps: vec![(
                    At::FromUplink,
                    case.first(case.outside(), frontend),
                    Fate::Dropped,
                )],
                drops: vec!["no-local-endpoints"],
                ..row("outside", fixture.clone())
            },
            Row {
                steps: vec![(
                    At::FromPod(CLIENT),
                    case.first(client, frontend),
                    Fate::Becomes(case.first(client, far)),
                )],
                flows: vec![FlowPair {
                    frontend,
                    ..case.flow(client, far, 0)
                }],
                ..row("a pod", fixture)
            },
        ]
    });
}

#[test]
fn source_ranges_admit_only_whom_they_contain() {
    check(|case| {
        let frontend = case.address("198.51.100.40", "2001:db8:100::40", 80);
        let (outside, server) = (case.outside(), case.server());
        let bits = if frontend.is_ipv4() { 24 } else { 64 };
        let service = |range| {
            let service = Service::new(
                FRONTEND_LOAD_BALANCER,
                case.protocol,
                frontend,
                &[Endpoint::here(server)],
            );
            Fixture::new().with(&service.only_from(&[range]))
        };
        let theirs = (case.address("203.0.113.0", "2001:db8:113::", 0).ip(), bits);
        let others = (case.address("203.0.112.0", "2001:db8:112::", 0).ip(), bits);
        vec![
            Row {
                steps: vec![(
                    At::FromUplink,
                    case.first(outside, frontend),
                    Fate::Becomes(case.first(outside, server)),
                )],
                flows: vec![FlowPair {
                    frontend,
                    ..case.flow(outside, server, FLOW_OUTSIDE)
                }],
                ..row("contained", service(theirs))
            },
            Row {
                steps: vec![
                    (At::FromUplink, case.first(outside, frontend), Fate::Dropped),
                    (
                        At::FromPod(SERVER),
                        case.first(case.pod(SERVER, 40_000), frontend),
                        Fate::Dropped,
                    ),
                ],
                // The pod's packet is never at XDP.
                drops: vec!["source-range", "tc source-range"],
                ..row("not contained", service(others))
            },
        ]
    });
}
