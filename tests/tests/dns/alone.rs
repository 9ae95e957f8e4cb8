//! What does a server say that cannot listen, or does not know everything yet?

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::ensure;
use lb_tests::dig::dig;
use lb_tests::lb::Lb;
use lb_tests::manifests::Manifests;
use lb_tests::topology::{Cluster, on};
use lb_tests::wait;

const LISTEN: &str = "127.0.0.1:5300";
/// It tries again every five seconds.
const PATIENCE: Duration = Duration::from_secs(12);

#[test]
fn an_address_that_others_have_is_a_problem_until_they_leave_it() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        manifests.copy_example("kubia/service.yaml")?;
        let node = cluster.here().place().netns();
        let server: SocketAddr = LISTEN.parse()?;
        let other = node.run(|| Ok(UdpSocket::bind(server)?))?;
        let mut lb = Lb::new(cluster.here(), &manifests, "tc")?.with("LB_DNS_LISTEN", LISTEN);
        lb.start()?;
        let mut problems = String::new();
        wait::until("the problem is told", PATIENCE, || {
            problems = lb.output(&["get", "problems", "-A"])?;
            Ok(problems.contains("--dns-listen 127.0.0.1:5300"))
        })?;
        for words in [
            "DNS is not served there",
            "in use",
            "end what listens there",
        ] {
            ensure!(problems.contains(words), "no {words:?} in\n{problems}");
        }
        drop(other);
        wait::until("DNS is served", PATIENCE, || {
            let words = ["+short", "+time=1", "kubia.default.svc.cluster.local"];
            Ok(dig(node, server, &words).is_ok_and(|answer| answer.trim() == "10.43.165.39"))
        })?;
        wait::until("the problem is over", PATIENCE, || {
            Ok(!lb
                .output(&["get", "problems", "-A"])?
                .contains("--dns-listen"))
        })?;
        lb.uninstall()
    });
}

#[test]
fn while_a_file_is_unreadable_what_is_known_is_answered_and_nothing_is_said_not_to_exist() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = Manifests::new()?;
        manifests.copy_example("kubia/service.yaml")?;
        manifests.write_text("broken.yaml", "kind: Service\nmetadata: {name: [\n")?;
        let node = cluster.here().place().netns();
        let server: SocketAddr = LISTEN.parse()?;
        let mut lb = Lb::new(cluster.here(), &manifests, "tc")?.with("LB_DNS_LISTEN", LISTEN);
        lb.start()?;
        let ask = |name: &str| {
            let name = format!("{name}.default.svc.cluster.local");
            dig(node, server, &[&name])
        };
        let known = ask("kubia")?;
        ensure!(known.contains("status: NOERROR"), "{known}");
        ensure!(known.contains("10.43.165.39"), "{known}");
        let unknown = ask("nobody")?;
        ensure!(unknown.contains("status: SERVFAIL"), "{unknown}");
        manifests.write("broken.yaml", &[])?;
        wait::until("everything is known", PATIENCE, || {
            Ok(ask("nobody")?.contains("status: NXDOMAIN"))
        })?;
        lb.uninstall()
    });
}
