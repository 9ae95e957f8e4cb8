//! What does a Service's `healthCheckNodePort` answer, and where is listened for it? Load balancers
//! in front of the nodes send clients only to nodes that say 200 there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::Health;
use crate::http::{AGAIN_AFTER, Answers, Reply, Server};
use crate::model::{Object, ObjectName, Policy, Problem, ServiceKind, World};

/// The servers of all health check ports.
#[derive(Debug)]
pub struct Ports {
    health: Health,
    news: Arc<Notify>,
    services: BTreeMap<ObjectName, Checked>,
}

/// A Service with a health check port.
#[derive(Debug)]
struct Checked {
    port: u16,
    ready: Arc<Ready>,
    servers: BTreeMap<SocketAddr, Server>,
}

/// How many ready endpoints the Service has on this node, IPv4 and IPv6.
#[derive(Debug, Default)]
struct Ready([AtomicUsize; 2]);

impl Ports {
    /// None yet; `news` is told when a port can or can no longer be listened on.
    #[must_use]
    pub const fn new(health: Health, news: Arc<Notify>) -> Self {
        Self {
            health,
            news,
            services: BTreeMap::new(),
        }
    }

    /// Follows the world, in which these Services, or the node, may have changed.
    pub fn follow(&mut self, world: &World, touched: &BTreeSet<ObjectName>) {
        for name in touched {
            match port(world, name) {
                Some(port) => self.check(world, name, port),
                None => drop(self.services.remove(name)),
            }
        }
    }

    fn check(&mut self, world: &World, name: &ObjectName, port: u16) {
        let checked = self
            .services
            .entry(name.clone())
            .or_insert_with(|| Checked {
                port,
                ready: Arc::default(),
                servers: BTreeMap::new(),
            });
        if checked.port != port {
            checked.servers.clear();
            checked.port = port;
        }
        for (ready, count) in checked.ready.0.iter().zip(local_ready(world, name)) {
            ready.store(count, Ordering::Relaxed);
        }
        let wanted = addresses(world, port);
        checked
            .servers
            .retain(|address, _| wanted.contains(address));
        for address in wanted {
            checked.servers.entry(address).or_insert_with(|| {
                let answers = ServiceAnswers {
                    name: name.clone(),
                    family: usize::from(address.is_ipv6()),
                    ready: Arc::clone(&checked.ready),
                    health: self.health.clone(),
                };
                Server::start(address, Arc::new(answers), Arc::clone(&self.news))
            });
        }
    }

    /// The ports that are not listened on.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, checked) in &self.services {
            for (address, server) in &checked.servers {
                let Err(why) = server.state() else { continue };
                problems.push(Problem {
                    object: Object {
                        kind: "Service".to_owned(),
                        name: name.clone(),
                    },
                    field: "spec.healthCheckNodePort".to_owned(),
                    why: format!(
                        "nobody answers on {address}: {why}; end what listens there, it is tried \
                         again every {} seconds",
                        AGAIN_AFTER.as_secs()
                    ),
                    place: None,
                });
            }
        }
        problems
    }
}

/// The Service's health check port, if it has a use for one.
fn port(world: &World, name: &ObjectName) -> Option<u16> {
    let service = world.service(name)?;
    let is_checked =
        service.kind == ServiceKind::LoadBalancer && service.external_policy == Policy::Local;
    service.health_check_node_port.filter(|_| is_checked)
}

/// Where NodePorts are served, as in kube-proxy.
fn addresses(world: &World, port: u16) -> BTreeSet<SocketAddr> {
    let own = world.node().node_port_addresses.iter();
    own.map(|address| SocketAddr::new(*address, port)).collect()
}

/// Ready endpoints on this node, IPv4 and IPv6, each address once whatever its ports. Those that
/// terminate do not count, although they may still serve: the next client shall go elsewhere.
fn local_ready(world: &World, name: &ObjectName) -> [usize; 2] {
    let node = &world.node().name;
    let slices = world.slices(name);
    let with_ports = slices.filter(|slice| slice.ports.iter().any(|port| port.port.is_some()));
    let ready: BTreeSet<IpAddr> = with_ports
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.ready && endpoint.node.as_deref() == Some(node))
        .map(|endpoint| endpoint.address)
        .collect();
    let v6 = ready.iter().filter(|address| address.is_ipv6()).count();
    [ready.len() - v6, v6]
}

/// Answers for one Service on one address.
#[derive(Debug)]
struct ServiceAnswers {
    name: ObjectName,
    /// Place in [`Ready`].
    family: usize,
    ready: Arc<Ready>,
    health: Health,
}

