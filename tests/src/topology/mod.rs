//! Which machines does a test see? Namespaces joined to clusters that read like sentences:
//! "a client pod on this node, a server pod on the other one".
//!
//! None of them is connected to the namespace that the tests are started in: there is no way out.

pub mod addresses;
mod node;
mod overlay;
mod place;
mod uplink;
mod wireguard;

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::{PoisonError, RwLock};

use anyhow::{Context as _, Result};
use lb_userspace::bpf::{self, Attachment, Link};

pub use addresses::{Family, Pair};
use node::Wiring;
pub use node::{Node, POD_LINK, UPLINK};
pub use place::Place;
pub use uplink::{TRUNK, Uplink};
pub use wireguard::WIREGUARD;

use crate::foreign::{self, Foreign};
use crate::need;

/// With this variable set, a failed test waits for Enter before its namespaces go.
const PAUSE: &str = "LB_PAUSE";

/// Whose turn it is: many tests', or that of one which must be alone.
static TURN: RwLock<()> = RwLock::new(());

/// How packets between pods of different nodes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// As they are: the nodes are in one network and route.
    Routes,
    /// In a tunnel.
    Vxlan,
    /// In a tunnel whose device has no Ethernet header.
    WireGuard,
}

/// The routes to a node's pods, for whoever is in its network.
fn routes_to_pods(node: &Node) -> String {
    let (pods, via) = (
        addresses::pod(node.number(), 0),
        addresses::node(node.number()),
    );
    format!(
        "route add {}/24 via {}\nroute add {}/64 via {}\n",
        pods.v4, via.v4, pods.v6, via.v6
    )
}

/// The router's bridge, whose ports lead to the nodes.
const LAN: &str = "lan";
/// Number of the router's link to the outside.
const OUT: u8 = u8::MAX;

/// Interface index of the link with this number, on the side that is not called `eth0`.
///
/// The two ends of a veth must have different ones: to the kernel they would look like one device,
/// and it would take up to a second to notice that the link is up.
fn index(number: u8) -> u32 {
    1_000 + u32::from(number)
}

/// Two nodes, a router, and a client beyond it.
///
/// ```text
///  pods ─ veth ─ node-a ─ eth0 ┐
///                              ├─ router ─ outside
///  pods ─ veth ─ node-b ─ eth0 ┘
/// ```
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    router: Place,
    outside: Place,
    uplink: Uplink,
}

