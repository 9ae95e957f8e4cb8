//! Links that are made of other links: bonds, VLANs, WireGuard, bridges of which netfilter sees nothing.
//! Kernels that have none of them leave these tests to `cargo xtask vm`.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::command;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::need;
use lb_tests::netns::Netns;
use lb_tests::peer::{Dial, Failure, Stream, Transport, transfer};
use lb_tests::topology::{
    Cluster, Family, Pair, Place, TRUNK, UPLINK, Uplink, WIREGUARD, addresses, alone, on,
};
use lb_tests::wait;
use lb_userspace::loader::features;

/// A connection, also where the processor is emulated.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many bytes at once.
const BYTES: usize = 1 << 16;
/// What a transfer of them takes at most.
const TRANSFER: Duration = Duration::from_secs(20);

/// The first kernel whose bonds take XDP programs.
const BONDS_TAKE_XDP: (u8, u8) = (5, 15);

const NODE_PORT: u16 = 30_123;
const NEAR: [&str; 2] = ["10.43.0.1", "fd00:10:43::1"];
const FAR: [&str; 2] = ["10.43.0.2", "fd00:10:43::2"];

fn pair([v4, v6]: [&str; 2]) -> Pair {
    Pair::new(v4, v6)
}

/// Whether this kernel has what these commands need of it, or the test must leave it to another one.
fn has(what: &str, commands: &str) -> bool {
    let made = Netns::new("devices").and_then(|nowhere| nowhere.ip(commands));
    let missing = format!("this kernel has no {what}");
    need::feature_of_machines(what, made.is_err().then_some(missing.as_str()))
}

fn has_bonds() -> bool {
    has("bond", "link add bond9 type bond mode active-backup\n")
}

fn has_vlans() -> bool {
    let commands = "link add veth0 type veth peer name veth1
                    link add link veth0 name vlan9 type vlan protocol 802.1ad id 9\n";
    has("VLAN", commands)
}

fn has_wireguard() -> bool {
    has("WireGuard", "link add wg9 type wireguard\n")
}

/// A Service for a pod of this node, and one for a pod of the other, which are returned.
fn two_services<'m>(manifests: &'m Manifests, cluster: &'m Cluster) -> Result<[App<'m>; 2]> {
    let service = |name: &str, at, node_port| {
        let service = Service::new(name, name).at(&pair(at).both());
        service.port(80, 8080).node_port(node_port).object()
    };
    let objects = [
        service("near", NEAR, NODE_PORT),
        service("far", FAR, NODE_PORT + 1),
    ];
    manifests.write("services.yaml", &objects)?;
    let [near, far] = ["near", "far"].map(|name| App::new(manifests, name, 8080));
    near.pod(cluster.here(), "near-0")?;
    far.pod(cluster.elsewhere(), "far-0")?;
    Ok([near, far])
}

fn serves(client: &Place, at: Pair, port: u16, by: &str) -> Result<()> {
    for family in Family::ALL {
        for transport in [Transport::Tcp, Transport::UdpUnconnected] {
            let dial = Dial::new(transport, at.port(family, port)).within(PATIENCE);
            let answer = dial
                .ask(client)
                .with_context(|| format!("{client} to {by}, {transport} over {family}"))?;
            ensure!(answer.by == by, "{client}: {answer:?}");
        }
        transfer(client, at.port(family, port), BYTES, TRANSFER)
            .with_context(|| format!("{client} to {by}, bulk over {family}"))?;
    }
    Ok(())
}

/// An undefined port is refused at once, and counted once.
fn refuses(client: &Place, lb: &Lb) -> Result<()> {
    const AT_ONCE: Duration = Duration::from_secs(1);
    let counted = || -> Result<u64> {
        let drops: serde_json::Value = serde_json::from_str(&lb.output(&["drops", "-o", "json"])?)?;
        let drops = drops["items"].as_array().context("a list of drops")?;
        let ours = drops
            .iter()
            .filter(|drop| drop["reason"] == "undefined-port");
        Ok(ours.filter_map(|drop| drop["packets"].as_u64()).sum())
    };
    let before = counted()?;
    for family in Family::ALL {
        let dial = Dial::new(Transport::Tcp, pair(NEAR).port(family, 81)).within(AT_ONCE);
        let outcome = dial.ask(client);
        ensure!(outcome == Err(Failure::Refused), "{client}: {outcome:?}");
    }
    let after = counted()?;
    ensure!(
        after == before + 2,
        "{client}: counted {before}, then {after}"
    );
    Ok(())
}

