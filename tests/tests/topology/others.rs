//! Others on the same machine: filters of a CNI at the same links, another instance of `lb`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::app::App;
use lb_tests::foreign::{Foreign, Kind, TC_DROP, TC_NEXT};
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Dial, Failure, Transport};
use lb_tests::topology::{Cluster, Family, Pair, Place, UPLINK, on};
use lb_userspace::bpf::{Attachment, Link, Place as Order};

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

fn manifests() -> Result<Manifests> {
    let manifests = Manifests::new()?;
    let service = Service::new("kubia", "kubia")
        .at(&kubia().both())
        .port(80, 8080);
    manifests.write("kubia.yaml", &[service.object()])?;
    Ok(manifests)
}

fn ask(client: &Place, to: SocketAddr) -> Result<String, Failure> {
    let dial = Dial::new(Transport::Tcp, to).within(Duration::from_millis(400));
    dial.ask(client).map(|answer| answer.by)
}

/// Where an IPv4 packet has its source and its destination, behind an Ethernet header.
const SOURCE: u32 = 14 + 12;
const DESTINATION: u32 = 14 + 16;

/// A filter for `tc` that drops packets with this address there and has no opinion on others, in
/// classic BPF, which every kernel with clsact has: load, compare, return.
fn drops(at: u32, address: Ipv4Addr) -> String {
    let (address, drop, next) = (address.to_bits(), 2, u32::MAX);
    format!("4,32 0 0 {at},21 0 1 {address},6 0 0 {drop},6 0 0 {next}")
}

/// A CNI's filter at the client's link, in clsact. It comes after ours at ingress and before ours at
/// egress, so it sees the backend's own address, and what it drops stays dropped.
#[test]
fn filters_of_others_see_plain_pods_and_have_their_say() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod_at(cluster.here(), 10, "kubia")?;
        let client = cluster.here().pod_at(20, "client")?;
        let node = cluster.here().place().netns();
        let tc = |arguments: &str| node.output(Command::new("tc").args(arguments.split(' ')));
        let add = |direction: &str, preference: u32, filter: &str| {
            let mut tc = Command::new("tc");
            tc.args(["filter", "add", "dev", "cali20", direction, "pref"]);
            tc.args([
                &preference.to_string(),
                "protocol",
                "ip",
                "bpf",
                "bytecode",
                filter,
                "da",
            ]);
            node.output(&mut tc)
        };
        let (vip, pod) = (kubia().v4, Ipv4Addr::new(10, 42, 0, 10));
        tc("qdisc add dev cali20 clsact")?;
        add("ingress", 10, &drops(DESTINATION, vip))?;
        add("egress", 10, &drops(SOURCE, vip))?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let dial = || ask(&client, kubia().port(Family::V4, 80));
        // They match the VIP, which they never see.
        ensure!(dial() == Ok("kubia".to_owned()));
        add("ingress", 5, &drops(DESTINATION, pod))?;
        ensure!(
            dial() == Err(Failure::TimedOut),
            "a filter at ingress was bypassed"
        );
        tc("filter del dev cali20 ingress pref 5")?;
        add("egress", 5, &drops(SOURCE, pod))?;
        ensure!(
            dial() == Err(Failure::TimedOut),
            "a filter at egress was bypassed"
        );
        tc("filter del dev cali20 egress pref 5")?;
        ensure!(dial() == Ok("kubia".to_owned()));
        lb.uninstall()?;
        let left = tc("filter show dev cali20 ingress")?;
        ensure!(
            left.contains("pref 10"),
            "the filter of others has gone:\n{left}"
        );
        Ok(())
    });
}

/// The same at tcx, before ours and behind: a program that passes changes nothing, and what one
/// drops stays dropped.
#[test]
fn programs_of_others_at_tcx_have_their_say() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod_at(cluster.here(), 10, "kubia")?;
        let client = cluster.here().pod_at(20, "client")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let dial = || ask(&client, kubia().port(Family::V4, 80));
        let node = cluster.here().place().netns();
        let attach = |verdict, hook, order| {
            node.run(move || {
                let link = nix::net::if_::if_nametoindex("cali20")?;
                let foreign = Foreign::new(Kind::Tc, verdict)?;
                Ok(Link::at_network_link(foreign.fd(), link, hook, order)?)
            })
        };
        for hook in [Attachment::TcxIngress, Attachment::TcxEgress] {
            for order in [Order::First, Order::Last] {
                let passing = attach(TC_NEXT, hook, order)?;
                ensure!(
                    dial() == Ok("kubia".to_owned()),
                    "{hook:?} {order:?}, passing"
                );
                drop(passing);
                let dropping = attach(TC_DROP, hook, order)?;
                ensure!(
                    dial() == Err(Failure::TimedOut),
                    "{hook:?} {order:?}, dropping: bypassed"
                );
                drop(dropping);
                ensure!(dial() == Ok("kubia".to_owned()), "{hook:?} {order:?}, gone");
            }
        }
        lb.uninstall()
    });
}

/// Two nodes on one kernel, each with an `lb` of its own: neither sees the other, whatever becomes
/// of it.
#[test]
fn two_instances_on_one_kernel_never_see_each_other() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia")?;
        let client = cluster.here().pod_at(20, "client")?;
        let far_client = cluster.elsewhere().pod_at(20, "far-client")?;
        let mut here = Lb::started(cluster.here(), &manifests, "tc,socket")?;
        let there = Lb::started(cluster.elsewhere(), &manifests, "tc,socket")?;
        let answers = |clients: &[&Place]| {
            for client in clients {
                for family in Family::ALL {
                    let answer = ask(client, kubia().port(family, 80));
                    ensure!(answer == Ok("kubia".to_owned()), "{client}: {answer:?}");
                }
            }
            Ok(())
        };
        answers(&[&client, here.node(), &far_client, there.node()])?;
        // One dies, and is removed without having been started again.
        here.kill()?;
        answers(&[&client, here.node(), &far_client, there.node()])?;
        here.uninstall()?;
        ensure!(
            ask(&client, kubia().port(Family::V4, 80)).is_err(),
            "still balanced"
        );
        answers(&[&far_client, there.node()])?;
        there.uninstall()
    });
}

/// The uplink's XDP is somebody else's: that costs speed, not service, and is a problem that one can
/// read about.
#[test]
fn without_xdp_an_uplink_is_served_by_traffic_control() {
    on(Cluster::routed_veth, |cluster| {
        use lb_tests::foreign::{Foreign, Kind, XDP_PASS};
        use lb_userspace::bpf;
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia")?;
        let theirs = Foreign::new(Kind::Xdp, XDP_PASS)?;
        let _attached = cluster.here().place().netns().run(|| {
            let uplink = nix::net::if_::if_nametoindex(UPLINK)?;
            let (attachment, place) = (bpf::Attachment::Xdp, bpf::Place::Driver);
            Ok(bpf::Link::at_network_link(
                theirs.fd(),
                uplink,
                attachment,
                place,
            )?)
        })?;
        let lb = Lb::started(cluster.here(), &manifests, "tc,xdp")?;
        for family in Family::ALL {
            let answer = ask(cluster.outside(), kubia().port(family, 80));
            ensure!(answer == Ok("kubia".to_owned()), "{answer:?}");
        }
        let problems = lb.output(&["get", "problems", "--all-namespaces", "--no-headers"])?;
        ensure!(
            problems.contains(UPLINK),
            "nobody says that XDP is taken:\n{problems}"
        );
        lb.uninstall()
    });
}
