//! Is every field of a Service what its packets meet? A table of Services in one cluster, asked by a
//! pod, by the node and from outside; then some of them change.

mod asked;
mod table;

use std::collections::BTreeSet;
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::http::get;
use lb_tests::kubernetes::ControlPlane;
use lb_tests::lb::Lb;
use lb_tests::manifests::{self, Health, Manifests, Service};
use lb_tests::peer::{Dial, Server};
use lb_tests::topology::{Cluster, Family, Node, Place, addresses};
use serde_json::{Value, json};

use self::asked::At::{ClusterIp, External, NodePort};
use self::asked::Outcome::{By, Dropped, Refused};
use self::asked::{ANYBODY, Asker, BOTH, HERE, INSIDE, OUTSIDE, PACKETS, THERE, Written};
use self::table::{BRIEF, Row, objects, service};
use super::{SOON, in_cluster, wait};

/// A pod of the table, with a server on each of its ports.
struct Pod<'c> {
    node: &'c Node,
    place: Place,
    app: &'static str,
    /// The number of its port `web`.
    web: u16,
    _servers: Vec<Server>,
}

impl<'c> Pod<'c> {
    /// One whose servers have its name on port 8080, and on others the number besides.
    fn start(
        node: &'c Node,
        host: u8,
        name: &str,
        app: &'static str,
        ports: &[u16],
    ) -> Result<Self> {
        let place = node.pod_at(host, name)?;
        let server = |port: &u16| match port {
            8080 => Server::start(&place, name, 8080),
            port => Server::start(&place, &format!("{name}-{port}"), *port),
        };
        Ok(Self {
            _servers: ports.iter().map(server).collect::<Result<_>>()?,
            node,
            place,
            app,
            web: 8080,
        })
    }

    fn publish(&self, manifests: &Manifests, health: Health) -> Result<()> {
        let name = self.place.name();
        let mut object = manifests::pod(self.node, &self.place, self.app, health);
        object["metadata"]["labels"]["pod"] = json!(name);
        let ports = json!([{"name": "web", "containerPort": self.web}]);
        object["spec"]["containers"][0]["ports"] = ports;
        manifests.write(&format!("{name}.yaml"), &[object])
    }
}