/// Everybody reaches everything by this uplink, and hears of what is refused.
fn serves_all(cluster: &Cluster, pod: &Place, lb: &Lb) -> Result<()> {
    let node = addresses::node(0);
    serves(cluster.outside(), node, NODE_PORT, "near-0").context("a node port")?;
    serves(cluster.outside(), node, NODE_PORT + 1, "far-0").context("a node port")?;
    serves(cluster.outside(), pair(FAR), 80, "far-0")?;
    serves(pod, pair(NEAR), 80, "near-0")?;
    serves(pod, pair(FAR), 80, "far-0")?;
    for client in [cluster.outside(), pod] {
        refuses(client, lb)?;
    }
    ensure!(
        cluster.here().invalid_packets()? == 0,
        "conntrack saw invalid packets"
    );
    Ok(())
}

/// What `lb` says of links that it cannot serve as it was told to.
fn problems(lb: &Lb) -> Result<String> {
    lb.output(&["get", "problems", "--all-namespaces", "--no-headers"])
}

/// The member that a bond uses.
fn active_member(node: &Place, bond: &str) -> Result<String> {
    let mut show = Command::new("ip");
    show.args(["-json", "-details", "link", "show", "dev", bond]);
    let links: serde_json::Value = serde_json::from_str(&node.netns().output(&mut show)?)?;
    let member = links[0]["linkinfo"]["info_data"]["active_slave"].as_str();
    Ok(member.context("no member is active")?.to_owned())
}

/// Streams from outside and from a pod, to a pod here and to one of the other node, go on when the
/// member that they use fails, and when the other one does. XDP sits at the members, under the bond.
fn streams_outlive_a_member(hooks: &str) {
    if !has_bonds() {
        return;
    }
    if hooks.contains("xdp") && features::kernel_version() < BONDS_TAKE_XDP {
        println!("ABSENT XDP at a bond");
        return;
    }
    alone(
        || Cluster::over(Uplink::Bond),
        |cluster| {
            let manifests = Manifests::new()?;
            let _apps = two_services(&manifests, cluster)?;
            let pod = cluster.here().pod("client")?;
            let _links = cluster.prepare_for_xdp()?;
            let lb = Lb::started(cluster.here(), &manifests, hooks)?;
            let said = problems(&lb)?;
            ensure!(!said.contains("XDP"), "{said}");
            serves_all(cluster, &pod, &lb)?;
            let node = addresses::node(0);
            let mut streams = Vec::new();
            for family in Family::ALL {
                let outside = cluster.outside();
                streams.push(Stream::start(outside, node.port(family, NODE_PORT), 1));
                streams.push(Stream::start(outside, node.port(family, NODE_PORT + 1), 2));
                streams.push(Stream::start(&pod, pair(FAR).port(family, 80), 3));
            }
            sleep(Duration::from_millis(500));
            for failing in [0, 1] {
                let node = cluster.here().place();
                let before = active_member(node, UPLINK)?;
                cluster.set_link(failing, false)?;
                wait::until("the bond uses its other member", PATIENCE, || {
                    Ok(active_member(node, UPLINK)? != before)
                })?;
                serves(
                    cluster.outside(),
                    addresses::node(0),
                    NODE_PORT + 1,
                    "far-0",
                )?;
                sleep(Duration::from_secs(1));
                cluster.set_link(failing, true)?;
                wait::until("the member is back", PATIENCE, || {
                    let mut show = Command::new("ip");
                    let links = show.args(["link", "show", "master", UPLINK, "up"]);
                    let links = node.netns().output(links)?;
                    Ok(links.matches("LOWER_UP").count() == 2)
                })?;
            }
            for stream in streams {
                let report = stream.finish();
                ensure!(report.failure.is_none() && report.bytes > 0, "{report:?}");
            }
            lb.uninstall()
        },
    );
}

#[test]
fn streams_outlive_a_member_of_a_bond_at_traffic_control() {
    streams_outlive_a_member("tc");
}

