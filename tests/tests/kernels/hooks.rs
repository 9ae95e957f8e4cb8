//! Every hook serves, refuses, and leaves without a trace.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Dial, Failure, Transport, ping};
use lb_tests::topology::{Cluster, Family, Pair, Place, addresses, on};
use lb_userspace::loader::features;

/// What is refused at once is refused within this time, also where the processor is emulated.
const AT_ONCE: Duration = Duration::from_secs(1);
/// What is not answered is waited for so long.
const IN_VAIN: Duration = Duration::from_millis(300);
/// A connection that is served, on an emulated processor that others use, too.
const PATIENCE: Duration = Duration::from_secs(5);

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::UdpUnconnected];
const NODE_PORT: u16 = 30_123;

/// A Service with a pod here, one with a pod on the other node, and one without any.
const NEAR: [&str; 2] = ["10.43.0.1", "fd00:10:43::1"];
const FAR: [&str; 2] = ["10.43.0.2", "fd00:10:43::2"];
const LONELY: [&str; 2] = ["10.43.0.3", "fd00:10:43::3"];

fn pair([v4, v6]: [&str; 2]) -> Pair {
    Pair::new(v4, v6)
}

fn service(name: &str, at: [&str; 2]) -> Service {
    Service::new(name, name).at(&pair(at).both()).port(80, 8080)
}

fn serves(client: &Place, family: Family, port: u16, at: Pair, by: &str) -> Result<()> {
    for transport in TRANSPORTS {
        let dial = Dial::new(transport, at.port(family, port)).within(PATIENCE);
        let answer = dial
            .ask(client)
            .with_context(|| format!("{client}, {transport} over {family}"))?;
        ensure!(answer.by == by, "{client}: {answer:?}");
    }
    Ok(())
}

fn refuses(client: &Place, family: Family, transports: &[Transport]) -> Result<()> {
    for &transport in transports {
        for refused in [pair(NEAR).port(family, 81), pair(LONELY).port(family, 80)] {
            let outcome = Dial::new(transport, refused).within(AT_ONCE).ask(client);
            ensure!(
                outcome == Err(Failure::Refused),
                "{client}, {transport} to {refused}: {outcome:?}"
            );
        }
    }
    Ok(())
}

/// Connections of everybody through all hooks: pods by traffic control, outside by XDP and, with a
/// backend on the other node, in transit, the node by its socket calls. What has no endpoints or
/// no such port is refused for all three, on kernels where the socket hook cannot (before 5.18), too.
#[test]
fn every_hook_serves_and_refuses() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let near = service("near", NEAR).node_port(NODE_PORT);
        let far = service("far", FAR).node_port(NODE_PORT + 1);
        let lonely = service("lonely", LONELY);
        let objects = [near.object(), far.object(), lonely.object()];
        manifests.write("services.yaml", &objects)?;
        let (near, far) = (
            App::new(&manifests, "near", 8080),
            App::new(&manifests, "far", 8080),
        );
        near.pod(cluster.here(), "near-0")?;
        far.pod(cluster.elsewhere(), "far-0")?;
        let pod = cluster.here().pod("client")?;
        let _links = cluster.prepare_for_xdp()?;
        let mut lb = Lb::new(cluster.here(), &manifests, "tc,xdp,socket")?;
        if features::kernel_version() < features::NETNS_COOKIE.since {
            // This kernel cannot say which namespace is the node's, and takes the initial one for it:
            // the sockets in the cgroup are the node's all the same.
            lb = lb.with("LB_SOCKET", "all");
        }
        lb.start()?;
        let node = addresses::node(0);
        for family in Family::ALL {
            for client in [&pod, lb.node()] {
                serves(client, family, 80, pair(NEAR), "near-0")?;
                serves(client, family, 80, pair(FAR), "far-0")?;
                refuses(client, family, &[Transport::Tcp, Transport::Udp])?;
            }
            serves(cluster.outside(), family, NODE_PORT, node, "near-0")?;
            serves(cluster.outside(), family, NODE_PORT + 1, node, "far-0")?;
            // Not UDP: the answer is longer than the question, and has room in a frame at XDP of a
            // network card, but not always in one of a veth.
            refuses(cluster.outside(), family, &[Transport::Tcp])?;
            ensure!(!ping(&pod, pair(NEAR).of(family), IN_VAIN)?);
        }
        ensure!(
            cluster.here().invalid_packets()? == 0,
            "conntrack saw invalid packets"
        );
        lb.uninstall()
    });
}
