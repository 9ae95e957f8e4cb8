//! What do whole connections cost through each hook, beside kube-proxy and beside nothing? Clients and servers
//! in namespaces of one machine, Services from a real API server, everybody by turns.

pub mod client;
mod machine;
mod report;
mod server;
mod subject;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use serde_json::{Value, json};

use self::client::{Done, What};
use self::report::{Figures, Report, Row};
use self::server::Server;
use self::subject::{Running, Subject};
use super::float;
use super::latency::many;
use crate::kubernetes::{ControlPlane, programs};
use crate::topology::{Cluster, Family, Place};
use crate::{need, program};

/// Endpoints of the Service that is dialled, and of each of the others.
const ENDPOINTS: usize = 5;
const PORT: u16 = 8080;
/// Where the Service is dialled: its ClusterIP's port, and the node's.
const VIP: &str = "10.43.0.80:80";
const NODE_PORT: u16 = 30_080;
/// What was sent last has arrived by then.
const ARRIVAL: Duration = Duration::from_millis(50);

/// What `lb-bench connections` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many Services there are, one run for each.
    pub services: Vec<u32>,
    /// How often each subject gets its turn.
    pub rounds: u32,
    /// How long each thing is measured in a turn.
    pub length: Duration,
    /// No round begins later than this after the first one of a run.
    pub at_most: Duration,
    /// Where the figures go, too.
    pub json: Option<PathBuf>,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// In a pod of the node.
    Pod,
    /// On the node itself.
    Node,
    /// In another network.
    Outside,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Pod => "from a pod",
            Self::Node => "from the node",
            Self::Outside => "from outside",
        }
    }

    /// The hook of ours that serves it.
    fn hook(self, subject: Subject) -> Option<&'static str> {
        let Subject::Lb(hooks) = subject else {
            return None;
        };
        Some(match self {
            Self::Node => "socket",
            Self::Outside if hooks.contains("xdp") => "xdp",
            Self::Pod | Self::Outside => "tc",
        })
    }
}

/// Measures all subjects by turns, and prints what came of it.
///
/// # Errors
/// Kubernetes is not built, or somebody does not serve.
pub fn connections(options: &Options) -> Result<()> {
    need::root();
    let programs = programs().context("nothing to measure with: `cargo xtask kubernetes`")?;
    let mut report = Report::new(super::machine()?);
    for services in &options.services {
        let cluster = Cluster::routed_veth()?;
        let control = Arc::new(ControlPlane::start(&programs, &cluster)?);
        let stage = Stage::new(&cluster, &control, *services, options)?;
        stage.measure(&Subject::INSIDE, &[Way::Pod, Way::Node], &mut report)?;
        // As with network cards that XDP runs on: from here on for everybody.
        let _while = cluster.prepare_for_xdp()?;
        stage.measure(&Subject::OUTSIDE, &[Way::Outside], &mut report)?;
    }
    report.finish(super::machine()?);
    report.print();
    report.write(options.json.as_deref())
}

/// A cluster with its Services and servers.
struct Stage<'c> {
    cluster: &'c Cluster,
    control: &'c Arc<ControlPlane>,
    services: u32,
    options: &'c Options,
    client: Place,
    pods: Vec<Place>,
    servers: Vec<Server>,
}

impl<'c> Stage<'c> {
    fn new(
        cluster: &'c Cluster,
        control: &'c Arc<ControlPlane>,
        services: u32,
        options: &'c Options,
    ) -> Result<Self> {
        let here = cluster.here();
        let pods = (0..ENDPOINTS).map(|i| here.pod(&format!("server-{i}")));
        let pods: Vec<_> = pods.collect::<Result<_>>()?;
        let servers = pods.iter().map(|pod| Server::start(pod, PORT));
        let servers = servers.collect::<Result<_>>()?;
        let client = here.pod("client")?;
        for place in [&client, here.place(), cluster.outside()] {
            // A server waits a minute for what may still come of a connection that it closed, and takes a
            // new one from the same port only if that is younger by its timestamps, which begin elsewhere for
            // each address that is dialled: those of a Service and of its endpoints.
            let netns = place.netns();
            netns.sysctl("net.ipv4.tcp_timestamps", "2")?;
            netns.sysctl("net.ipv4.ip_local_port_range", "1024 29999")?;
        }
        control
            .api()
            .apply(&many::others(services.saturating_sub(1)))?;
        control.api().apply(&dialled(&pods))?;
        Ok(Self {
            cluster,
            control,
            services,
            options,
            client,
            pods,
            servers,
        })
    }