#[test]
fn streams_outlive_a_member_of_a_bond_at_xdp() {
    streams_outlive_a_member("tc,xdp");
}

/// The uplink is a VLAN of a link that is an uplink itself.
fn a_vlan_is_served(uplink: Uplink) {
    if !has_vlans() || !has_bonds() {
        return;
    }
    on(
        || Cluster::over(uplink),
        |cluster| {
            let manifests = Manifests::new()?;
            let _apps = two_services(&manifests, cluster)?;
            let pod = cluster.here().pod("client")?;
            let _links = cluster.prepare_for_xdp()?;
            let mut lb = Lb::new(cluster.here(), &manifests, "tc,xdp")?
                .with("LB_UPLINK", &format!("{TRUNK},{UPLINK}"));
            lb.start()?;
            // Neither has XDP: the VLAN could not, and the link below could not tell whose packets they are.
            let said = problems(&lb)?;
            ensure!(
                said.contains(UPLINK) && said.contains("VLANs of it"),
                "{said}"
            );
            serves_all(cluster, &pod, &lb)?;
            lb.uninstall()
        },
    );
}

#[test]
fn a_vlan_is_served_where_the_tag_is_beside_the_packet() {
    a_vlan_is_served(Uplink::Vlan);
}

#[test]
fn a_vlan_of_a_vlan_of_a_bond_is_served() {
    a_vlan_is_served(Uplink::QinqOfBond);
}

/// Pods of the other node are reached by a link without Ethernet header, whose packets are smaller
/// than the uplink's, by everybody, and they reach ClusterIPs by it. XDP at the uplink leaves to traffic
/// control what goes there.
#[test]
fn pods_behind_wireguard_are_served_and_reach_others() {
    if !has_wireguard() {
        return;
    }
    on(Cluster::wireguard, |cluster| {
        let manifests = Manifests::new()?;
        let _apps = two_services(&manifests, cluster)?;
        let pod = cluster.here().pod("client")?;
        let far = cluster.elsewhere().pod("far-client")?;
        let _links = cluster.prepare_for_xdp()?;
        let lb = Lb::started(cluster.here(), &manifests, "tc,xdp,socket")?;
        serves_all(cluster, &pod, &lb)?;
        serves(lb.node(), pair(FAR), 80, "far-0").context("the node itself")?;
        serves(&far, pair(NEAR), 80, "near-0")?;
        serves(&far, pair(FAR), 80, "far-0").context("there and back")?;
        refuses(&far, &lb)?;
        let mut statistics = Command::new("ip");
        statistics.args(["-json", "-statistics", "link", "show", "dev", WIREGUARD]);
        let node = cluster.here().place().netns();
        let links: serde_json::Value = serde_json::from_str(&node.output(&mut statistics)?)?;
        for direction in ["rx", "tx"] {
            let bytes = links[0]["stats64"][direction]["bytes"].as_u64();
            ensure!(bytes > Some(BYTES as u64), "{direction}: {bytes:?}");
        }
        lb.uninstall()
    });
}

/// Puts the module back.
struct Without;

impl Without {
    fn new() -> Result<Self> {
        command::run(Command::new("rmmod").arg("br_netfilter"))?;
        Ok(Self)
    }
}

impl Drop for Without {
    fn drop(&mut self) {
        if let Err(error) = command::run(Command::new("modprobe").arg("br_netfilter")) {
            eprintln!("{error:#}");
        }
    }
}

/// A pod and its backend on one bridge, on a kernel where bridged packets never meet netfilter:
/// neither is half a connection seen, nor a packet called invalid.
#[test]
fn ports_of_one_bridge_are_served_without_br_netfilter() {
    let is_users = std::env::var_os("LB_MACHINE").is_none();
    let why = is_users.then_some("this kernel's br_netfilter is not ours to remove");
    if !need::feature_of_machines("a bridge alone", why) {
        return;
    }
    let _without = Without::new().expect("it is a module, and removed");
    on(Cluster::bridge_alone, |cluster| {
        let manifests = Manifests::new()?;
        let _apps = two_services(&manifests, cluster)?;
        let pod = cluster.here().pod("client")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        serves_all(cluster, &pod, &lb)?;
        lb.uninstall()
    });
}
