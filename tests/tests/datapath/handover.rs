//! What do the programs do while others serve, or while a flow changes hands?

use lb_common::layout::{CONFIG_STANDBY, CONFIG_TAKEOVER};
use lb_tests::datapath::{At, Endpoint, Fate, Fixture, Row, Service};

use super::cases::{CLIENT, Case, check, row};

fn kubia(case: Case) -> Fixture {
    let endpoint = Endpoint::here(case.server());
    Fixture::new().with(&Service::cluster_ip(case.protocol, case.vip(), &[endpoint]))
}

/// Nothing that begins is touched: not to a frontend, not to another port of its address.
#[test]
fn what_begins_passes_while_lb_stands_by() {
    check(|case| {
        let mut standby = kubia(case);
        standby.tables.config.flags = CONFIG_STANDBY | CONFIG_TAKEOVER;
        let (client, vip) = (case.client(), case.vip());
        let mut other = vip;
        other.set_port(vip.port() + 1);
        let untouched = |packet| (At::FromPod(CLIENT), packet, Fate::Untouched);
        vec![Row {
            steps: vec![
                untouched(case.first(client, vip)),
                untouched(case.later(client, vip)),
                untouched(case.first(client, other)),
                (
                    At::FromUplink,
                    case.first(case.outside(), vip),
                    Fate::Untouched,
                ),
            ],
            ..row("standing by", standby)
        }]
    });
}