    /// Each subject in each round, every other round backwards.
    fn measure(&self, subjects: &[Subject], ways: &[Way], report: &mut Report) -> Result<()> {
        let began = Instant::now();
        for round in 0..self.options.rounds {
            let mut turns = subjects.to_vec();
            if round % 2 == 1 {
                turns.reverse();
            }
            for subject in turns {
                let mut running = subject.start(self.cluster, self.control)?;
                for way in ways {
                    let told = format!(
                        "{}, {} Services, {}",
                        subject.name(),
                        self.services,
                        way.name()
                    );
                    let figures = self.turn(subject, &mut running, *way).context(told)?;
                    let row = Row {
                        services: self.services,
                        way: way.name(),
                        subject: subject.name(),
                        hook: way.hook(subject),
                    };
                    report.add(row, figures);
                }
                running.stop(self.cluster, self.control)?;
            }
            if began.elapsed() >= self.options.at_most {
                break;
            }
        }
        Ok(())
    }

    /// All figures of one subject from one place.
    fn turn(&self, subject: Subject, running: &mut Running, way: Way) -> Result<Figures> {
        let here = self.cluster.here().place();
        let place = match way {
            Way::Pod => &self.client,
            Way::Node => here,
            Way::Outside => self.cluster.outside(),
        };
        let service = match way {
            Way::Pod | Way::Node => VIP.parse()?,
            Way::Outside => SocketAddr::new(here.address(Family::V4), NODE_PORT),
        };
        let pods = self
            .pods
            .iter()
            .map(|pod| SocketAddr::new(pod.address(Family::V4), PORT));
        let to: Vec<_> = match subject {
            Subject::Nobody => pods.collect(),
            _ => vec![service],
        };
        let cgroup = running.cgroup().filter(|_| way == Way::Node);
        if cgroup.is_none() {
            running.await_answer(place, to[0])?;
        }
        let ask = |what| self.ask(place, what, &to, cgroup.as_deref());
        let lost = self.retransmitted(place)?;
        let cpu = machine::cpu_seconds()?;
        let connections = ask(What::Connections)?;
        let cpu = machine::cpu_seconds()? - cpu;
        let questions = ask(What::Questions)?;
        let bytes = ask(What::Bytes)?;
        let lost = self.retransmitted(place)? - lost;
        let came = self.datagrams();
        let datagrams = ask(What::Datagrams)?;
        sleep(ARRIVAL);
        let came = self.datagrams() - came;
        let [p50, p99, p999] = questions.took.map(|seconds| seconds * 1e6);
        let measured = [
            float(connections.count) / connections.seconds,
            cpu * 1e6 / float(connections.count.max(1)),
            p50,
            p99,
            p999,
            float(bytes.count) * 8.0 / bytes.seconds / 1e9,
            float(came) / datagrams.seconds / 1e3,
        ];
        Ok(Figures {
            measured,
            failed: connections.failed,
            retransmitted: lost,
            datagrams_lost: (datagrams.count + datagrams.failed).saturating_sub(came),
            datagrams: datagrams.count + datagrams.failed,
        })
    }

    /// Has a process of that place do it.
    fn ask(
        &self,
        place: &Place,
        what: What,
        to: &[SocketAddr],
        cgroup: Option<&std::path::Path>,
    ) -> Result<Done> {
        let what = what.to_possible_value().context("all have a name")?;
        let to: Vec<_> = to.iter().map(ToString::to_string).collect();
        let mut command = Command::new(program::find("lb-bench")?);
        command
            .args(["client", what.get_name(), "--to", &to.join(",")])
            .arg("--milliseconds")
            .arg(self.options.length.as_millis().to_string());
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        let said = place.netns().output(&mut command)?;
        serde_json::from_str(&said).with_context(|| format!("the client said {said:?}"))
    }

    fn datagrams(&self) -> u64 {
        self.servers.iter().map(Server::datagrams).sum()
    }

    /// By the client and the servers together.
    fn retransmitted(&self, client: &Place) -> Result<u64> {
        let places = self.pods.iter().chain([client]);
        places.map(machine::retransmitted).sum()
    }
}

/// The Service that is dialled, and its slice.
fn dialled(pods: &[Place]) -> [Value; 2] {
    const NAME: &str = "dialled";
    let (address, port) = VIP.split_once(':').unwrap_or_default();
    let port = |name: &str, protocol: &str| {
        json!({
            "name": name,
            "protocol": protocol,
            "port": port.parse::<u16>().unwrap_or_default(),
            "targetPort": PORT,
            "nodePort": NODE_PORT,
        })
    };
    let endpoint = |pod: &Place| {
        json!({
            "addresses": [pod.address(Family::V4)],
            "nodeName": "node-a",
            "conditions": {"ready": true},
        })
    };
    let slice_port =
        |name: &str, protocol: &str| json!({"name": name, "protocol": protocol, "port": PORT});
    [
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": "default"},
            "spec": {
                "type": "NodePort",
                "clusterIP": address,
                "ports": [port("tcp", "TCP"), port("udp", "UDP")],
            },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": NAME,
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": NAME},
            },
            "addressType": "IPv4",
            "ports": [slice_port("tcp", "TCP"), slice_port("udp", "UDP")],
            "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        }),
    ]
}
