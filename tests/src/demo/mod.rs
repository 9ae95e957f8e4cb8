//! What would a newcomer want to see? The worked cases of `examples/`, served by real processes
//! to real clients, a few lines each; whatever is shown is also checked.

mod change;
mod look;
mod names;
mod serve;
mod show;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};

use crate::lb::Lb;
use crate::manifests::{Manifests, dns_service};
use crate::need;
use crate::peer::Server;
use crate::topology::{Cluster, Family, Node, Place};
use show::{heading, line};

/// The hooks that the demo runs with: the default ones.
const HOOKS: &str = "tc,socket";

/// Where pods find DNS.
const DNS_VIP: &str = "10.43.0.10:53";
/// Where `lb` listens for it on the node.
const DNS_PORT: u16 = 5_353;

/// Files of `examples/` that are served.
const EXAMPLES: [&str; 10] = [
    "backend-service/service.yaml",
    "backend-service/pods.yaml",
    "kubia/service.yaml",
    "kubia/nodeport.yaml",
    "kubia/pods.yaml",
    "external-name/service.yaml",
    "dual-stack/service.yaml",
    "dual-stack/pods.yaml",
    "udp/service.yaml",
    "udp/pods.yaml",
];

/// The pods of the examples: name, whether on this node, last part of the address, port.
const PODS: [(&str, bool, u8, u16); 9] = [
    ("backend-595666f99c-jxpnb", true, 20, 5_000),
    ("backend-595666f99c-pdxbk", false, 20, 5_000),
    ("kubia-vs2kl", true, 10, 8_080),
    ("kubia-4nj9r", false, 9, 8_080),
    ("kubia-hk7cm", false, 10, 8_080),
    ("kubia-dual-stack-0", true, 46, 8_080),
    ("kubia-dual-stack-1", false, 46, 8_080),
    ("name-server-0", true, 53, 5_353),
    ("name-server-1", false, 53, 5_353),
];

/// Runs the demo.
///
/// # Errors
/// Something that it shows did not hold.
pub fn run() -> Result<()> {
    need::root();
    heading("A cluster of network namespaces, none of them with a route out");
    let cluster = Cluster::routed_veth()?;
    line("node-a", "under test, runs lb");
    line("node-b", "another node, reached through a router");
    line("outside", "a client in another network, beyond the router");
    let manifests = Manifests::new()?;
    for example in EXAMPLES {
        manifests.copy_example(example)?;
    }
    let dns = dns_service(cluster.here(), DNS_VIP.parse()?, DNS_PORT);
    manifests.write("dns.yaml", &dns)?;
    let pods = Pods::start(&cluster)?;
    line(
        "pods",
        &format!("{}, each a namespace with a server of its own", PODS.len()),
    );

    heading("lb run --manifests examples/");
    let node = cluster.here().place().address(Family::V4);
    let listen = SocketAddr::new(node, DNS_PORT).to_string();
    let mut lb = Lb::new(cluster.here(), &manifests, HOOKS)?.with("LB_DNS_LISTEN", &listen);
    lb.start()?;
    show::output(&lb.output(&["get", "services", "-A"])?);
    serve::everybody(&cluster, &lb, &pods)?;
    names::resolved(&pods)?;
    serve::what_is_refused(&cluster)?;
    change::under_load(&cluster, &manifests, &lb)?;
    look::inside(&lb)?;

    heading("lb uninstall");
    lb.uninstall()?;
    line(
        "left behind",
        "nothing: no program, map, link, filter or pin",
    );
    Ok(())
}

/// The pods of the examples, serving.
struct Pods {
    places: Vec<Place>,
    _servers: Vec<Server>,
}

impl Pods {
    fn start(cluster: &Cluster) -> Result<Self> {
        let mut places = Vec::new();
        let mut servers = Vec::new();
        for (name, is_here, host, port) in PODS {
            let node: &Node = if is_here {
                cluster.here()
            } else {
                cluster.elsewhere()
            };
            let place = node.pod_at(host, name)?;
            servers.push(Server::start(&place, name, port)?);
            places.push(place);
        }
        Ok(Self {
            places,
            _servers: servers,
        })
    }

    fn named(&self, name: &str) -> Result<&Place> {
        let place = self.places.iter().find(|place| place.name() == name);
        place.with_context(|| format!("there is no pod {name}"))
    }
}
