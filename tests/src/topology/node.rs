//! What makes a namespace a node? The kernel settings of a distribution, and pods that come and go.

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

use super::addresses::{self, Family, Pair};
use super::place::Place;
use crate::command;

/// The link that leads to the other nodes and outside.
pub const UPLINK: &str = "eth0";
/// What the host's side of a pod's link is called, before a number.
pub const POD_LINK: &str = "cali";
/// The gateway of routed pods: a link-local address that the node answers for.
const GATEWAY: [&str; 2] = ["169.254.1.1", "fe80::1"];

/// The gateway of bridged pods: the bridge itself, with this last part of its address.
const GATEWAY_HOST: u8 = 1;

/// What a distribution sets on a machine that runs containers.
const SYSCTLS: &[(&str, &str)] = &[
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv4.conf.all.rp_filter", "1"),
    ("net.ipv4.conf.default.rp_filter", "1"),
];

/// What kube-proxy and firewalls do on many machines, with a counter that tells if it hit.
const INVALID_RULES: &str = "
table inet invalid {
    counter dropped { }
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state invalid counter name dropped drop
    }
}
";

/// How pods are attached to their node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wiring {
    /// A routed veth for each: the pod has its address alone (/32, /128) and a link-local gateway.
    RoutedVeth,
    /// The ports of one bridge, which has the pods' network. `nf_call`: bridged packets pass
    /// netfilter, too (`bridge-nf-call-iptables`); none where the kernel has nothing that makes them
    /// (`br_netfilter`).
    Bridge {
        /// As above.
        nf_call: Option<bool>,
    },
}

/// The bridge of bridged pods.
const BRIDGE: &str = "cni0";

/// A node: a place with pods.
#[derive(Debug)]
pub struct Node {
    place: Place,
    number: u8,
    wiring: Wiring,
    pods: Mutex<Vec<Pod>>,
}

/// A pod and the last part of its address.
#[derive(Debug)]
struct Pod {
    host: u8,
    place: Place,
}

/// Last part of the first pod's address, unless the test says otherwise.
const FIRST_HOST: u8 = 10;

