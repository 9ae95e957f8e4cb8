//! What do loss, reordering and duplication on the way do to connections? They cost time and nothing else.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::need;
use lb_tests::netns::Netns;
use lb_tests::peer::{Dial, Load, Transport};
use lb_tests::topology::{Cluster, Family, Pair, Place, addresses, alone};
use lb_tests::wait;

/// Connections in each of the ways, of which there are two.
const CONNECTIONS: u32 = 2_500;
/// New ones a second, in each.
const RATE: u32 = 40;
/// TCP gives up a SYN after its sixth repetition, which is after more than this.
const PATIENCE: Duration = Duration::from_mins(1);
/// For all of them, where the processor is emulated.
const IN_ALL: Duration = Duration::from_mins(10);

const NODE_PORT: u16 = 30_123;
const NEAR: [&str; 2] = ["10.43.0.1", "fd00:10:43::1"];
const FAR: [&str; 2] = ["10.43.0.2", "fd00:10:43::2"];

fn pair([v4, v6]: [&str; 2]) -> Pair {
    Pair::new(v4, v6)
}

/// Loses 2 of 100 packets that a place sends, doubles 1 and lets 5 overtake others.
fn spoil(place: &Netns) -> Result<()> {
    let mut tc = Command::new("tc");
    tc.args(["qdisc", "add", "dev", "eth0", "root", "netem"]);
    tc.args(["delay", "5ms", "1ms", "loss", "2%", "duplicate", "1%"]);
    tc.args(["reorder", "5%"]);
    place.output(&mut tc).map(drop)
}

/// Why packets cannot be lost on purpose here.
fn without_netem() -> Result<Option<&'static str>> {
    let nowhere = Netns::new("netem")?;
    let mut tc = Command::new("tc");
    tc.args(["qdisc", "add", "dev", "lo", "root", "netem", "loss", "1%"]);
    let refused = nowhere.output(&mut tc).is_err();
    Ok(refused.then_some("this kernel has no sch_netem"))
}

/// A pod to a pod of its node through a ClusterIP over IPv6, and somebody outside to a pod of the other
/// node through a node port over IPv4, in transit.
fn loads(cluster: &Cluster, pod: &Place) -> [Load; 2] {
    let near = pair(NEAR).port(Family::V6, 80);
    let far = addresses::node(0).port(Family::V4, NODE_PORT);
    [(pod, near), (cluster.outside(), far)].map(|(client, to)| {
        let dial = Dial::new(Transport::Tcp, to).within(PATIENCE);
        Load::start(client, dial, RATE)
    })
}

#[test]
fn no_connection_fails_where_packets_are_lost_doubled_and_overtaken() {
    need::root();
    let missing = without_netem().expect("a namespace can be made");
    if !need::feature_of_machines("netem", missing) {
        return;
    }
    alone(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let near = Service::new("near", "near").at(&pair(NEAR).both());
        let far = Service::new("far", "far").at(&pair(FAR).both());
        let objects = [
            near.port(80, 8080).object(),
            far.port(80, 8080).node_port(NODE_PORT).object(),
        ];
        manifests.write("services.yaml", &objects)?;
        let (near, far) = (
            App::new(&manifests, "near", 8080),
            App::new(&manifests, "far", 8080),
        );
        let servers = [
            near.pod(cluster.here(), "near-0")?,
            far.pod(cluster.elsewhere(), "far-0")?,
        ];
        let pod = cluster.here().pod("client")?;
        let _links = cluster.prepare_for_xdp()?;
        let lb = Lb::started(cluster.here(), &manifests, "tc,xdp")?;
        for place in [&pod, cluster.outside()] {
            spoil(place.netns())?;
        }
        for server in &servers {
            spoil(server.netns())?;
        }
        for load in loads(cluster, &pod) {
            wait::until("as many connections were tried", IN_ALL, || {
                Ok(load.so_far().asked >= CONNECTIONS)
            })?;
            let report = load.finish();
            println!("{report}");
            ensure!(report.failures.is_empty(), "{report}");
            ensure!(report.answered() >= CONNECTIONS, "{report}");
        }
        lb.uninstall().context("uninstalling")
    });
}