impl Answers for ServiceAnswers {
    /// Whatever is asked, as in kube-proxy: clouds differ in the path that they ask for.
    fn answer(&self, _path: &str, _accept: &str) -> Option<Reply> {
        let count = self.ready.0[self.family].load(Ordering::Relaxed);
        let is_healthy = self.health.snapshot().is_healthy;
        let ObjectName { namespace, name } = &self.name;
        let mut reply = Reply::json(
            count != 0 && is_healthy,
            // Byte by byte kube-proxy's; names of objects need no escapes.
            format!(
                "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \
                 \"{name}\"\n\t}},\n\t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": \
                 {is_healthy}\n}}"
            ),
        );
        reply
            .headers
            .push(("x-load-balancing-endpoint-weight", count.to_string()));
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Change, Endpoint, Node, Service, Slice, SlicePort};

    fn endpoint(address: &str, node: &str, ready: bool) -> Endpoint {
        Endpoint {
            ready,
            terminating: !ready,
            node: Some(node.into()),
            ..Endpoint::at(address.parse().expect("an address"))
        }
    }

    fn world(endpoints: &[Endpoint], policy: Policy) -> (World, ObjectName) {
        let name = ObjectName::new("default", "kubia");
        let mut world = World::default();
        world.apply(Change::Node(Node {
            name: "here".to_owned(),
            ..Node::default()
        }));
        world.apply(Change::Service(
            name.clone(),
            Some(Arc::new(Service {
                kind: ServiceKind::LoadBalancer,
                external_policy: policy,
                health_check_node_port: Some(30_062),
                ..Service::default()
            })),
        ));
        let port = |name: &str, port| SlicePort {
            name: name.to_owned(),
            port,
            ..SlicePort::default()
        };
        for (slice, port) in [
            ("a", port("http", Some(80))),
            ("b", port("https", Some(443))),
        ] {
            let slice_of = Slice {
                service: name.clone(),
                ports: vec![port],
                endpoints: endpoints.to_vec(),
            };
            world.apply(Change::Slice(
                ObjectName::new("default", slice),
                Some(slice_of.into()),
            ));
        }
        (world, name)
    }

    #[test]
    fn ready_endpoints_of_this_node_count_once_each_in_their_family() {
        let (world, name) = world(
            &[
                endpoint("10.42.0.1", "here", true),
                endpoint("10.42.0.2", "here", true),
                endpoint("10.42.0.3", "here", false),
                endpoint("10.42.1.4", "there", true),
                endpoint("fd00::1", "here", true),
            ],
            Policy::Local,
        );
        assert_eq!(local_ready(&world, &name), [2, 1]);
        assert_eq!(port(&world, &name), Some(30_062));
    }

    #[test]
    fn a_service_that_every_node_serves_needs_no_check() {
        let (world, name) = world(&[], Policy::Cluster);
        assert_eq!(port(&world, &name), None);
    }

    fn two_endpoints(health: &Health) -> ServiceAnswers {
        ServiceAnswers {
            name: ObjectName::new("default", "kubia"),
            family: 0,
            ready: Arc::new(Ready([2.into(), 0.into()])),
            health: health.clone(),
        }
    }

    #[test]
    fn the_answer_is_kube_proxys() {
        let health = Health::default();
        let answers = two_endpoints(&health);
        let reply = answers.answer("/whatever", "").expect("an answer");
        assert_eq!(reply.status, 200);
        assert_eq!(
            reply.body,
            "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"kubia\"\n\t},\n\
             \t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}"
        );
        let weight = ("x-load-balancing-endpoint-weight", "2".to_owned());
        assert!(reply.headers.contains(&weight), "{:?}", reply.headers);
        answers.ready.0[0].store(0, Ordering::Relaxed);
        assert_eq!(answers.answer("/", "").expect("an answer").status, 503);
    }

    #[test]
    fn a_node_whose_changes_wait_for_a_minute_gets_no_clients() {
        let health = Health::default();
        let answers = two_endpoints(&health);
        for (seconds, status, is_healthy) in [(58, 200, true), (60, 503, false)] {
            health.wait(Duration::from_secs(seconds));
            let reply = answers.answer("/", "").expect("an answer");
            assert_eq!(reply.status, status, "after {seconds} s");
            let body: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
            assert_eq!(body["serviceProxyHealthy"], is_healthy, "{body}");
            assert_eq!(body["localEndpoints"], 2, "{body}");
        }
    }
}
