//! A path that is narrower than its ends: whoever sends too much hears of it, through every kind of
//! VIP, so that no connection ends in a black hole.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Hop, IPERF, IperfServer, Toward, echo_datagram, hop, iperf, transfer};
use lb_tests::topology::{Cluster, Family, POD_LINK, Pair, Place, UPLINK, addresses, on};

/// The first packets of full size come after the slow start of a few.
const BYTES: usize = 1 << 18;
/// They take some milliseconds, on a busy machine longer; in a black hole nothing comes at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Service for the pods of each node, by ClusterIP, node port and load balancer's address.
struct Apps {
    names: [&'static str; 2],
}

impl Apps {
    const fn cluster_ips(number: u8) -> [&'static str; 2] {
        match number {
            0 => ["10.43.0.1", "fd00:10:43::1"],
            _ => ["10.43.0.2", "fd00:10:43::2"],
        }
    }

    /// Writes the Services.
    fn new(manifests: &Manifests) -> Result<Self> {
        let names = ["here", "elsewhere"];
        for (number, name) in names.iter().enumerate() {
            let number = number as u8;
            let [v4, v6] = Self::cluster_ips(number);
            let service = Service::new(name, name)
                .at(&Pair::new(v4, v6).both())
                .port(80, 8080)
                .node_port(30_001 + u16::from(number))
                .load_balancer(&addresses::routed(1 + number).both())
                .port(IPERF, IPERF);
            manifests.write(&format!("{name}.yaml"), &[service.object()])?;
        }
        Ok(Self { names })
    }

