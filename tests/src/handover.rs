//! Do connections outlive a change from kube-proxy to `lb`, and the way back? All but those that
//! `lb` names before. One course of events, whoever plays kube-proxy.

use std::net::SocketAddr;
use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::app::App;
use crate::command;
use crate::lb::Lb;
use crate::manifests::{Manifests, Service};
use crate::peer::{Answer, Dial, Load, Stream, Transport};
use crate::topology::{Cluster, Family, Pair, Place};
use crate::wait;

/// New connections a second, of a pod and of a client outside, over each family.
const RATE: u32 = 50;
/// Long connections of a pod, and as many from outside; half of each over IPv6.
const STREAMS: u64 = 20;
/// Long connections of a backend through the Service, some of them to itself.
const HAIRPINS: u64 = 10;
/// Ports of each client's from which it converses over UDP, over each family: so many that an endpoint
/// that is drawn anew would be another one for some.
const CONVERSATIONS: Range<u16> = 7_000..7_006;
/// The slowest connection that is none too slow: a lost packet may be repeated, but nobody waits
/// for a second one.
const SLOW: Duration = Duration::from_millis(1_500);
/// Between two steps; what goes wrong in the last one shows in the end.
const STEP: Duration = Duration::from_secs(1);
/// kube-proxy serves, or `lb` notices that it does not any more, far sooner.
const PATIENCE: Duration = Duration::from_secs(30);
/// Exit code of `lb takeover` where something stays.
const SOMETHING_STAYS: i32 = 3;

/// Whoever plays kube-proxy on the node under test.
pub trait KubeProxy {
    /// Serves; its rules may take a moment.
    ///
    /// # Errors
    /// It does not start.
    fn start(&mut self) -> Result<()>;

    /// Ends, and takes its rules along.
    ///
    /// # Errors
    /// They stay.
    fn remove(&mut self) -> Result<()>;
}

/// The Service that all talk to.
#[must_use]
pub fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

/// Where it is reached.
#[must_use]
pub fn frontend(family: Family) -> SocketAddr {
    kubia().port(family, 80)
}

/// Where its pods listen.
pub const TARGET_PORT: u16 = 8080;

/// Starts the pods of the Service.
///
/// # Errors
/// The kernel refuses.
pub fn backends<'m>(cluster: &'m Cluster, app: &App<'m>) -> Result<[Place; 3]> {
    let (here, elsewhere) = (cluster.here(), cluster.elsewhere());
    Ok([
        app.pod(here, "kubia-0")?,
        app.pod(elsewhere, "kubia-1")?,
        app.pod(here, "kubia-2")?,
    ])
}

/// The object of the Service.
#[must_use]
pub fn service() -> Service {
    Service::new("kubia", "kubia")
        .at(&kubia().both())
        .port(80, TARGET_PORT)
}

/// UDP from one port of a client's to a Service: the endpoint that answered first answers always.
struct Conversation {
    client: Place,
    dial: Dial,
    first: Answer,
}

impl Conversation {
    fn begin(client: &Place, family: Family, port: u16) -> Result<Self> {
        let source = SocketAddr::new(client.address(family), port);
        let dial = Dial::new(Transport::Udp, frontend(family)).from_port(source);
        Ok(Self {
            client: client.clone(),
            dial,
            first: dial.ask(client).context("the first datagram")?,
        })
    }

    fn goes_on(&self) -> Result<()> {
        let answer = self.dial.ask(&self.client)?;
        let is_same = (&answer.by, answer.seen) == (&self.first.by, self.first.seen);
        ensure!(is_same, "{answer:?} after {:?}", self.first);
        Ok(())
    }
}

/// Clients at work.
struct Clients {
    loads: Vec<Load>,
    streams: Vec<Stream>,
    /// Of the node itself, which nobody can take over.
    own: Stream,
    /// Of a pod and of a client outside.
    conversations: Vec<Conversation>,
}

impl Clients {
    fn start(cluster: &Cluster, pod: &Place, backend: &Place) -> Self {
        let stream = |place: &Place, seed: u64| {
            let family = Family::ALL[(seed % 2) as usize];
            Stream::start(place, frontend(family), seed)
        };
        let places = [
            (pod, STREAMS),
            (cluster.outside(), STREAMS),
            (backend, HAIRPINS),
        ];
        let streams = places
            .iter()
            .enumerate()
            .flat_map(|(i, (place, count))| {
                (0..*count).map(move |seed| stream(place, 100 * i as u64 + seed + 1))
            })
            .collect();
        let loads = [pod, cluster.outside()].into_iter().flat_map(|place| {
            Family::ALL.map(|family| {
                let dial = Dial::new(Transport::Tcp, frontend(family));
                Load::start(place, dial, RATE)
            })
        });
        Self {
            loads: loads.collect(),
            streams,
            own: stream(cluster.here().place(), 1_000),
            conversations: Vec::new(),
        }
    }