impl Node {
    /// Node `number` (0 = the one under test) with the settings of a distribution; it has no link yet.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn new(number: u8, wiring: Wiring) -> Result<Self> {
        let name = format!("node-{}", char::from(b'a' + number));
        let place = Place::new(&name, addresses::node(number))?;
        for (name, value) in SYSCTLS {
            place.netns().sysctl(name, value)?;
        }
        place
            .netns()
            .run(|| command::feed(Command::new("nft").args(["-f", "-"]), INVALID_RULES))?;
        if let Wiring::Bridge { nf_call } = wiring {
            make_bridge(&place, number, nf_call)?;
        }
        Ok(Self {
            place,
            number,
            wiring,
            pods: Mutex::default(),
        })
    }

    /// Where its own processes are.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Its number; 0 is the node under test.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// Its name, as `spec.nodeName` says it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.place.name()
    }

    /// Starts a pod with the node's next free address.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn pod(&self, name: &str) -> Result<Place> {
        let last = self.held_pods().iter().map(|pod| pod.host).max();
        self.pod_at(last.map_or(FIRST_HOST, |last| last + 1), name)
    }

    /// Starts a pod whose address ends in `host`. The node holds it until [`Node::remove`], so
    /// that it is still there to look into when the test has failed.
    ///
    /// # Errors
    /// The kernel refuses, for example because the address is taken.
    pub fn pod_at(&self, host: u8, name: &str) -> Result<Place> {
        let place = Place::new(name, addresses::pod(self.number, host))?;
        let attached = match self.wiring {
            Wiring::RoutedVeth => self.attach_routed(&place, host),
            Wiring::Bridge { .. } => self.attach_bridged(&place, host),
        };
        attached
            .and_then(|()| self.place.await_contact(&place))
            .with_context(|| format!("attaching pod {name} to {}", self.name()))?;
        self.held_pods().push(Pod {
            host,
            place: place.clone(),
        });
        Ok(place)
    }

    /// Removes a pod's link, as a CNI does when the pod is gone.
    ///
    /// # Errors
    /// It has no link any more.
    pub fn remove(&self, pod: &Place) -> Result<()> {
        let mut pods = self.held_pods();
        let at = pods
            .iter()
            .position(|held| held.place.name() == pod.name())
            .with_context(|| format!("{} has no pod {pod}", self.name()))?;
        let host = pods.remove(at).host;
        self.place.netns().ip(&format!("link del {POD_LINK}{host}"))
    }

    /// Its pods.
    #[must_use]
    pub fn pods(&self) -> Vec<Place> {
        self.held_pods()
            .iter()
            .map(|pod| pod.place.clone())
            .collect()
    }

    fn held_pods(&self) -> MutexGuard<'_, Vec<Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach_bridged(&self, pod: &Place, host: u8) -> Result<()> {
        let link = format!("{POD_LINK}{host}");
        let (v4, v6) = (pod.address(Family::V4), pod.address(Family::V6));
        self.place.netns().ip(&format!(
            "link add {link} index {index} type veth peer name eth0 netns {netns}
             link set {link} master {BRIDGE} up",
            index = super::index(host),
            netns = pod.netns().path().display(),
        ))?;
        let Pair {
            v4: gateway4,
            v6: gateway6,
        } = addresses::pod(self.number, GATEWAY_HOST);
        pod.netns().ip(&format!(
            "link set eth0 up
             addr add {v4}/24 dev eth0
             addr add {v6}/64 dev eth0 nodad
             route add default via {gateway4}
             route add default via {gateway6}"
        ))
    }

    fn attach_routed(&self, pod: &Place, host: u8) -> Result<()> {
        let link = format!("{POD_LINK}{host}");
        let (v4, v6) = (pod.address(Family::V4), pod.address(Family::V6));
        let [gateway4, gateway6] = GATEWAY;
        let netns = pod.netns().path();
        self.place.netns().ip(&format!(
            "link add {link} index {index} type veth peer name eth0 netns {netns}
             link set {link} up
             addr add {gateway6}/64 dev {link} nodad
             route add {v4}/32 dev {link}
             route add {v6}/128 dev {link}",
            index = super::index(host),
            netns = netns.display(),
        ))?;
        let node = self.place.netns();
        // The node answers for the gateway, and at once instead of within a random 0.8 s.
        node.sysctl(&format!("net.ipv4.conf.{link}.proxy_arp"), "1")?;
        node.sysctl(&format!("net.ipv4.neigh.{link}.proxy_delay"), "0")?;
        pod.netns().ip(&format!(
            "link set eth0 up
             addr add {v4}/32 dev eth0
             addr add {v6}/128 dev eth0 nodad
             route add {gateway4}/32 dev eth0
             route add default via {gateway4} dev eth0
             route add default via {gateway6} dev eth0"
        ))
    }

    /// How many packets the rule against INVALID packets dropped so far.
    ///
    /// # Errors
    /// The rule is gone.
    pub fn invalid_packets(&self) -> Result<u64> {
        let mut list = Command::new("nft");
        list.args(["--json", "list", "counter", "inet", "invalid", "dropped"]);
        let json: serde_json::Value = serde_json::from_str(&self.place.netns().output(&mut list)?)?;
        let counters = json["nftables"].as_array().context("nft lists an array")?;
        counters
            .iter()
            .find_map(|object| object["counter"]["packets"].as_u64())
            .context("the counter `dropped` is gone")
    }
}

/// The bridge that the node's pods are ports of.
fn make_bridge(place: &Place, number: u8, nf_call: Option<bool>) -> Result<()> {
    for table in ["iptables", "ip6tables"] {
        let Some(nf_call) = nf_call else { break };
        let value = if nf_call { "1" } else { "0" };
        place
            .netns()
            .sysctl(&format!("net.bridge.bridge-nf-call-{table}"), value)?;
    }
    let Pair { v4, v6 } = addresses::pod(number, GATEWAY_HOST);
    place.netns().ip(&format!(
        "link add {BRIDGE} type bridge mcast_snooping 0
         link set {BRIDGE} up
         addr add {v4}/24 dev {BRIDGE}
         addr add {v6}/64 dev {BRIDGE} nodad"
    ))
}