    /// What clients dial for the pod of the node.
    fn frontends(number: u8, family: Family) -> [SocketAddr; 3] {
        let [v4, v6] = Self::cluster_ips(number);
        [
            Pair::new(v4, v6).port(family, 80),
            addresses::node(0).port(family, 30_001 + u16::from(number)),
            addresses::routed(1 + number).port(family, 80),
        ]
    }
}

/// Makes the ways narrower one after the other, so that each has to say so: toward the other node,
/// to the pods there and here, and back to the client outside.
fn narrow(cluster: &Cluster, pods: &[Place; 2]) -> Result<()> {
    for family in Family::ALL {
        let far = pods[1].address(family);
        let there = cluster.elsewhere().place().address(family);
        let via_node = format!("route add {far} via {there} dev {UPLINK} mtu lock 1450");
        cluster.here().place().netns().ip(&via_node)?;
        for (node, pod) in [cluster.here(), cluster.elsewhere()].iter().zip(pods) {
            let address = pod.address(family);
            let link = format!("{POD_LINK}{POD}");
            let to_pod = format!("route replace {address} dev {link} mtu lock 1400");
            node.place().netns().ip(&to_pod)?;
        }
        let outside = cluster.outside().address(family);
        let back = format!("route add {outside} dev out mtu lock 1350");
        cluster.router().netns().ip(&back)?;
    }
    Ok(())
}

/// Last part of the address of each node's pod.
const POD: u8 = 10;

fn transfer_everywhere(clients: &[&Place]) -> Result<()> {
    for client in clients {
        for family in Family::ALL {
            for number in [0, 1] {
                for to in Apps::frontends(number, family) {
                    transfer(client, to, BYTES, PATIENCE)
                        .with_context(|| format!("{client} to {to}"))?;
                }
            }
        }
    }
    Ok(())
}

/// Has `ask` reach both nodes' pods from outside and from a pod of this node, with `lb` in between.
fn through(
    hooks: &str,
    wide: impl FnOnce() -> Result<Cluster>,
    narrows: bool,
    ask: impl FnOnce(&Cluster, [&Place; 2]) -> Result<()>,
) {
    on(wide, |cluster| {
        let manifests = Manifests::new()?;
        let apps = Apps::new(&manifests)?;
        let mut places = Vec::new();
        let mut held = Vec::new();
        for (node, name) in [cluster.here(), cluster.elsewhere()].iter().zip(apps.names) {
            let app = App::new(&manifests, name, 8080);
            places.push(app.pod(node, name)?);
            held.push(app);
        }
        let client = cluster.here().pod("client")?;
        let _links = if hooks.contains("xdp") {
            cluster.prepare_for_xdp()?
        } else {
            Vec::new()
        };
        if narrows {
            let [here, there] = <[Place; 2]>::try_from(places).expect("one pod for each node");
            narrow(cluster, &[here, there])?;
        }
        let lb = Lb::started(cluster.here(), &manifests, hooks)?;
        ask(cluster, [cluster.outside(), &client])?;
        lb.uninstall()
    });
}

fn no_path_is_a_black_hole(hooks: &str, wide: impl FnOnce() -> Result<Cluster>, narrows: bool) {
    through(hooks, wide, narrows, |cluster, clients| {
        transfer_everywhere(&clients)?;
        for node in [cluster.here(), cluster.elsewhere()] {
            ensure!(node.invalid_packets()? == 0, "INVALID at {}", node.name());
        }
        Ok(())
    });
}

#[test]
fn bulk_goes_through_narrow_paths_at_traffic_control() {
    no_path_is_a_black_hole("tc", Cluster::routed_veth, true);
}

#[test]
fn bulk_goes_through_narrow_paths_at_xdp() {
    no_path_is_a_black_hole("tc,xdp", Cluster::routed_veth, true);
}

/// What others measure by agrees: both ways, through a ClusterIP and a load balancer's address.
fn iperf_finds_no_black_hole(hooks: &str) {
    const BYTES: u64 = 64 << 20;
    through(hooks, Cluster::routed_veth, true, |cluster, clients| {
        let pods = [cluster.here(), cluster.elsewhere()].map(|node| node.pods()[0].clone());
        let servers = pods.iter().map(IperfServer::start);
        let _servers = servers.collect::<Result<Vec<_>>>()?;
        for client in clients {
            for family in Family::ALL {
                for number in [0, 1] {
                    let [cluster_ip, _, balancer] = Apps::frontends(number, family);
                    for to in [cluster_ip, balancer] {
                        let to = SocketAddr::new(to.ip(), IPERF);
                        for toward in [Toward::Server, Toward::Client] {
                            iperf(client, to, toward, BYTES, PATIENCE)
                                .with_context(|| format!("{client} to {to}, {toward:?}"))?;
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn iperf3_goes_through_narrow_paths_at_traffic_control() {
    iperf_finds_no_black_hole("tc");
}

#[test]
fn iperf3_goes_through_narrow_paths_at_xdp() {
    iperf_finds_no_black_hole("tc,xdp");
}

/// The tunnel takes 50 bytes of every packet, and the pods do not know.
#[test]
fn bulk_goes_through_an_overlay() {
    no_path_is_a_black_hole("tc", Cluster::overlay, false);
}

/// XDP finds out that the way leads into the tunnel, where it cannot send.
#[test]
fn bulk_goes_through_an_overlay_at_xdp() {
    no_path_is_a_black_hole("tc,xdp", Cluster::overlay, false);
}

/// Nobody repeats a datagram that is too big for the way, but its sender hears of it, so that the
/// next ones are in smaller fragments. Each of the narrow places costs one at most.
fn datagrams_learn_of_narrow_paths(hooks: &str) {
    const TRIES: u64 = 8;
    const A_MOMENT: Duration = Duration::from_millis(500);
    through(hooks, Cluster::routed_veth, true, |_, clients| {
        for client in clients {
            for family in Family::ALL {
                for to in [0, 1]
                    .map(|number| Apps::frontends(number, family))
                    .concat()
                {
                    let echo = |seed| echo_datagram(client, to, 8_192, seed, A_MOMENT);
                    let outcome = (0..TRIES).map(echo).find(Result::is_ok);
                    ensure!(outcome.is_some(), "{client} to {to}: {:?}", echo(TRIES));
                    echo(TRIES).with_context(|| format!("{client} to {to}, again"))?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn datagrams_of_8_kb_go_through_narrow_paths_at_traffic_control() {
    datagrams_learn_of_narrow_paths("tc");
}

#[test]
fn datagrams_of_8_kb_go_through_narrow_paths_at_xdp() {
    datagrams_learn_of_narrow_paths("tc,xdp");
}

/// Time to live and hop limit ended on the way.
fn exceeded(family: Family) -> [u8; 2] {
    match family {
        Family::V4 => [11, 0],
        Family::V6 => [3, 0],
    }
}

/// What `traceroute` shows: every router on the way by its own name, this node included, whether
/// its stack carries the packet on or we do; then the server answers.
fn every_router_is_on_the_way(hooks: &str) {
    const A_MOMENT: Duration = Duration::from_secs(1);
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let apps = Apps::new(&manifests)?;
        let app = App::new(&manifests, apps.names[1], 8080);
        app.pod(cluster.elsewhere(), apps.names[1])?;
        let client = cluster.here().pod("client")?;
        let _links = if hooks.contains("xdp") {
            cluster.prepare_for_xdp()?
        } else {
            Vec::new()
        };
        let lb = Lb::started(cluster.here(), &manifests, hooks)?;
        for family in Family::ALL {
            let gateway = addresses::outside(1).of(family);
            let [here, there] = [0, 1].map(|n| addresses::node(n).of(family));
            let told = |from| Hop::Told(from, exceeded(family));
            let from_outside = [told(gateway), told(here), told(there), Hop::Answered];
            let from_pod = [told(here), told(there), Hop::Answered];
            for to in Apps::frontends(1, family) {
                for (client, way) in [
                    (cluster.outside(), from_outside.as_slice()),
                    (&client, from_pod.as_slice()),
                ] {
                    for (ttl, expected) in (1..).zip(way) {
                        let seen = hop(client, to, ttl, A_MOMENT)
                            .with_context(|| format!("{client} to {to}, hop {ttl}"))?;
                        ensure!(
                            seen == *expected,
                            "{client} to {to}, hop {ttl}: {seen:?} instead of {expected:?}"
                        );
                    }
                }
            }
        }
        ensure!(cluster.here().invalid_packets()? == 0);
        lb.uninstall()
    });
}

#[test]
fn traceroute_sees_every_router_at_traffic_control() {
    every_router_is_on_the_way("tc");
}

#[test]
fn traceroute_sees_every_router_at_xdp() {
    every_router_is_on_the_way("tc,xdp");
}