    fn converse(&mut self, cluster: &Cluster, pod: &Place) -> Result<()> {
        for client in [pod, cluster.outside()] {
            for family in Family::ALL {
                for port in CONVERSATIONS {
                    let conversation = Conversation::begin(client, family, port)?;
                    self.conversations.push(conversation);
                }
            }
        }
        Ok(())
    }

    /// Nobody has noticed anything until some time from now.
    fn are_well(&self, when: &str) -> Result<()> {
        sleep(STEP);
        let ended = self.streams.iter().filter(|stream| stream.is_over());
        ensure!(ended.count() == 0, "connections ended {when}");
        for load in &self.loads {
            let report = load.so_far();
            ensure!(report.failures.is_empty(), "{when}: {report}");
        }
        for conversation in &self.conversations {
            let goes_on = conversation.goes_on();
            goes_on.with_context(|| format!("UDP {when}, {}", conversation.client))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        for stream in self.streams {
            let report = stream.finish();
            ensure!(report.failure.is_none() && report.bytes > 0, "{report:?}");
        }
        for load in self.loads {
            let report = load.finish();
            println!("{report}");
            ensure!(
                report.failures.is_empty() && report.slowest < SLOW,
                "{report}"
            );
        }
        Ok(())
    }
}

/// Runs a command of `lb` that ends with this exit code, and returns what it said, all of it.
fn run(lb: &Lb, arguments: &[&str], code: i32) -> Result<String> {
    let mut command = lb.command(arguments)?;
    let output = lb
        .node()
        .netns()
        .run(|| command::finish(&mut command, ""))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    println!("`lb {}`: {}\n{said}", arguments.join(" "), output.status);
    ensure!(output.status.code() == Some(code), "{said}\n{}", lb.said());
    Ok(said)
}

/// Waits until somebody serves, over both families.
fn await_service(client: &Place) -> Result<()> {
    for family in Family::ALL {
        let dial = Dial::new(Transport::Tcp, frontend(family));
        wait::until("kube-proxy serves", PATIENCE, || {
            Ok(dial.ask(client).is_ok())
        })?;
    }
    Ok(())
}

/// What differs from course to course.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// Chains of type nat stay when kube-proxy goes: those of somebody else, or of iptables itself.
    pub keeps_nat: bool,
    /// `lb` stands by from its start on, rather than to serve what begins beside kube-proxy.
    pub standby: bool,
}

/// kube-proxy serves, `lb` takes over, kube-proxy goes, comes back, and is handed back to, while
/// clients are at work.
///
/// # Errors
/// Anybody notices who was not named before.
pub fn there_and_back(
    cluster: &Cluster,
    manifests: &Manifests,
    backend: &Place,
    proxy: &mut dyn KubeProxy,
    course: Course,
) -> Result<()> {
    let Course { keeps_nat, standby } = course;
    let here = cluster.here();
    proxy.start()?;
    let pod = here.pod_at(5, "client")?;
    await_service(&pod)?;
    let mut clients = Clients::start(cluster, &pod, backend);
    // Where `lb` serves beside kube-proxy, a datagram begins with it: UDP's clients may notice.
    if standby {
        clients.converse(cluster, &pod)?;
    }
    clients.are_well("under kube-proxy")?;

    let lb = Lb::new(here, manifests, "tc,socket")?;
    let mut lb = lb.with("LB_STANDBY", &standby.to_string());
    lb.start()?;
    clients.are_well("with lb beside it")?;
    let flows = lb.output(&["get", "flows", "-A", "--no-headers"])?;
    ensure!(flows.is_empty() == standby, "standing by, or not:\n{flows}");

    let own = here.place().address(Family::V4).to_string();
    let named = run(&lb, &["takeover", "--dry-run"], SOMETHING_STAYS)?;
    ensure!(named.contains("a process of this node"), "{named}");
    let mut lines = named.lines().filter(|line| line.contains(" no "));
    let only = lines.next().context("nothing is named")?;
    ensure!(only.contains(&own) && lines.next().is_none(), "{named}");
    run(&lb, &["takeover"], SOMETHING_STAYS)?;
    clients.are_well("taken over")?;
    proxy.remove()?;
    wait::until("lb notices that it is alone", PATIENCE, || {
        Ok(lb.said().contains("kube-proxy's rules are not here"))
    })?;
    clients.are_well("without kube-proxy")?;
    ensure!(
        clients.own.is_over() != keeps_nat,
        "the node's own connection needs a NAT chain, and no more"
    );

    proxy.start()?;
    clients.are_well("with kube-proxy's rules there again")?;
    run(&lb, &["handback"], 0)?;
    clients.are_well("handed back")?;
    lb.uninstall()?;
    clients.are_well("after uninstall")?;
    let own = clients.own.is_over();
    clients.finish().context("after uninstall")?;
    ensure!(own != keeps_nat);
    proxy.remove()
}
