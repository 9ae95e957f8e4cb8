//! Whom do UDP clients talk to when their backend stops serving? Another one, at once; and those that
//! cannot be moved hear of it.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_common::Ip4;
use lb_common::layout::{Flow, FlowKey};
use lb_tests::app::App;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Health, Manifests, Service};
use lb_tests::peer::{Dial, Transport};
use lb_tests::topology::{Cluster, Family, Pair, Place, alone, on};
use lb_tests::wait;
use lb_userspace::bpf::Map;
use socket2::{Domain, Type};

/// After the new state is in the maps.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pods.
const NAMES: [&str; 2] = ["kubia-0", "kubia-1"];
/// What is asked.
const QUESTION: &[u8] = b"/host_name";

fn kubia() -> Pair {
    Pair::new("10.43.165.39", "fd00:10:43::a539")
}

/// A client that keeps its socket.
struct Client {
    socket: UdpSocket,
    to: Option<SocketAddr>,
}

impl Client {
    fn at(place: &Place, to: SocketAddr) -> Result<Self> {
        let socket = place.socket(Domain::for_address(to), Type::DGRAM, None)?;
        Ok(Self {
            socket: socket.into(),
            to: Some(to),
        })
    }

    fn connected(place: &Place, to: SocketAddr) -> Result<Self> {
        let client = Self::at(place, to)?;
        client.socket.connect(to)?;
        Ok(Self {
            socket: client.socket,
            to: None,
        })
    }

    /// Who answers.
    fn ask(&self) -> std::io::Result<String> {
        self.ask_for(PATIENCE)
    }

    /// Whether nobody answers.
    fn asks_in_vain(&self) -> bool {
        self.ask_for(AT_ONCE).is_err()
    }

    fn ask_for(&self, patience: Duration) -> std::io::Result<String> {
        self.forget_late_answers()?;
        self.socket.set_read_timeout(Some(patience))?;
        match self.to {
            Some(to) => self.socket.send_to(QUESTION, to)?,
            None => self.socket.send(QUESTION)?,
        };
        self.hear()
    }

    /// On a busy machine an answer may come when nobody waits for it any more, and would be taken for
    /// that to the next question.
    fn forget_late_answers(&self) -> std::io::Result<()> {
        self.socket.set_nonblocking(true)?;
        while self.hear().is_ok() {}
        self.socket.set_nonblocking(false)
    }

    /// Talks to others, be it not with the first question: none that is asked later than at once
    /// reaches whoever is gone.
    fn leaves(&self, gone: &[&str], known: Instant) -> Result<Option<String>> {
        loop {
            let after = known.elapsed();
            let by = if gone.len() == NAMES.len() {
                self.ask_for(AT_ONCE).ok()
            } else {
                Some(self.ask()?)
            };
            if !gone.iter().any(|gone| by.as_deref() == Some(*gone)) {
                return Ok(by);
            }
            ensure!(
                after < AT_ONCE,
                "still talks to {by:?}, asked after {after:?}"
            );
        }
    }

    fn hear(&self) -> std::io::Result<String> {
        let mut answer = [0; 512];
        let length = self.socket.recv(&mut answer)?;
        let text = String::from_utf8_lossy(&answer[..length]);
        let name = text.lines().last().and_then(|line| line.split(' ').next());
        Ok(name.unwrap_or_default().to_owned())
    }
}

/// Has the pod stop serving (or serve again) while its server goes on, so that whoever still talks to
/// it shows. Comes back when the new state is in the maps.
fn set(app: &App<'_>, lb: &Lb, name: &str, health: Health) -> Result<()> {
    app.set_health(name, health)?;
    let is_there = health == Health::Ready;
    wait::until("in the maps", Duration::from_secs(5), || {
        let shown = lb.output(&["get", "backends", name, "--no-headers"]);
        Ok(shown.is_ok_and(|shown| !shown.trim().is_empty()) == is_there)
    })
}

fn manifests() -> Result<Manifests> {
    let manifests = Manifests::new()?;
    let service = Service::new("kubia", "kubia")
        .at(&kubia().both())
        .port(80, 8080)
        .node_port(30_123);
    manifests.write("kubia.yaml", &[service.object()])?;
    Ok(manifests)
}

/// Both kinds of clients at this place.
fn clients(place: &Place, to: SocketAddr) -> Result<[Client; 2]> {
    Ok([Client::connected(place, to)?, Client::at(place, to)?])
}