impl Cluster {
    /// Pods attached by routed veth, as with Calico; nodes route each other's pods directly.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn routed_veth() -> Result<Self> {
        Self::over(Uplink::Veth)
    }

    /// As [`Cluster::routed_veth`], each node by an uplink of this kind.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn over(uplink: Uplink) -> Result<Self> {
        Self::new(Wiring::RoutedVeth, Between::Routes, uplink)
    }

    /// Pods attached by routed veth, and a WireGuard tunnel between the nodes, by which those of the
    /// other one reach ClusterIPs, too.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn wireguard() -> Result<Self> {
        Self::new(Wiring::RoutedVeth, Between::WireGuard, Uplink::Veth)
    }

    /// Pods as ports of a bridge; nodes route each other's pods directly. `nf_call`: bridged packets
    /// pass netfilter, too.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn bridge(nf_call: bool) -> Result<Self> {
        Self::bridged(Some(nf_call), Between::Routes)
    }

    /// As [`Cluster::bridge`], on a kernel without `br_netfilter`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn bridge_alone() -> Result<Self> {
        Self::bridged(None, Between::Routes)
    }

    /// Pods as ports of a bridge, and a VXLAN tunnel between the nodes, as with Flannel.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn overlay() -> Result<Self> {
        Self::bridged(Some(true), Between::Vxlan)
    }

    fn bridged(nf_call: Option<bool>, between: Between) -> Result<Self> {
        Self::new(Wiring::Bridge { nf_call }, between, Uplink::Veth)
    }

    fn new(wiring: Wiring, between: Between, uplink: Uplink) -> Result<Self> {
        let router = Place::new("router", addresses::router())?;
        let first = *addresses::OUTSIDE_HOSTS.start();
        let outside = Place::new("outside", addresses::outside(first))?;
        let cluster = Self {
            nodes: vec![Node::new(0, wiring)?, Node::new(1, wiring)?],
            router,
            outside,
            uplink,
        };
        cluster.make_router().context("connecting the router")?;
        cluster.connect_outside().context("connecting outside")?;
        for node in &cluster.nodes {
            uplink
                .connect(&cluster.router, LAN, node)
                .with_context(|| format!("connecting {}", node.name()))?;
        }
        cluster.add_routes().context("routing")?;
        match between {
            Between::Routes => cluster
                .route_between_nodes()
                .context("routing between nodes")?,
            Between::Vxlan => overlay::connect(&cluster.nodes).context("making the overlay")?,
            Between::WireGuard => wireguard::connect(&cluster.nodes)?,
        }
        cluster.here().place().await_contact(cluster.outside())?;
        cluster
            .here()
            .place()
            .await_contact(cluster.elsewhere().place())?;
        cluster
            .elsewhere()
            .place()
            .await_contact(cluster.outside())?;
        Ok(cluster)
    }

    /// The node under test.
    #[must_use]
    pub fn here(&self) -> &Node {
        &self.nodes[0]
    }

    /// Another node.
    #[must_use]
    pub fn elsewhere(&self) -> &Node {
        &self.nodes[1]
    }

    /// A client in another network, beyond the router.
    #[must_use]
    pub const fn outside(&self) -> &Place {
        &self.outside
    }

    /// What connects the nodes and outside.
    #[must_use]
    pub const fn router(&self) -> &Place {
        &self.router
    }

    fn make_router(&self) -> Result<()> {
        let netns = self.router.netns();
        netns.sysctl("net.ipv4.ip_forward", "1")?;
        netns.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        let [bits4, bits6] = addresses::LAN_BITS;
        let Pair { v4, v6 } = addresses::router();
        netns.ip(&format!(
            "link add {LAN} type bridge mcast_snooping 0
             link set {LAN} up
             addr add {v4}/{bits4} dev {LAN}
             addr add {v6}/{bits6} dev {LAN} nodad"
        ))
    }

    fn connect_outside(&self) -> Result<()> {
        let [bits4, bits6] = addresses::LAN_BITS;
        let gateway = addresses::outside(1);
        self.router.netns().ip(&format!(
            "link add out index {index} type veth peer name eth0 netns {outside}
             link set out up
             addr add {v4}/{bits4} dev out
             addr add {v6}/{bits6} dev out nodad",
            index = index(OUT),
            outside = self.outside.netns().path().display(),
            v4 = gateway.v4,
            v6 = gateway.v6,
        ))?;
        let mut commands = String::from("link set eth0 up\n");
        for host in addresses::OUTSIDE_HOSTS {
            let Pair { v4, v6 } = addresses::outside(host);
            writeln!(commands, "addr add {v4}/{bits4} dev eth0")?;
            // All but the first are used when a client asks for them only.
            let choice = if host == *addresses::OUTSIDE_HOSTS.start() {
                ""
            } else {
                "preferred_lft 0"
            };
            writeln!(commands, "addr add {v6}/{bits6} dev eth0 nodad {choice}")?;
        }
        writeln!(commands, "route add default via {}", gateway.v4)?;
        writeln!(commands, "route add default via {}", gateway.v6)?;
        self.outside.netns().ip(&commands)
    }

    /// The router knows which node has which pods, and sends virtual addresses to this node.
    fn add_routes(&self) -> Result<()> {
        let mut routes = String::new();
        for node in &self.nodes {
            routes += &routes_to_pods(node);
        }
        let here = addresses::node(0);
        for prefix in addresses::ROUTED.iter().chain(&addresses::SERVICES) {
            let family = if prefix.contains(':') {
                Family::V6
            } else {
                Family::V4
            };
            writeln!(routes, "route add {prefix} via {}", here.of(family))?;
        }
        self.router.netns().ip(&routes)
    }

    fn route_between_nodes(&self) -> Result<()> {
        for node in &self.nodes {
            for other in self
                .nodes
                .iter()
                .filter(|other| other.number() != node.number())
            {
                node.place().netns().ip(&routes_to_pods(other))?;
            }
        }
        Ok(())
    }

    /// Makes the links behave as those of a network card do toward XDP: packets carry complete
    /// checksums, and the other end of a node's uplink takes frames that XDP sends back, which a
    /// veth does only with a program of its own: it is there as long as what is returned. Counts
    /// for the pods that are there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn prepare_for_xdp(&self) -> Result<Vec<Link>> {
        for place in self.places() {
            if place.name() != self.router.name() {
                let mut ethtool = Command::new("ethtool");
                place
                    .netns()
                    .output(ethtool.args(["-K", "eth0", "tx", "off"]))?;
            }
        }
        let pass = Foreign::new(foreign::Kind::Xdp, foreign::XDP_PASS)?;
        let attach = |(_, ifindex)| {
            let (hook, place) = (Attachment::Xdp, bpf::Place::Driver);
            Ok(Link::at_network_link(pass.fd(), ifindex, hook, place)?)
        };
        let ends = self.nodes.iter().flat_map(|node| self.uplink.ends(node));
        self.router.netns().run(|| ends.map(attach).collect())
    }

    /// Has a link between the router and the node under test fail, or work again; where there are
    /// several, the first has the number 0.
    ///
    /// # Errors
    /// There is no such link.
    pub fn set_link(&self, number: usize, is_up: bool) -> Result<()> {
        let ends = self.uplink.ends(self.here());
        let (end, _) = ends.get(number).context("no such link")?;
        let state = if is_up { "up" } else { "down" };
        self.router.netns().ip(&format!("link set {end} {state}"))
    }

    /// Every place there is.
    fn places(&self) -> Vec<Place> {
        let mut places = vec![self.outside.clone(), self.router.clone()];
        for node in &self.nodes {
            places.push(node.place().clone());
            places.extend(node.pods());
        }
        places
    }
}