/// Who has frontends, and which: as `lb` shows them.
fn frontends(lb: &Lb) -> Result<Vec<Value>> {
    let text = lb.output(&["get", "frontends", "-A", "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    let all = list["items"].as_array().context("no list")?.iter();
    let is_ours = |frontend: &&Value| frontend["name"] != "kubernetes";
    Ok(all.filter(is_ours).cloned().collect())
}

fn names(frontends: &[Value]) -> BTreeSet<&str> {
    let names = frontends.iter().map(|frontend| frontend["name"].as_str());
    names.map(Option::unwrap_or_default).collect()
}

fn check(asker: &Asker<'_>, control: &ControlPlane, row: &Row) -> Result<()> {
    let written = Written::read(control, row.name())?;
    let families: Vec<_> = written.cluster_ips()?.into_iter().map(Family::of).collect();
    ensure!(families == row.families, "{families:?}: {written:?}");
    asker.all(&written, row.asks)
}

/// Asks all that the table says, several rows at once: most of the time is spent waiting.
fn check_all(asker: &Asker<'_>, control: &ControlPlane, rows: &[Row]) -> Result<()> {
    const AT_ONCE: usize = 4;
    let wrong = |first: usize| {
        let rows = rows.iter().skip(first).step_by(AT_ONCE);
        let wrong = rows.filter_map(|row| Some((row, check(asker, control, row).err()?)));
        let texts = wrong.map(|(row, error)| format!("{}: {error:#}\n", row.name()));
        texts.collect::<String>()
    };
    let wrong: String = thread::scope(|scope| {
        let all: Vec<_> = (0..AT_ONCE)
            .map(|first| scope.spawn(move || wrong(first)))
            .collect();
        let join = |thread: ScopedJoinHandle<'_, _>| thread.join().expect("it does not panic");
        all.into_iter().map(join).collect()
    });
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

/// Types and policies change while their Services are in use.
fn change_fields(asker: &Asker<'_>, control: &ControlPlane, manifests: &Manifests) -> Result<()> {
    let write = |service: Service| {
        let file = format!("{}-changed.yaml", service.name());
        manifests.write(&file, &objects(&service))
    };
    let was = Written::read(control, "cluster-ip")?;
    write(table::external_name("cluster-ip"))?;
    asker.all(&was, &[(PACKETS, ClusterIp(80), Dropped)])?;
    write(service("cluster-ip", &json!({})).at(&was.cluster_ips()?))?;
    asker.all(&was, &[(ANYBODY, ClusterIp(80), By(BOTH))])?;

    let was = Written::read(control, "node-port")?;
    write(service("node-port", &json!({"type": "ClusterIP"})))?;
    asker.all(
        &was,
        &[
            (ANYBODY, NodePort, Refused),
            (ANYBODY, ClusterIp(80), By(BOTH)),
        ],
    )?;

    let was = Written::read(control, "external-ips-local")?;
    let fields = json!({"externalIPs": was.external()?, "selector": {"pod": "there"}});
    write(service("external-ips-local", &fields))?;
    asker.all(&was, &[(ANYBODY, External, By(THERE))])
}

/// What a load balancer that asks on the port of its own is told.
fn await_health(cluster: &Cluster, service: &Written, local: u16) -> Result<()> {
    let port = service.health_check()?;
    let status = if local > 0 { 200 } else { 503 };
    for family in Family::ALL {
        let server = addresses::node(0).port(family, port);
        wait::until(
            &format!("{server} tells of {local} endpoints"),
            SOON,
            || {
                let answer = get(cluster.outside(), server, "/healthz")?;
                Ok(answer.status == status && answer.json()?["localEndpoints"] == local)
            },
        )?;
    }
    Ok(())
}

/// The pod of the node becomes unready and ready again: what was for it alone goes where each field
/// says, and comes back.
fn change_readiness(
    asker: &Asker<'_>,
    (cluster, control): (&Cluster, &ControlPlane),
    mut set_here: impl FnMut(Health) -> Result<()>,
) -> Result<()> {
    let read = |name| Written::read(control, name);
    let [local, elsewhere] = [read("external-local")?, read("external-local-elsewhere")?];
    await_health(cluster, &local, 1)?;
    await_health(cluster, &elsewhere, 0)?;
    set_here(Health::NotReady)?;
    await_health(cluster, &local, 0)?;
    let asks: &[_] = &[
        (INSIDE, External, By(THERE)),
        (OUTSIDE, External, Dropped),
        (OUTSIDE, NodePort, Dropped),
    ];
    asker.all(&local, asks)?;
    let internal = read("internal-local")?;
    asker.all(
        &internal,
        &[
            (OUTSIDE, NodePort, By(THERE)),
            (PACKETS, ClusterIp(80), Dropped),
        ],
    )?;
    asker.all(&read("affinity")?, &[(ANYBODY, ClusterIp(80), By(THERE))])?;
    asker.all(&read("same-node")?, &[(ANYBODY, ClusterIp(80), By(THERE))])?;
    set_here(Health::Ready)?;
    await_health(cluster, &local, 1)?;
    asker.all(&local, &[(OUTSIDE, External, By(HERE))])?;
    asker.all(&internal, &[(ANYBODY, ClusterIp(80), By(HERE))])
}

/// Clients from outside keep their pods as long as the Service says, and no longer.
fn forgets(outside: &Place, service: &Written) -> Result<()> {
    let mut dials = Vec::new();
    for (transport, socket) in service.sockets(ClusterIp(80))? {
        let sources = addresses::OUTSIDE_HOSTS.map(addresses::outside);
        let sources = sources.map(|source| source.of(Family::of(socket.ip())));
        dials.extend(sources.map(|source| Dial::new(transport, socket).from(source)));
    }
    let ask = || {
        dials
            .iter()
            .map(|dial| Ok(dial.ask(outside)?.by))
            .collect::<Result<Vec<_>>>()
    };
    let first = ask()?;
    ensure!(ask()? == first, "not kept: {first:?}");
    sleep(Duration::from_secs(BRIEF + 1));
    // If all of them draw the same again, it is by one chance in thousands of millions.
    ensure!(ask()? != first, "kept for ever: {first:?}");
    Ok(())
}

/// Each row of the table, as events bring it; `lb` makes the same of it when it reads all of it anew;
/// and then what changes.
#[test]
fn every_field_of_a_service_is_what_its_packets_meet() {
    in_cluster(|cluster, control| {
        let manifests = Manifests::in_cluster(control)?;
        let (a, b) = (cluster.here(), cluster.elsewhere());
        let here = Pod::start(a, 20, "here", "kubia", &[8080, 8090])?;
        let mut there = Pod::start(b, 20, "there", "kubia", &[8080, 8090])?;
        there.web = 8090;
        let slow = Pod::start(b, 21, "slow", "slow", &[8080])?;
        let _balancer = Server::start(cluster.outside(), "balancer", 80)?;
        let client = a.pod("client")?;
        let mut lb = Lb::started(a, &manifests, "tc,socket")?;

        let rows = table::rows(addresses::outside(7));
        let objects = rows.iter().flat_map(Row::objects).collect::<Vec<_>>();
        manifests.write("rows.yaml", &objects)?;
        here.publish(&manifests, Health::Ready)?;
        there.publish(&manifests, Health::Ready)?;
        slow.publish(&manifests, Health::NotReady)?;
        let asker = Asker::new(&client, lb.node(), cluster.outside());
        check_all(&asker, control, &rows)?;

        let served = rows.iter().filter(|row| !row.families.is_empty());
        let served: BTreeSet<_> = served.map(Row::name).collect();
        let before = frontends(&lb)?;
        ensure!(names(&before) == served, "{:?}", names(&before));
        lb.kill()?;
        lb.start()?;
        let after = frontends(&lb)?;
        ensure!(
            before == after,
            "{before:#?}\nand after a restart\n{after:#?}"
        );
        forgets(cluster.outside(), &Written::read(control, "brief")?)?;
        let asker = Asker::new(&client, lb.node(), cluster.outside());
        let set_here = |health| here.publish(&manifests, health);
        change_readiness(&asker, (cluster, control), set_here)?;
        change_fields(&asker, control, &manifests)?;
        ensure!(a.invalid_packets()? == 0);
        lb.uninstall()
    });
}