/// At traffic control a socket that is connected moves as one that is not: what counts is the flow.
/// Through the ClusterIP from a pod, through the NodePort from outside.
#[test]
fn udp_flows_of_a_backend_that_stops_serving_end_at_once() {
    alone(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), NAMES[0])?;
        app.pod(cluster.elsewhere(), NAMES[1])?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let pod = cluster.here().pod_at(5, "client")?;
        let node = cluster.here().place();
        let mut all = Vec::new();
        for family in Family::ALL {
            all.extend(clients(&pod, kubia().port(family, 80))?);
            let node_port = SocketAddr::new(node.address(family), 30_123);
            all.extend(clients(cluster.outside(), node_port)?);
        }
        let are_answered = || Ok(all.iter().all(|client| client.ask().is_ok()));
        let leave = |gone: &[&str]| {
            let known = Instant::now();
            for (i, client) in all.iter().enumerate() {
                let by = client.leaves(gone, known);
                let by = by.with_context(|| format!("client {i} without {gone:?}"))?;
                let is_right = by.is_some() == (gone.len() < NAMES.len());
                ensure!(is_right, "client {i} without {gone:?}: {by:?}");
            }
            Ok(())
        };
        wait::until("all are answered", PATIENCE, are_answered)?;
        for gone in NAMES {
            set(&app, &lb, gone, Health::NotReady)?;
            leave(&[gone])?;
            set(&app, &lb, gone, Health::Ready)?;
        }
        for gone in NAMES {
            set(&app, &lb, gone, Health::NotReady)?;
        }
        leave(&NAMES)?;
        for back in NAMES {
            set(&app, &lb, back, Health::Ready)?;
        }
        wait::until("all are answered", PATIENCE, are_answered)?;
        std::fs::remove_file(manifests.path().join("kubia.yaml"))?;
        wait::until("the Service is gone", PATIENCE, || {
            let shown = lb.output(&["get", "frontends", "--no-headers"]);
            Ok(!shown.is_ok_and(|shown| shown.contains("kubia")))
        })?;
        leave(&NAMES)?;
        lb.uninstall()
    });
}

/// A packet that was decided upon before the new state was in may begin its flow when the others
/// have ended already: it ends soon, too. The test puts back what ended.
#[test]
fn a_udp_flow_that_begins_while_its_backend_stops_ends_within_moments() {
    alone(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-0")?;
        let lb = Lb::started(cluster.here(), &manifests, "tc")?;
        let pod = cluster.here().pod_at(5, "client")?;
        let flows = Map::<FlowKey<Ip4>, Flow<Ip4>>::open(&lb.pin_dir().join("flows4"))?;
        let client = Client::at(&pod, kubia().port(Family::V4, 80))?;
        wait::until("it is answered", PATIENCE, || Ok(client.ask().is_ok()))?;
        let before = flows.batches().collect::<std::io::Result<Vec<_>>>()?;
        let before = before.concat();
        ensure!(before.len() == 2, "{before:?}");
        // Not all of the table again, which may take longer than what is to be seen.
        let are_gone = || {
            let found = before.iter().map(|(key, _)| flows.get(key));
            let found = found.collect::<std::io::Result<Vec<_>>>()?;
            Ok(found.iter().all(Option::is_none))
        };
        app.set_health("kubia-0", Health::NotReady)?;
        wait::until("its flow ended", PATIENCE, are_gone)?;
        for (key, flow) in &before {
            flows.update(key, flow)?;
        }
        // Far sooner than a time-out.
        wait::until("it ended again", PATIENCE, are_gone)?;
        drop(flows);
        lb.uninstall()
    });
}

/// A socket of the node itself that is not connected moves with its next datagram; one that is
/// connected gets an error at once; one that is connected to the pod directly is left alone.
#[test]
fn the_nodes_own_udp_clients_move_or_hear_of_it() {
    alone(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        let places = [
            app.pod(cluster.here(), "kubia-0")?,
            app.pod(cluster.elsewhere(), "kubia-1")?,
        ];
        let lb = Lb::started(cluster.here(), &manifests, "tc,socket")?;
        for family in Family::ALL {
            let [connected, unconnected] = clients(lb.node(), kubia().port(family, 80))?;
            let gone = connected.ask().context("before")?;
            let pod = places.iter().find(|place| place.name() == gone);
            let pod = pod.context("answered by no pod")?;
            let at = SocketAddr::new(pod.address(family), 8080);
            let direct = Client::connected(lb.node(), at)?;
            ensure!(direct.ask()? == gone);
            std::thread::scope(|scope| {
                connected.socket.set_read_timeout(Some(PATIENCE))?;
                let waiting = scope.spawn(|| connected.hear());
                set(&app, &lb, &gone, Health::NotReady)?;
                let known = Instant::now();
                let heard = waiting.join().expect("does not panic");
                ensure!(
                    known.elapsed() < AT_ONCE,
                    "heard after {:?}",
                    known.elapsed()
                );
                let error = heard.err().map(|error| error.kind());
                ensure!(error == Some(ErrorKind::ConnectionAborted), "{error:?}");
                anyhow::Ok(())
            })?;
            ensure!(unconnected.ask().context("not connected")? != gone);
            ensure!(direct.ask().context("directly")? == gone);
            let again = Client::connected(lb.node(), kubia().port(family, 80))?;
            ensure!(again.ask().context("connected anew")? != gone);
            set(&app, &lb, &gone, Health::Ready)?;
        }
        lb.uninstall()
    });
}

#[test]
fn connected_udp_at_the_socket_hook_can_be_switched_off() {
    on(Cluster::routed_veth, |cluster| {
        let manifests = manifests()?;
        let app = App::new(&manifests, "kubia", 8080);
        app.pod(cluster.here(), "kubia-0")?;
        let mut lb = Lb::new(cluster.here(), &manifests, "tc,socket")?
            .with("LB_SOCKET_CONNECTED_UDP", "false");
        lb.start()?;
        for family in Family::ALL {
            let [connected, unconnected] = clients(lb.node(), kubia().port(family, 80))?;
            ensure!(unconnected.ask().context("not connected")? == "kubia-0");
            ensure!(connected.asks_in_vain(), "{family}: served");
            let tcp = Dial::new(Transport::Tcp, kubia().port(family, 80));
            ensure!(tcp.ask(lb.node())?.by == "kubia-0");
        }
        lb.uninstall()
    });
}
