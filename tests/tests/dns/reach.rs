//! Do clients reach the DNS through a VIP of ours, and then the Service by its name?

use std::net::{IpAddr, SocketAddr};

use anyhow::ensure;
use lb_tests::app::App;
use lb_tests::dig::dig;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, dns_service};
use lb_tests::peer::{Dial, Transport};
use lb_tests::topology::{Cluster, Family, on};

/// Where pods find DNS, as kubeadm has it.
const VIP: &str = "10.43.0.10:53";
/// Where `lb` listens on the node.
const PORT: u16 = 5_353;
/// What is in a pod's `resolv.conf`, so that one word is enough.
const SEARCH: [&str; 3] = ["+short", "+search", "+domain=default.svc.cluster.local"];

#[test]
fn a_pod_finds_a_service_by_name_through_the_vip_of_dns() {
    on(Cluster::routed_veth, |cluster| {
        let node = cluster.here().place().address(Family::V4);
        let listen = SocketAddr::new(node, PORT);
        let vip: SocketAddr = VIP.parse()?;
        let manifests = Manifests::new()?;
        manifests.copy_example("kubia/service.yaml")?;
        manifests.write("dns.yaml", &dns_service(cluster.here(), vip, PORT))?;
        let app = App::new(&manifests, "kubia", 8_080);
        app.pod(cluster.here(), "kubia-vs2kl")?;
        app.pod(cluster.elsewhere(), "kubia-4nj9r")?;
        let client = cluster.here().pod("client")?;
        let mut lb = Lb::new(cluster.here(), &manifests, "tc,socket")?
            .with("LB_DNS_LISTEN", &listen.to_string());
        lb.start()?;
        for by in [&[][..], &["+tcp"]] {
            let words = [&SEARCH[..], by, &["kubia"]].concat();
            let found: IpAddr = dig(client.netns(), vip, &words)?.trim().parse()?;
            let answer = Dial::new(Transport::Tcp, SocketAddr::new(found, 80)).ask(&client)?;
            ensure!(answer.by.starts_with("kubia-"), "{answer:?}");
        }
        lb.uninstall()
    });
}