/// Runs a test on a cluster of its own. When it fails, prints how to look inside, and with
/// `LB_PAUSE=1` waits for Enter before everything goes.
///
/// # Panics
/// When the test fails, which is how it says so.
pub fn on(make: impl FnOnce() -> Result<Cluster>, test: impl FnOnce(&Cluster) -> Result<()>) {
    let _turn = TURN.read().unwrap_or_else(PoisonError::into_inner);
    run(make, test);
}

/// [`on`], while no other test of this binary runs: for what must happen within a time.
///
/// # Panics
/// As there.
pub fn alone(make: impl FnOnce() -> Result<Cluster>, test: impl FnOnce(&Cluster) -> Result<()>) {
    let _turn = TURN.write().unwrap_or_else(PoisonError::into_inner);
    run(make, test);
}

fn run(make: impl FnOnce() -> Result<Cluster>, test: impl FnOnce(&Cluster) -> Result<()>) {
    need::root();
    let cluster = make().expect("the cluster can be made");
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&cluster)));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            explain(&cluster);
            panic!("{error:#}");
        }
        Err(panic) => {
            explain(&cluster);
            resume_unwind(panic);
        }
    }
}

fn explain(cluster: &Cluster) {
    eprintln!("The places of this test:");
    for place in cluster.places() {
        eprintln!("  {:<12} {}", place.name(), place.netns().look_inside());
    }
    let mut stdin = std::io::stdin().lock();
    if std::env::var_os(PAUSE).is_none() || !stdin.is_terminal() {
        eprintln!("They go now: with {PAUSE}=1, on a terminal, they would wait for you.");
        return;
    }
    eprintln!("Press Enter to remove them.");
    if let Err(error) = stdin.read_line(&mut String::new()) {
        eprintln!("standard input: {error}");
    }
}
