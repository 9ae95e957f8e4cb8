//! Do the topologies themselves work, before any program of ours is attached? If one of these
//! fails, what other tests say about the load balancer means nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::peer::{Answer, Dial, Failure, Load, Server, Stream, Transport, ping};
use lb_tests::topology::{Cluster, Family, Place, on};
use lb_tests::wait;

const PORT: u16 = 8080;
const SECOND: Duration = Duration::from_secs(1);
const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::UdpUnconnected];

fn ask_every_way(client: &Place, server: &Server, name: &str) -> Result<()> {
    for family in Family::ALL {
        for transport in TRANSPORTS {
            let answer = Dial::new(transport, server.address(family))
                .ask(client)
                .with_context(|| format!("{client} asks {name} by {transport} over {family}"))?;
            ensure!(answer.by == name, "{answer:?}");
            ensure!(answer.is_source_preserved(), "{answer:?}");
        }
    }
    Ok(())
}

#[test]
fn everybody_reaches_pods_over_routed_veth() {
    everybody_reaches_pods_here_and_elsewhere(Cluster::routed_veth);
}

#[test]
fn everybody_reaches_pods_over_a_bridge_that_netfilter_sees() {
    everybody_reaches_pods_here_and_elsewhere(|| Cluster::bridge(true));
}

#[test]
fn everybody_reaches_pods_over_a_bridge_that_netfilter_does_not_see() {
    everybody_reaches_pods_here_and_elsewhere(|| Cluster::bridge(false));
}

#[test]
fn everybody_reaches_pods_over_an_overlay() {
    everybody_reaches_pods_here_and_elsewhere(Cluster::overlay);
}

fn everybody_reaches_pods_here_and_elsewhere(make: impl FnOnce() -> Result<Cluster>) {
    on(make, |cluster| {
        let neighbour = cluster.here().pod("neighbour")?;
        let server = cluster.here().pod("server")?;
        let far_server = cluster.elsewhere().pod("far-server")?;
        let servers = [
            Server::start(&server, "server", PORT)?,
            Server::start(&far_server, "far-server", PORT)?,
        ];
        let clients = [
            &neighbour,
            &server,
            cluster.here().place(),
            cluster.outside(),
            &far_server,
        ];
        for (server, name) in servers.iter().zip(["server", "far-server"]) {
            for client in clients {
                ask_every_way(client, server, name)?;
            }
        }
        ensure!(servers[0].answered() == 30, "{}", servers[0].answered());
        ensure!(cluster.here().invalid_packets()? == 0);
        Ok(())
    });
}

#[test]
fn failures_have_their_names() {
    on(Cluster::routed_veth, |cluster| {
        let client = cluster.here().pod("client")?;
        let empty = cluster.elsewhere().pod("empty")?;
        for family in Family::ALL {
            for transport in [Transport::Tcp, Transport::Udp] {
                let closed = Dial::new(transport, SocketAddr::new(empty.address(family), PORT));
                ensure!(
                    closed.ask(&client) == Err(Failure::Refused),
                    "{transport} over {family}"
                );
            }
            ensure!(ping(
                &client,
                empty.address(family),
                Duration::from_secs(1)
            )?);
        }
        Ok(())
    });
}

#[test]
fn no_route_leads_out() {
    on(Cluster::routed_veth, |cluster| {
        let pod = cluster.here().pod("pod")?;
        for elsewhere in ["192.0.2.1:80", "[2001:db8:dead::1]:80"] {
            let dial =
                Dial::new(Transport::Tcp, elsewhere.parse()?).within(Duration::from_millis(200));
            ensure!(
                dial.ask(cluster.router()) == Err(Failure::Unreachable),
                "{elsewhere}"
            );
            for place in [&pod, cluster.here().place(), cluster.outside()] {
                ensure!(dial.ask(place).is_err(), "{place} reaches {elsewhere}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_removed_pod_is_unreachable_and_a_new_one_serves_at_once() {
    on(Cluster::routed_veth, |cluster| {
        let client = cluster.here().pod("client")?;
        let first = cluster.here().pod_at(20, "first")?;
        let server = Server::start(&first, "first", PORT)?;
        ask_every_way(&client, &server, "first")?;
        cluster.here().remove(&first)?;
        let gone = Dial::new(Transport::Tcp, server.address(Family::V4))
            .within(Duration::from_millis(300));
        ensure!(gone.ask(&client).is_err());
        let second = cluster.here().pod_at(20, "second")?;
        let start = Instant::now();
        ask_every_way(&client, &Server::start(&second, "second", PORT)?, "second")?;
        ensure!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        Ok(())
    });
}

#[test]
fn load_and_streams_run_at_their_pace_and_end_in_order() {
    on(Cluster::routed_veth, |cluster| {
        let server = Server::start(&cluster.elsewhere().pod("server")?, "server", PORT)?;
        let client = cluster.outside();
        let to = server.address(Family::V4);
        let streams: Vec<_> = (1..=50)
            .map(|seed| Stream::start(client, to, seed))
            .collect();
        let load = Load::start(client, Dial::new(Transport::Tcp, to), 200);
        std::thread::sleep(Duration::from_secs(2));
        let report = load.finish();
        ensure!(report.failures.is_empty(), "{report}");
        ensure!((380..=410).contains(&report.asked), "{report}");
        ensure!(report.slowest < Duration::from_millis(900), "{report}");
        for stream in streams {
            let report = stream.finish();
            ensure!(
                report.failure.is_none() && report.by == "server",
                "{report:?}"
            );
            ensure!(report.bytes > 20 * 4096, "{report:?}");
        }
        Ok(())
    });
}

#[test]
fn a_stopped_server_ends_its_connections() {
    on(Cluster::routed_veth, |cluster| {
        let server = Server::start(&cluster.here().pod("server")?, "server", PORT)?;
        let address = server.address(Family::V6);
        let stream = Stream::start(cluster.outside(), address, 1);
        wait::until("a connection", SECOND, || Ok(server.connections() == 1))?;
        server.stop();
        wait::until("the client's end", SECOND, || Ok(stream.is_over()))?;
        let report = stream.finish();
        ensure!(report.failure.is_some(), "{report:?}");
        let again: Result<Answer, _> = Dial::new(Transport::Tcp, address).ask(cluster.outside());
        ensure!(again == Err(Failure::Refused), "{again:?}");
        Ok(())
    });
}

#[test]
fn sockets_may_be_opened_in_a_cgroup() {
    on(Cluster::routed_veth, |cluster| {
        let server = Server::start(&cluster.here().pod("server")?, "server", PORT)?;
        let cgroup = lb_tests::leftovers::cgroup("sockets")?;
        let node = cluster.here().place().in_cgroup(cgroup.path())?;
        ask_every_way(&node, &server, "server")?;
        drop(node);
        let path = cgroup.path().to_owned();
        drop(cgroup);
        ensure!(!path.exists());
        Ok(())
    });
}
