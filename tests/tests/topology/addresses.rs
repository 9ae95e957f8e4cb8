//! Addresses that are somebody's besides a Service's: only the Service's ports are ours.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Dial, Failure, Server, Stream, Transport, ping};
use lb_tests::topology::{Cluster, Family, addresses, on};

/// The node's address is an external IP and has a node port, too: its SSH, its ping and its closed
/// ports stay as they are, seen from outside, from a pod and in a connection that is open already.
/// (That their packets stay as they are to the last byte is told by the rows in `datapath`.)
#[test]
fn the_nodes_own_ports_and_pings_stay_the_nodes() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let node = addresses::node(0);
        let service = Service::new("kubia", "kubia")
            .port(80, 8080)
            .node_port(30_123);
        let cluster_ips = ["10.43.165.39".parse()?, "fd00:10:43::a539".parse()?];
        let service = service.at(&cluster_ips).external_ips(&node.both());
        manifests.write("kubia.yaml", &[service.object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia")?;
        let pod = cluster.here().pod("client")?;
        let _ssh = Server::start(cluster.here().place(), "sshd", 22)?;
        let open = Stream::start(cluster.outside(), node.port(Family::V4, 22), 1);
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        for client in [cluster.outside(), &pod] {
            for family in Family::ALL {
                let ask = |port| Dial::new(Transport::Tcp, node.port(family, port)).ask(client);
                for (port, name) in [(22, "sshd"), (80, "kubia"), (30_123, "kubia")] {
                    let answer = ask(port)?;
                    ensure!(
                        answer.by == name && answer.is_source_preserved(),
                        "{port}: {answer:?}"
                    );
                }
                let closed = ask(81);
                ensure!(
                    closed == Err(Failure::Refused),
                    "{client}, {family}: {closed:?}"
                );
                let is_there = ping(client, node.of(family), Duration::from_secs(1))?;
                ensure!(is_there, "{client}: no ping over {family}");
            }
        }
        let open = open.finish();
        ensure!(open.failure.is_none() && open.by == "sshd", "{open:?}");
        ensure!(cluster.here().invalid_packets()? == 0);
        lb.uninstall()
    });
}

#[test]
fn a_node_port_on_localhost_is_for_the_node_alone() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let service = Service::new("kubia", "kubia")
            .port(80, 8080)
            .node_port(30_123)
            .at(&["10.43.165.39".parse()?, "fd00:10:43::a539".parse()?]);
        manifests.write("kubia.yaml", &[service.object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-here")?;
        app.pod(cluster.elsewhere(), "kubia-there")?;
        let pod = cluster.here().pod("client")?;
        let mut lb =
            Lb::new(cluster.here(), &manifests, "tc,socket")?.with("LB_NODEPORT_LOCALHOST", "true");
        lb.start()?;
        for localhost in ["127.0.0.1:30123", "[::1]:30123"] {
            for transport in [Transport::Tcp, Transport::Udp, Transport::UdpUnconnected] {
                let dial = Dial::new(transport, localhost.parse()?);
                let answer = dial.ask(lb.node());
                let answer = answer.with_context(|| format!("{localhost}, {transport}"))?;
                ensure!(answer.by.starts_with("kubia-"), "{answer:?}");
            }
            let own = Dial::new(Transport::Tcp, localhost.parse()?).ask(&pod);
            ensure!(
                own == Err(Failure::Refused),
                "a pod's own {localhost}: {own:?}"
            );
        }
        lb.uninstall()
    });
}
