//! Every kind of Service, end to end.

use std::slice::from_ref;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Health, Manifests, Service};
use lb_tests::peer::{Dial, Transport};
use lb_tests::topology::{Family, addresses};
use serde_json::json;

use super::{await_answers, await_refusal, in_cluster, kubia, tcp};

const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// One Service with all kinds of addresses, dual-stack, for TCP and UDP, asked by a pod, by the node
/// and from outside; then its pods become unready, terminate and go.
#[test]
fn all_addresses_of_a_service_lead_to_its_pods() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        let (external, given) = (addresses::routed(10), addresses::routed(20));
        let service = Service::new("kubia", "kubia")
            .at(&kubia().both())
            .port(80, 8080)
            .external_ips(&external.both())
            .load_balancer(&given.both())
            .with("sessionAffinity", json!("None"));
        let mut service = service.object();
        for port in service["spec"]["ports"].as_array_mut().context("ports")? {
            port["nodePort"] = json!(30_123);
        }
        manifests.write("kubia.yaml", &[service])?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-here")?;
        app.pod(cluster.elsewhere(), "kubia-there")?;
        let pod = cluster.here().pod("client")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc,socket")?;
        let both = ["kubia-here", "kubia-there"];
        await_answers(&pod, tcp(kubia().port(Family::V4, 80)), &both)?;

        let node = addresses::node(0);
        for family in Family::ALL {
            for transport in TRANSPORTS {
                let at = |address: addresses::Pair, port| {
                    Dial::new(transport, address.port(family, port))
                };
                for client in [&pod, lb.node()] {
                    for dial in [
                        at(kubia(), 80),
                        at(node, 30_123),
                        at(external, 80),
                        at(given, 80),
                    ] {
                        await_answers(client, dial, &both)?;
                    }
                }
                for dial in [at(node, 30_123), at(external, 80), at(given, 80)] {
                    await_answers(cluster.outside(), dial, &both)?;
                }
            }
        }

        let dial = tcp(kubia().port(Family::V6, 80));
        app.set_health("kubia-here", Health::NotReady)?;
        await_answers(&pod, dial, &["kubia-there"])?;
        app.set_health("kubia-here", Health::Ready)?;
        await_answers(&pod, dial, &both)?;
        // Terminating, and the other one unready: who still serves is better than nobody.
        app.set_health("kubia-there", Health::NotReady)?;
        app.set_health("kubia-here", Health::Terminating)?;
        await_answers(&pod, dial, &["kubia-here"])?;
        app.remove("kubia-here")?;
        await_refusal(&pod, dial)?;
        ensure!(cluster.here().invalid_packets()? == 0);
        lb.uninstall()
    });
}

/// Everything that belongs to a Service comes in either order, and ends the same.
#[test]
fn the_order_of_events_makes_no_difference() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        let lb = Lb::started(cluster.here(), &manifests, "tc,socket")?;
        let client = cluster.here().pod("client")?;
        // The slice first: it is written by hand, for a Service without a selector.
        let pod = cluster.here().pod("by-hand")?;
        let _server = lb_tests::peer::Server::start(&pod, "by-hand", 8080)?;
        let slice = |name: &str, service: &str| {
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": name,
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": service},
                },
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": [{"addresses": [pod.address(Family::V4)]}],
            })
        };
        let service = |name: &str, address: &str| {
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"clusterIP": address, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
            })
        };
        let cases = [("slice-first", "10.43.3.1"), ("service-first", "10.43.3.2")];
        for (name, address) in cases {
            let (service, slice) = (service(name, address), slice(&format!("{name}-x"), name));
            let dial = tcp(format!("{address}:80").parse()?);
            if name == "slice-first" {
                manifests.write("slice.yaml", from_ref(&slice))?;
                manifests.write("service.yaml", &[service])?;
            } else {
                manifests.write("service.yaml", &[service])?;
                await_refusal(&client, dial)?;
                manifests.write("slice.yaml", from_ref(&slice))?;
            }
            await_answers(&client, dial, &["by-hand"])?;
            await_answers(lb.node(), dial, &["by-hand"])?;
        }
        // And away again, in either order.
        let dial = tcp("10.43.3.2:80".parse()?);
        manifests.write("slice.yaml", &[])?;
        await_refusal(&client, dial)?;
        manifests.write("slice.yaml", &[slice("again", "service-first")])?;
        await_answers(&client, dial, &["by-hand"])?;
        manifests.write("service.yaml", &[])?;
        // An address of the cluster's range that nobody has: dropped, not refused.
        super::wait::until("nobody answers any more", super::SOON, || {
            Ok(dial.ask(&client) == Err(super::Failure::TimedOut))
        })?;
        lb.uninstall()
    });
}

/// What the API server's selectors leave out is never seen; a label may be added and taken away.
#[test]
fn services_of_other_proxies_are_left_to_them() {
    in_cluster(|cluster, control| -> Result<()> {
        let manifests = Manifests::in_cluster(control)?;
        let service = Service::new("kubia", "kubia")
            .at(&kubia().both())
            .port(80, 8080);
        let ours = service.object();
        let mut theirs = ours.clone();
        let label = json!({"service.kubernetes.io/service-proxy-name": "other"});
        theirs["metadata"]["labels"] = label;
        manifests.write("kubia.yaml", from_ref(&ours))?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia")?;
        let client = cluster.here().pod("client")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let dial = tcp(kubia().port(Family::V4, 80));
        await_answers(&client, dial, &["kubia"])?;
        manifests.write("kubia.yaml", &[theirs])?;
        super::wait::until("it is left to others", super::SOON, || {
            Ok(dial.ask(&client) == Err(super::Failure::TimedOut))
        })?;
        manifests.write("kubia.yaml", &[ours])?;
        await_answers(&client, dial, &["kubia"])?;
        lb.uninstall()
    });
}
