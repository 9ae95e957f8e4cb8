//! A ClusterIP: stable in front of pods, spread evenly, refused where nothing is defined.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Dial, Failure, Transport, ping};
use lb_tests::stats;
use lb_tests::topology::{Cluster, Family, Pair, Place, addresses, on};

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::UdpUnconnected];

/// What is refused at once is refused within this time.
const AT_ONCE: Duration = Duration::from_millis(200);

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

fn service() -> Service {
    Service::new("kubia", "kubia")
        .at(&kubia().both())
        .port(80, 8080)
}

/// Asks until everybody has answered, at most this often.
fn who_answers(client: &Place, dial: Dial, all: &[&str]) -> Result<()> {
    const ENOUGH: u32 = 100;
    let mut seen = BTreeSet::new();
    for _ in 0..ENOUGH {
        let answer = dial
            .ask(client)
            .with_context(|| format!("{client} asks {dial:?}"))?;
        ensure!(answer.is_source_preserved(), "{answer:?}");
        seen.insert(answer.by);
        if seen.len() == all.len() {
            break;
        }
    }
    ensure!(seen.iter().eq(all), "{client}, {dial:?}: {seen:?} answered");
    Ok(())
}

#[test]
fn pods_here_and_elsewhere_answer_pods_here() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        manifests.write("kubia.yaml", &[service().object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-here")?;
        app.pod(cluster.elsewhere(), "kubia-there")?;
        let client = cluster.here().pod("client")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        for family in Family::ALL {
            for transport in TRANSPORTS {
                let dial = Dial::new(transport, kubia().port(family, 80));
                who_answers(&client, dial, &["kubia-here", "kubia-there"])?;
            }
        }
        ensure!(
            cluster.here().invalid_packets()? == 0,
            "conntrack saw invalid packets"
        );
        lb.uninstall()
    });
}

/// Its address exists only together with its port, and what is not served says so at once.
fn undefined_is_refused(hooks: &str) {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let lonely = Pair::new("10.43.1.1", "fd00:10:43::11");
        let nobody = Service::new("lonely", "nobody")
            .at(&lonely.both())
            .port(80, 8080);
        manifests.write("services.yaml", &[service().object(), nobody.object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia")?;
        let client = cluster.here().pod("client")?;
        let _links = if hooks.contains("xdp") {
            cluster.prepare_for_xdp()?
        } else {
            Vec::new()
        };
        let lb = Lb::started(cluster.here(), &manifests, hooks)?;
        for family in Family::ALL {
            for place in [&client, cluster.outside()] {
                for transport in [Transport::Tcp, Transport::Udp] {
                    let [undefined, empty] = [kubia().port(family, 81), lonely.port(family, 80)];
                    // A second time as the first.
                    for refused in [undefined, empty, undefined, empty, undefined] {
                        let outcome = Dial::new(transport, refused).within(AT_ONCE).ask(place);
                        ensure!(
                            outcome == Err(Failure::Refused),
                            "{place}, {transport} to {refused}: {outcome:?}"
                        );
                    }
                }
                ensure!(
                    !ping(place, kubia().of(family), Duration::from_millis(300))?,
                    "{place}"
                );
            }
        }
        lb.uninstall()
    });
}

#[test]
fn what_is_not_defined_is_refused_and_a_ping_gets_no_answer() {
    undefined_is_refused("tc");
}

#[test]
fn what_is_not_defined_is_refused_at_xdp_and_a_ping_gets_no_answer() {
    undefined_is_refused("tc,xdp");
}

#[test]
fn a_pod_may_be_answered_by_itself() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        manifests.write("kubia.yaml", &[service().object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        let pod = app.pod(cluster.here(), "kubia-vs2kl")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        for family in Family::ALL {
            for transport in TRANSPORTS {
                let answer = Dial::new(transport, kubia().port(family, 80)).ask(&pod)?;
                ensure!(answer.by == "kubia-vs2kl", "{answer:?}");
            }
        }
        lb.uninstall()
    });
}

#[test]
fn connections_spread_evenly_over_three_and_over_seven_pods() {
    on(Cluster::routed_veth, |cluster| {
        const CONNECTIONS: usize = 2_000;
        let manifests = Manifests::new()?;
        let three = Pair::new("10.43.0.3", "fd00:10:43::3");
        let seven = Pair::new("10.43.0.7", "fd00:10:43::7");
        let services = [
            Service::new("three", "three")
                .at(&three.both())
                .port(80, 8083),
            Service::new("seven", "seven")
                .at(&seven.both())
                .port(80, 8087),
        ];
        manifests.write("services.yaml", &services.map(|service| service.object()))?;
        let apps = [
            App::new(&manifests, "three", 8083),
            App::new(&manifests, "seven", 8087),
        ];
        for (app, count) in apps.iter().zip([3, 7]) {
            for i in 0..count {
                app.pod(cluster.here(), &format!("{count}-{i}"))?;
            }
        }
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let sources: Vec<_> = addresses::OUTSIDE_HOSTS.map(addresses::outside).collect();
        for (vip, count) in [(three, 3), (seven, 7)] {
            for family in Family::ALL {
                let sources: Vec<_> = sources.iter().map(|source| source.of(family)).collect();
                let dial = Dial::new(Transport::Tcp, vip.port(family, 80));
                let by = spread(cluster.outside(), &sources, dial, CONNECTIONS)?;
                let counts: Vec<_> = by.values().copied().collect();
                ensure!(
                    counts.len() == count && stats::is_even(&counts),
                    "{family}: {by:?}"
                );
            }
        }
        lb.uninstall()
    });
}

/// Who answered how often, with the sources taken in turn.
fn spread(
    place: &Place,
    sources: &[IpAddr],
    dial: Dial,
    count: usize,
) -> Result<BTreeMap<String, u32>> {
    let mut by = BTreeMap::new();
    for source in sources.iter().cycle().take(count) {
        let answer = dial
            .from(*source)
            .ask(place)
            .with_context(|| format!("from {source}"))?;
        *by.entry(answer.by).or_default() += 1;
    }
    Ok(by)
}

#[test]
fn ipv6_sockets_reach_ipv4_services_by_mapped_addresses() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        manifests.write("kubia.yaml", &[service().object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-here")?;
        app.pod(cluster.elsewhere(), "kubia-there")?;
        let client = cluster.here().pod("client")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc,socket")?;
        let mapped = IpAddr::V6(kubia().v4.to_ipv6_mapped());
        // The node's own by the socket hook, a pod's by its link.
        for place in [lb.node(), &client] {
            for transport in TRANSPORTS {
                let dial = Dial::new(transport, SocketAddr::new(mapped, 80));
                let answer = dial
                    .ask(place)
                    .with_context(|| format!("{place} asks {dial:?}"))?;
                ensure!(answer.by.starts_with("kubia-"), "{answer:?}");
                ensure!(answer.seen.is_ipv4(), "{answer:?}");
                let refused = Dial::new(transport, SocketAddr::new(mapped, 81));
                if transport != Transport::UdpUnconnected {
                    let refused = refused.within(AT_ONCE).ask(place);
                    ensure!(
                        refused == Err(Failure::Refused),
                        "{place}, {transport}: {refused:?}"
                    );
                }
            }
        }
        lb.uninstall()
    });
}
