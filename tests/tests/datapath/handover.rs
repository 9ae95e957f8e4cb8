//! What do the programs do while others serve, or while a flow changes hands?

use anyhow::{Result, ensure};
use lb_common::layout::{
    CONFIG_STANDBY, CONFIG_TAKEOVER, FLOW_HELD, Flow, LINK_UPLINK, LINK_XDP, Link,
};
use lb_common::{Family as _, Ip4, Ip6};
use lb_tests::datapath::{At, Code, Endpoint, Fate, Fixture, Kernel, Row, SNAT_PORT, Service};
use lb_tests::packet::Packet;
use lb_tests::topology::{Cluster, Family, UPLINK, on};

use super::cases::{CLIENT, Case, all, check, row};

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

/// Has every flow be held, for the first time so many of the kernel's seconds ago.
fn hold(kernel: &mut Kernel, case: Case, seconds: u32, hz: u32) -> Result<()> {
    fn held<A>(flow: &mut Flow<A>, ago: u32) {
        flow.flags |= FLOW_HELD;
        flow.created = flow.last_seen.wrapping_sub(ago);
    }
    let ago = seconds * hz;
    match case.family {
        Family::V4 => kernel.change_flows::<Ip4>(|flow| held(flow, ago)),
        Family::V6 => kernel.change_flows::<Ip6>(|flow| held(flow, ago)),
    }
}

/// Neither direction goes further while a flow changes hands, be it translated at one edge or at both:
/// its sender repeats what was lost. Whoever holds it may have been ended, so it goes on by itself.
#[test]
fn a_flow_that_is_held_drops_what_comes_in_for_a_second() {
    on(Cluster::routed_veth, |cluster| {
        let node = cluster.here().place();
        node.netns().run(|| {
            let mut kernel = Kernel::load()?;
            kernel.attach_xdp(UPLINK)?;
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            for case in all() {
                let (client, vip, near, far) =
                    (case.outside(), case.vip(), case.server(), case.far_server());
                let masked = case.node(SNAT_PORT);
                for entry in ["tc_uplink_in", "xdp_uplink"] {
                    // The endpoint; where replies come in, and as what.
                    for (endpoint, replies, reply) in [
                        (Endpoint::here(near), "tc_pod_in", case.reply(near, client)),
                        (Endpoint::elsewhere(far), entry, case.reply(far, masked)),
                    ] {
                        let service = Service::cluster_ip(case.protocol, vip, &[endpoint]);
                        let fixture = Fixture::new().with(&service);
                        kernel.reset(&fixture.tables)?;
                        let link = Link {
                            mtu: 1_500,
                            flags: LINK_UPLINK | LINK_XDP,
                            address4: Ip4::from_ip(node.address(Family::V4)).unwrap_or_default(),
                            address6: Ip6::from_ip(node.address(Family::V6)).unwrap_or_default(),
                            ..Link::default()
                        };
                        kernel.set_link(uplink, link)?;
                        let goes = |kernel: &Kernel, program, packet: &Packet| {
                            let run = kernel.run(program, uplink, &packet.bytes())?;
                            anyhow::Ok(run.code != Code::Drop)
                        };
                        let later = case.later(client, vip);
                        ensure!(goes(&kernel, entry, &case.first(client, vip))?);
                        for (seconds, is_free) in [(0, false), (2, true)] {
                            hold(&mut kernel, case, seconds, fixture.tables.config.hz)?;
                            for (program, packet) in [(entry, &later), (replies, &reply)] {
                                ensure!(
                                    goes(&kernel, program, packet)? == is_free,
                                    "{case:?}, {program}, after {seconds} s: {packet:?}"
                                );
                            }
                        }
                        let drops: Vec<_> = kernel.drops()?.into_iter().collect();
                        let held = drops
                            .iter()
                            .filter(|(name, _)| name.ends_with("handed-over"));
                        ensure!(
                            held.map(|(_, count)| count).sum::<u64>() == 2,
                            "{case:?}: {drops:?}"
                        );
                    }
                }
            }
            Ok(())
        })
    });
}
