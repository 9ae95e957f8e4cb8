//! More than fits into one packet: datagrams in fragments, and segments that the kernel and its
//! links carry as one (GSO, GRO, checksums left to the device).

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Dial, Stream, Transport, echo_datagram};
use lb_tests::topology::{Cluster, Family, Pair, Place, UPLINK, addresses, on};
use lb_tests::wait;

/// Sizes of datagrams: one packet, two, six (8 kB), and as many as there can be.
const SIZES: [usize; 4] = [1_400, 1_500, 8_192, 60_000];

/// An echo that takes longer is as bad as none.
const PATIENCE: Duration = Duration::from_secs(2);

fn vips(n: u8) -> Pair {
    Pair::new(&format!("10.43.0.{n}"), &format!("fd00:10:43::{n}"))
}

/// A Service for a pod on this node and one for a pod on the other.
fn two_services(manifests: &Manifests) -> Result<[App<'_>; 2]> {
    let service = |name: &str, n: u8| {
        Service::new(name, name)
            .at(&vips(n).both())
            .port(80, 8080)
            .node_port(30_100 + u16::from(n))
            .object()
    };
    manifests.write("services.yaml", &[service("here", 1), service("there", 2)])?;
    Ok([
        App::new(manifests, "here", 8080),
        App::new(manifests, "there", 8080),
    ])
}

fn echo_all(clients: &[&Place]) -> Result<()> {
    let mut seed = 0;
    for client in clients {
        for family in Family::ALL {
            for n in [1, 2] {
                let node_port = addresses::node(0).port(family, 30_100 + u16::from(n));
                for to in [vips(n).port(family, 80), node_port] {
                    for bytes in SIZES {
                        seed += 1;
                        echo_datagram(client, to, bytes, seed, PATIENCE)
                            .with_context(|| format!("{client} to {to}, {bytes} bytes"))?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn datagrams_come_back(make: fn() -> Result<Cluster>, hooks: &str) {
    on(make, |cluster| {
        let manifests = Manifests::new()?;
        let [here, there] = two_services(&manifests)?;
        here.pod(cluster.here(), "here")?;
        there.pod(cluster.elsewhere(), "there")?;
        let pod = cluster.here().pod("client")?;
        let _peers = if hooks.contains("xdp") {
            cluster.prepare_for_xdp()?
        } else {
            Vec::new()
        };
        let lb = Lb::started(cluster.here(), &manifests, hooks)?;
        let echoed = echo_all(&[&pod, cluster.outside()]);
        echoed.with_context(|| lb.output(&["drops"]).unwrap_or_default())?;
        ensure!(cluster.here().invalid_packets()? == 0);
        lb.uninstall()
    });
}

#[test]
fn datagrams_of_8_kb_and_more_come_back_through_tc() {
    datagrams_come_back(Cluster::routed_veth, "tc");
}

#[test]
fn datagrams_of_8_kb_and_more_come_back_through_xdp() {
    datagrams_come_back(Cluster::routed_veth, "tc,xdp");
}

#[test]
fn datagrams_of_8_kb_and_more_come_back_over_a_bridge() {
    datagrams_come_back(|| Cluster::bridge(true), "tc");
}

/// The links of these topologies leave checksums to a device that is none, and hand over up to
/// 64 KiB at once, as virtual machines' do. A wrong sum would lose every such packet.
#[test]
fn connections_survive_offloads_in_transit_and_on_this_node() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let [here, there] = two_services(&manifests)?;
        here.pod(cluster.here(), "here")?;
        there.pod(cluster.elsewhere(), "there")?;
        let pod = cluster.here().pod("client")?;
        let mut ethtool = Command::new("ethtool");
        let netns = cluster.here().place().netns();
        let features = netns.output(ethtool.args(["-k", UPLINK]))?;
        for feature in ["tcp-segmentation-offload", "tx-checksumming"] {
            ensure!(features.contains(&format!("{feature}: on")), "{feature}");
        }
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let mut streams = Vec::new();
        for (client, seed) in [(&pod, 1), (cluster.outside(), 2)] {
            for family in Family::ALL {
                for n in [1, 2] {
                    streams.push(Stream::start(client, vips(n).port(family, 80), seed));
                }
            }
        }
        std::thread::sleep(Duration::from_secs(2));
        for stream in streams {
            let report = stream.finish();
            ensure!(report.failure.is_none() && report.bytes > 0, "{report:?}");
        }
        lb.uninstall()
    });
}

/// Transit asks for the way of each packet anew: a flow goes where the routes of the moment lead.
#[test]
fn a_flow_in_transit_follows_a_route_and_a_neighbour_that_change() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let [_, there] = two_services(&manifests)?;
        there.pod(cluster.elsewhere(), "there")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let other = cluster.elsewhere().place();
        let netns = cluster.here().place().netns();
        for family in Family::ALL {
            let stream = Stream::start(cluster.outside(), vips(2).port(family, 80), 7);
            std::thread::sleep(Duration::from_millis(300));
            // The other node gets another card.
            other
                .netns()
                .ip(&format!("link set {UPLINK} address 02:00:00:00:0b:0b"))?;
            for place in [cluster.here().place(), cluster.router()] {
                place.netns().ip("neigh flush all\n")?;
            }
            std::thread::sleep(Duration::from_millis(300));
            // Its pods are reached by way of the router from now on.
            let pods = addresses::pod(1, 0).of(family);
            let bits = if family == Family::V4 { 24 } else { 64 };
            let router = addresses::router().of(family);
            netns.ip(&format!("route replace {pods}/{bits} via {router}\n"))?;
            let asked = Dial::new(Transport::Tcp, vips(2).port(family, 80));
            wait::until("new flows take the route", Duration::from_secs(2), || {
                Ok(asked.ask(cluster.outside()).is_ok())
            })?;
            std::thread::sleep(Duration::from_millis(300));
            let report = stream.finish();
            ensure!(report.failure.is_none(), "{family}: {report:?}");
        }
        lb.uninstall()
    });
}
