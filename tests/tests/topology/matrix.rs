//! Who reaches what, by which hooks? Every cell is tried; the table in docs/packet-path.md is what
//! came out, and fails the test when it no longer does.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::app::App;
use lb_tests::golden;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::peer::{Dial, Transport};
use lb_tests::topology::{Cluster, Family, Pair, Place, addresses, on};

/// Any answer is quicker; a cell that gets none takes this long.
const PATIENCE: Duration = Duration::from_millis(400);

/// The hooks that the table has a part for.
const HOOKS: [&str; 4] = ["tc", "tc,socket", "tc,xdp", "tc,xdp,socket"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Client {
    Pod,
    Itself,
    Node,
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Frontend {
    ClusterIp,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Backend {
    Here,
    HostNetwork,
    Elsewhere,
}

const CLIENTS: [Client; 4] = [Client::Pod, Client::Itself, Client::Node, Client::Outside];
const FRONTENDS: [Frontend; 4] = [
    Frontend::ClusterIp,
    Frontend::NodePort,
    Frontend::ExternalIp,
    Frontend::LoadBalancer,
];
const BACKENDS: [Backend; 3] = [Backend::Here, Backend::HostNetwork, Backend::Elsewhere];

impl Client {
    /// Whether these hooks serve it: the node's own stack is the socket hook's alone.
    fn is_served(self, hooks: &str) -> bool {
        self != Self::Node || hooks.contains("socket")
    }

    /// Whether there is such a cell: a backend that calls itself is a pod of this node.
    fn may_meet(self, backend: Backend) -> bool {
        self != Self::Itself || backend == Backend::Here
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "a pod of this node",
            Self::Itself => "the backend itself",
            Self::Node => "the node",
            Self::Outside => "outside",
        })
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::ExternalIp => "externalIP",
            Self::LoadBalancer => "LoadBalancer IP",
        })
    }
}

impl Backend {
    const fn app(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::HostNetwork => "host",
            Self::Elsewhere => "elsewhere",
        }
    }

    /// Its place in the numbers of its Service.
    const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The Service's address or port of each kind.
    fn frontend(self, kind: Frontend, family: Family) -> std::net::SocketAddr {
        let n = self.number();
        match kind {
            Frontend::ClusterIp => self.cluster_ips().port(family, 80),
            Frontend::NodePort => addresses::node(0).port(family, self.node_port()),
            Frontend::ExternalIp => addresses::routed(10 + n).port(family, 80),
            Frontend::LoadBalancer => addresses::routed(20 + n).port(family, 80),
        }
    }

    fn cluster_ips(self) -> Pair {
        let n = self.number();
        Pair::new(&format!("10.43.0.{n}"), &format!("fd00:10:43::{n}"))
    }

    const fn node_port(self) -> u16 {
        30_120 + self.number() as u16
    }

    /// One Service with a frontend of every kind.
    fn service(self) -> serde_json::Value {
        let n = self.number();
        Service::new(self.app(), self.app())
            .at(&self.cluster_ips().both())
            .port(80, 8080)
            .node_port(self.node_port())
            .external_ips(&addresses::routed(10 + n).both())
            .load_balancer(&addresses::routed(20 + n).both())
            .object()
    }
}

/// What came of a cell: the same word for the same thing, so that cells can be compared.
type Outcome = String;
type Cell = (Client, Frontend, Backend);

/// Every cell, with what came of it by transport and family.
type Matrix = BTreeMap<Cell, BTreeMap<(Transport, Family), Outcome>>;

fn run(make: impl FnOnce() -> Result<Cluster>, hooks: &str) -> Matrix {
    let mut matrix = Matrix::new();
    on(make, |cluster| {
        let manifests = Manifests::new()?;
        let objects = BACKENDS.map(Backend::service);
        manifests.write("services.yaml", &objects)?;
        let apps = BACKENDS.map(|backend| App::new(&manifests, backend.app(), 8080));
        let itself = apps[0].pod(cluster.here(), "here")?;
        apps[1].on_host(cluster.here(), "host")?;
        apps[2].pod(cluster.elsewhere(), "elsewhere")?;
        let pod = cluster.here().pod("client")?;
        let _peers = if hooks.contains("xdp") {
            cluster.prepare_for_xdp()?
        } else {
            Vec::new()
        };
        let lb = Lb::started(cluster.here(), &manifests, hooks)?;
        for (client, place) in CLIENTS
            .iter()
            .zip([&pod, &itself, lb.node(), cluster.outside()])
        {
            for frontend in FRONTENDS {
                for backend in BACKENDS {
                    if client.is_served(hooks) && client.may_meet(backend) {
                        let outcomes = try_cell(place, frontend, backend);
                        matrix.insert((*client, frontend, backend), outcomes);
                    }
                }
            }
        }
        ensure!(
            cluster.here().invalid_packets()? == 0,
            "{hooks}: conntrack saw invalid packets"
        );
        lb.uninstall()
    });
    matrix
}

