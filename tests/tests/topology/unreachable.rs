//! A backend whose port is closed says so by ICMP, and the client hears it at once, as if the VIP
//! had said it: its socket knows no other address.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Dial, Failure, Transport};
use lb_tests::topology::{Cluster, Family, Pair, on};

/// What is refused at once is refused within this time.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Backends here and elsewhere whose server listens on another port than the Service names.
fn closed_ports_refuse(make: impl FnOnce() -> Result<Cluster>, hooks: &str) {
    on(make, |cluster| {
        let manifests = Manifests::new()?;
        let vips = [
            Pair::new("10.43.0.1", "fd00:10:43::1"),
            Pair::new("10.43.0.2", "fd00:10:43::2"),
        ];
        let nodes = [cluster.here(), cluster.elsewhere()];
        let mut apps = Vec::new();
        let mut backends = Vec::new();
        for ((name, vip), node) in ["here", "elsewhere"].iter().zip(&vips).zip(nodes) {
            let service = Service::new(name, name).at(&vip.both()).port(80, 8081);
            manifests.write(&format!("{name}.yaml"), &[service.object()])?;
            let app = App::new(&manifests, name, 8080);
            backends.push(app.pod(node, name)?);
            apps.push(app);
        }
        let client = cluster.here().pod("client")?;
        let _links = if hooks.contains("xdp") {
            cluster.prepare_for_xdp()?
        } else {
            Vec::new()
        };
        let lb = Lb::started(cluster.here(), &manifests, hooks)?;
        for family in Family::ALL {
            for vip in &vips {
                // The backend itself among them: the first of the VIPs brings it back to itself.
                for client in [cluster.outside(), &client, &backends[0]] {
                    for transport in [Transport::Udp, Transport::Tcp] {
                        let dial = Dial::new(transport, vip.port(family, 80)).within(AT_ONCE);
                        let outcome = dial.ask(client);
                        ensure!(
                            outcome == Err(Failure::Refused),
                            "{client}, {dial:?}: {outcome:?}"
                        );
                    }
                }
            }
        }
        for node in nodes {
            ensure!(node.invalid_packets()? == 0, "INVALID at {}", node.name());
        }
        lb.uninstall()
    });
}

#[test]
fn a_closed_port_refuses_at_traffic_control() {
    closed_ports_refuse(Cluster::routed_veth, "tc");
}

#[test]
fn a_closed_port_refuses_at_xdp() {
    closed_ports_refuse(Cluster::routed_veth, "tc,xdp");
}

#[test]
fn a_closed_port_refuses_on_a_bridge() {
    closed_ports_refuse(|| Cluster::bridge(false), "tc");
}

#[test]
fn a_closed_port_refuses_over_an_overlay() {
    closed_ports_refuse(Cluster::overlay, "tc,xdp");
}
