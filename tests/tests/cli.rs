//! What does `lb` answer about a running datapath? Differences, changes as they come, and why packets
//! go where they go.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::command;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Health, Manifests, Service};
use lb_tests::packet::{ACK, Packet};
use lb_tests::peer::{Dial, Transport};
use lb_tests::topology::{Cluster, Family, Pair, on};
use lb_tests::{leftovers, need};
use serde_json::Value;

/// A change is seen at the next look, after half a second.
const PATIENCE: Duration = Duration::from_secs(10);

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

fn service() -> Service {
    Service::new("kubia", "kubia")
        .at(&kubia().both())
        .port(80, 8080)
}

/// Exit code and standard output.
fn answer(lb: &Lb, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = lb.command(arguments)?;
    lb.node().netns().run(|| {
        let output = command.output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok((output.status.code(), text))
    })
}

/// A capture of an Ethernet link (pcap, little-endian).
fn capture(packets: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0xffff, 1] {
        file.extend(word.to_le_bytes());
    }
    for packet in packets {
        let bytes = packet.bytes();
        let length = bytes.len() as u32;
        for word in [1_700_000_000, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(bytes);
    }
    file
}

#[test]
fn diff_exits_as_kubectl_does_and_names_what_would_change() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        manifests.write("kubia.yaml", &[service().object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-vs2kl")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let same = answer(&lb, &["diff"])?;
        ensure!(same == (Some(0), String::new()), "{same:?}");
        // As somebody would ask before changing what is served.
        let others = Manifests::new()?;
        let web = Service::new("web", "web")
            .at(&[kubia().v4.into()])
            .port(443, 8443);
        others.write("web.yaml", &[web.object()])?;
        let directory = others.path().display().to_string();
        let (code, text) = answer(&lb, &["diff", "--manifests", &directory])?;
        ensure!(code == Some(1), "{code:?}: {text}");
        for line in [
            "+ service default/web: ",
            "- service default/kubia: ",
            "- backend ",
        ] {
            ensure!(
                text.lines().any(|found| found.starts_with(line)),
                "no {line:?} in\n{text}"
            );
        }
        let (code, text) = answer(&lb, &["diff", "--manifests", "no-such-directory"])?;
        ensure!((code, text.as_str()) == (Some(2), ""), "{code:?}: {text}");
        lb.uninstall()
    });
}

#[test]
fn get_watch_shows_each_change_as_it_comes() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        manifests.write("kubia.yaml", &[service().object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-vs2kl")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let mut command = lb.command(&["get", "backends", "-w", "--no-headers"])?;
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut watch = lb.node().netns().run(|| Ok(command.spawn()?))?;
        let guard = leftovers::process(watch.id());
        let out = BufReader::new(watch.stdout.take().context("its output")?);
        let (sender, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let shows = |pod: &str, status: &str| -> Result<()> {
            loop {
                let line = lines.recv_timeout(PATIENCE);
                let line = line.with_context(|| format!("{pod} is never shown as {status}"))?;
                if line.contains(pod) && line.contains(status) {
                    return Ok(());
                }
            }
        };
        shows("kubia-vs2kl", "Ready")?;
        app.pod(cluster.here(), "kubia-4nj9r")?;
        shows("kubia-4nj9r", "Ready")?;
        app.set_health("kubia-4nj9r", Health::Terminating)?;
        shows("kubia-4nj9r", "Draining")?;
        watch.kill()?;
        watch.wait()?;
        guard.release();
        reader.join().expect("a reader that does not panic");
        lb.uninstall()
    });
}

#[test]
fn explain_tells_the_maps_from_the_manifests_and_knows_flows() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        manifests.write("kubia.yaml", &[service().object()])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-vs2kl")?;
        app.pod(cluster.elsewhere(), "kubia-4nj9r")?;
        let client = cluster.here().pod("client")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let source = SocketAddr::new(client.address(Family::V4), 45_678);
        let vip = kubia().port(Family::V4, 80);
        let question = [source.to_string(), vip.to_string()];
        let ask = |live: &[&str]| -> Result<Value> {
            let words = [&["explain", &question[0], &question[1], "-o", "json"], live].concat();
            Ok(serde_json::from_str(&lb.output(&words)?)?)
        };
        // The manifests are configured by the environment, as for the daemon.
        let offline = ask(&[])?;
        ensure!(
            offline["ground"] == "manifests" && offline["backend"].is_null(),
            "{offline}"
        );
        let before = ask(&["--live"])?;
        ensure!(
            before["ground"] == "maps" && before["reason"] == "new-flow",
            "{before}"
        );
        let answer = Dial::new(Transport::Tcp, vip)
            .from_port(source)
            .ask(&client)?;
        let after = ask(&["--live"])?;
        ensure!(after["reason"] == "flow", "{after}");
        ensure!(after["backend"] == before["backend"], "{before}\n{after}");
        let backends = lb.output(&["get", "backends", "--no-headers"])?;
        let chosen = after["backend"].as_str().context("a backend")?;
        let row = backends.lines().find(|row| row.contains(chosen));
        ensure!(
            row.is_some_and(|row| row.contains(&answer.by)),
            "{answer:?}, {after}\n{backends}"
        );
        // A capture that begins amid the connection, with a packet of the server's.
        let packets = [Packet::tcp(vip, source, ACK), Packet::tcp(source, vip, ACK)];
        manifests.write_bytes("flow.pcap", &capture(&packets))?;
        let file = manifests.path().join("flow.pcap").display().to_string();
        let words = ["explain", "--live", "--pcap", &file, "-o", "json"];
        let captured: Value = serde_json::from_str(&lb.output(&words)?)?;
        let flow = &captured["flows"][0];
        ensure!(
            flow["reason"] == "flow" && flow["backend"] == after["backend"],
            "{captured}"
        );
        lb.uninstall()
    });
}

/// What kube-proxy leaves in its nftables mode, and in its iptables mode over nftables. The old iptables have
/// tables of their own.
const KUBE_PROXY: &str = "
table ip kube-proxy {
    chain services { }
    chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
}
table ip nat {
    chain KUBE-SERVICES { }
    chain PREROUTING { type nat hook prerouting priority dstnat; jump KUBE-SERVICES; }
}
";

#[test]
fn doctor_names_what_a_kube_proxy_left_behind() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        let lb = Lb::new(cluster.here(), &manifests, "tc")?;
        let (_, before) = answer(&lb, &["doctor"])?;
        ensure!(!before.contains("kube-proxy"), "{before}");
        // The nodes of these clusters have it strict, as distributions do.
        ensure!(before.contains("rp_filter"), "{before}");
        let nft = || command::feed(Command::new("nft").args(["-f", "-"]), KUBE_PROXY);
        lb.node().netns().run(nft)?;
        let has_old = need::old_iptables(lb.node().netns());
        if has_old {
            let mut old = Command::new("iptables-legacy");
            old.args(["-t", "mangle", "-N", "KUBE-SERVICES"]);
            lb.node().netns().output(&mut old)?;
        }
        let (_, after) = answer(&lb, &["doctor"])?;
        for found in [
            "nftables table kube-proxy with 2 chains",
            "iptables chain KUBE-SERVICES in table nat",
        ] {
            ensure!(after.contains(found), "no {found:?} in\n{after}");
        }
        let old = "iptables chain KUBE-SERVICES in table mangle";
        ensure!(after.contains(old) == has_old, "{after}");
        Ok(())
    });
}