fn try_cell(
    place: &Place,
    frontend: Frontend,
    backend: Backend,
) -> BTreeMap<(Transport, Family), Outcome> {
    let mut outcomes = BTreeMap::new();
    for transport in [Transport::Tcp, Transport::UdpUnconnected] {
        for family in Family::ALL {
            let dial = Dial::new(transport, backend.frontend(frontend, family)).within(PATIENCE);
            let outcome = match dial.ask(place) {
                Ok(answer) if answer.by != backend.app() => format!("answered by {}", answer.by),
                Ok(answer) if answer.is_source_preserved() => String::from("yes"),
                Ok(_) => String::from("yes, SNAT"),
                Err(failure) => failure.to_string(),
            };
            outcomes.insert((transport, family), outcome);
        }
    }
    outcomes
}

/// What a cell of the table says: one word where all transports and families agree.
fn show(outcomes: &BTreeMap<(Transport, Family), Outcome>) -> String {
    let first = outcomes.values().next().map_or("", String::as_str);
    if outcomes.values().all(|outcome| outcome == first) {
        return first.to_owned();
    }
    let each = outcomes
        .iter()
        .map(|((transport, family), outcome)| format!("{family} {transport}: {outcome}"));
    each.collect::<Vec<_>>().join("; ")
}

fn table(matrix: &Matrix) -> Result<String> {
    let mut text = String::from(
        "| client | frontend | pod here | host network | pod elsewhere |\n|---|---|---|---|---|\n",
    );
    for client in CLIENTS {
        for frontend in FRONTENDS {
            write!(text, "| {client} | {frontend} |")?;
            for backend in BACKENDS {
                let cell = match matrix.get(&(client, frontend, backend)) {
                    Some(outcomes) => show(outcomes),
                    None if client.may_meet(backend) => String::from("needs `socket`"),
                    None => String::from("–"),
                };
                write!(text, " {cell} |")?;
            }
            text.push('\n');
        }
    }
    Ok(text)
}

/// The table's parts: hooks with the same outcome share one.
fn document(results: &[(&str, Matrix)]) -> Result<String> {
    let mut parts: Vec<(Vec<String>, String)> = Vec::new();
    for (hooks, matrix) in results {
        let table = table(matrix)?;
        let name = format!("`--hooks {hooks}`");
        match parts.iter_mut().find(|(_, other)| *other == table) {
            Some((names, _)) => names.push(name),
            None => parts.push((vec![name], table)),
        }
    }
    let part = |(names, table): &(Vec<String>, String)| format!("{}:\n\n{table}", names.join(", "));
    Ok(parts.iter().map(part).collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_matrix_is_what_the_documentation_says() -> Result<()> {
    let results = HOOKS.map(|hooks| (hooks, run(Cluster::routed_veth, hooks)));
    for (hooks, matrix) in &results {
        ensure_all_well(matrix).with_context(|| format!("--hooks {hooks}"))?;
    }
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/packet-path.md"
    ));
    golden::check_part(path, "matrix", &document(&results)?).context("the matrix has changed")
}

fn ensure_all_well(matrix: &Matrix) -> Result<()> {
    for ((client, frontend, backend), outcomes) in matrix {
        let well = outcomes.values().all(|outcome| outcome.starts_with("yes"));
        let (backend, outcomes) = (backend.app(), show(outcomes));
        ensure!(
            well,
            "{client} to {frontend}, backend {backend}: {outcomes}"
        );
    }
    Ok(())
}

fn ensure_well_with_all_hooks(make: fn() -> Result<Cluster>) -> Result<()> {
    for hooks in HOOKS {
        ensure_all_well(&run(make, hooks)).with_context(|| format!("--hooks {hooks}"))?;
    }
    Ok(())
}

#[test]
fn the_matrix_is_well_over_a_bridge_that_netfilter_sees() -> Result<()> {
    ensure_well_with_all_hooks(|| Cluster::bridge(true))
}

#[test]
fn the_matrix_is_well_over_a_bridge_that_netfilter_does_not_see() -> Result<()> {
    ensure_well_with_all_hooks(|| Cluster::bridge(false))
}

#[test]
fn the_matrix_is_well_over_an_overlay() -> Result<()> {
    ensure_well_with_all_hooks(Cluster::overlay)
}
