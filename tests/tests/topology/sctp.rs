//! SCTP associations through Services: the kernel's own stack at both ends judges every checksum.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::need;
use lb_tests::peer::{Dial, Failure, Transport, has_sctp};
use lb_tests::topology::{Cluster, Family, Pair, Place, addresses, on};

/// Within a second, a refusal is one: an association that nobody answers takes many.
const AT_ONCE: Duration = Duration::from_secs(1);
/// An association, also where the processor is emulated.
const PATIENCE: Duration = Duration::from_secs(5);

const NODE_PORT: u16 = 30_123;
const NEAR: [&str; 2] = ["10.43.0.1", "fd00:10:43::1"];
const FAR: [&str; 2] = ["10.43.0.2", "fd00:10:43::2"];

fn pair([v4, v6]: [&str; 2]) -> Pair {
    Pair::new(v4, v6)
}

fn service(name: &str, at: [&str; 2], node_port: u16) -> Service {
    let service = Service::new(name, name).at(&pair(at).both());
    service.sctp_port(80, 8080).node_port(node_port)
}

/// Who answered; whether it saw the client as it is must be so.
fn serves(client: &Place, at: Pair, family: Family, port: u16, by: &str, seen: bool) -> Result<()> {
    let dial = Dial::new(Transport::Sctp, at.port(family, port)).within(PATIENCE);
    let answer = dial
        .ask(client)
        .with_context(|| format!("{client} to {by} over {family}"))?;
    ensure!(answer.by == by, "{client}: {answer:?}");
    ensure!(
        answer.is_source_preserved() == seen,
        "{client} to {by}: {answer:?}"
    );
    Ok(())
}

/// A pod and somebody outside, to a pod of this node and to one of the other, the latter by SNAT,
/// through ClusterIPs and node ports, each with a port that is rewritten.
#[test]
fn associations_go_through_cluster_ips_and_node_ports() {
    if !need::feature_of_machines("SCTP", (!has_sctp()).then_some("this kernel has no SCTP")) {
        return;
    }
    for hooks in ["tc", "tc,xdp"] {
        on(Cluster::routed_veth, |cluster| {
            let manifests = Manifests::new()?;
            let objects = [
                service("near", NEAR, NODE_PORT).object(),
                service("far", FAR, NODE_PORT + 1).object(),
            ];
            manifests.write("services.yaml", &objects)?;
            let (near, far) = (
                App::new(&manifests, "near", 8080),
                App::new(&manifests, "far", 8080),
            );
            near.pod(cluster.here(), "near-0")?;
            far.pod(cluster.elsewhere(), "far-0")?;
            let pod = cluster.here().pod("client")?;
            let _links = cluster.prepare_for_xdp()?;
            let lb = Lb::started(cluster.here(), &manifests, hooks)?;
            let (outside, node) = (cluster.outside(), addresses::node(0));
            for family in Family::ALL {
                serves(&pod, pair(NEAR), family, 80, "near-0", true)?;
                serves(&pod, pair(FAR), family, 80, "far-0", true)?;
                serves(&pod, node, family, NODE_PORT, "near-0", true)?;
                serves(outside, node, family, NODE_PORT, "near-0", true)?;
                serves(outside, node, family, NODE_PORT + 1, "far-0", false)?;
                let undefined = Dial::new(Transport::Sctp, pair(NEAR).port(family, 81));
                for client in [&pod, outside] {
                    let outcome = undefined.within(AT_ONCE).ask(client);
                    ensure!(outcome == Err(Failure::Refused), "{client}: {outcome:?}");
                }
            }
            lb.uninstall()
        });
    }
}
