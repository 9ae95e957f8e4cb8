//! What is changed in the kernel by others is named, counted and mended, by whatever means programs are
//! attached there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::command;
use lb_tests::foreign::{Foreign, Kind, TC_NEXT};
use lb_tests::http::get;
use lb_tests::lb::Lb;
use lb_tests::manifests::{Manifests, Service};
use lb_tests::topology::{Cluster, Pair, UPLINK, on};
use lb_tests::wait;
use lb_userspace::bpf::{Attachment, Link, Place};
use lb_userspace::dataplane::kernel::KernelTables;
use lb_userspace::loader::features;
use lb_userspace::netlink::filters::{Direction, Slot};
use lb_userspace::netlink::{Facts, Netlink};

/// An audit a second, and time for an emulated processor.
const INTERVAL: &str = "1s";
const SOON: Duration = Duration::from_mins(1);
const METRICS: &str = "127.0.0.1:10249";

/// Index of the node's uplink, in this thread's network namespace.
fn uplink() -> Result<u32> {
    let facts = Facts::ask(&mut Netlink::connect()?)?;
    let mut links = facts.links.iter();
    let uplink = links.find(|(_, link)| link.name == UPLINK);
    Ok(*uplink.context("no uplink")?.0)
}

fn egress(ifindex: u32, priority: u16) -> Slot {
    Slot {
        ifindex,
        direction: Direction::Out,
        priority,
        handle: 1,
    }
}

/// What `lb verify` says is amiss; the other findings are notes, or well.
fn amiss(lb: &Lb) -> Result<Vec<String>> {
    let mut verify = lb.command(&["verify", "-o", "json"])?;
    let output = lb.node().netns().run(|| Ok(verify.output()?))?;
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let findings = findings["items"].as_array().context("no list")?.iter();
    let bad = findings.filter(|finding| finding["verdict"] == "bad");
    let amiss: Vec<_> = bad
        .map(|finding| format!("{} {}", finding["subject"], finding["found"]).replace('"', ""))
        .collect();
    let code = i32::from(!amiss.is_empty());
    ensure!(output.status.code() == Some(code), "{amiss:?}");
    Ok(amiss)
}

fn are_named(lb: &Lb, expected: &[&str]) -> Result<()> {
    let amiss = amiss(lb)?;
    let is_told = |told: &&str| amiss.iter().any(|amiss| amiss.starts_with(*told));
    let all = expected.iter().all(is_told) && amiss.len() == expected.len();
    ensure!(all, "{expected:?} are to be named, and are\n{amiss:#?}");
    Ok(())
}

fn are_mended(lb: &Lb) -> Result<()> {
    wait::until(
        "everything is as it was",
        SOON,
        || Ok(amiss(lb)?.is_empty()),
    )
}

fn bpftool(words: &[&str], pin: &Path) -> Result<()> {
    command::run(Command::new("bpftool").args(words).arg(pin)).map(drop)
}

/// Takes our filter away, detaches a link, and tears map `links`.
fn change_attached(lb: &Lb) -> Result<()> {
    let index = uplink()?;
    Netlink::connect()?.remove_filter(egress(index, u16::MAX))?;
    let link = lb.pin_dir().join("attached/cgroup-connect4");
    bpftool(&["link", "detach", "pinned"], &link)?;
    Ok(KernelTables::open(&lb.pin_dir())?.set_link(index, None)?)
}

/// What `lb verify` says of it.
const ATTACHED: [&str; 3] = [
    "filter eth0 out is gone",
    "link cgroup-connect4 is gone",
    "map links does not hold",
];

/// Comes before ours at tcx, where there is that, until what is returned is dropped.
fn push_in(program: &Foreign) -> Result<Option<Link>> {
    if !has_tcx() {
        return Ok(None);
    }
    let hook = Attachment::TcxIngress;
    let link = Link::at_network_link(program.fd(), uplink()?, hook, Place::First)?;
    Ok(Some(link))
}

/// What `lb verify` says of it.
const ORDER: &str = "order tcx-in-";

fn has_tcx() -> bool {
    features::kernel_version() >= features::TCX.since
}

/// Removes pins, and puts something else in the place of others.
fn change_pins(lb: &Lb, foreign: &Foreign) -> Result<()> {
    let pins = lb.pin_dir();
    let programs = pins.join("programs");
    for gone in [
        pins.join("slots"),
        pins.join("drops"),
        programs.join("tc_pod_in"),
        programs.join("tc_pod_out"),
    ] {
        fs::remove_file(gone)?;
    }
    let map = pins.join("drops").display().to_string();
    let form = "type array key 4 value 4 entries 1 name other";
    let words = ["map", "create", &map].into_iter().chain(form.split(' '));
    command::run(Command::new("bpftool").args(words))?;
    let id = foreign.id()?.to_string();
    bpftool(&["prog", "pin", "id", &id], &programs.join("tc_pod_out"))
}

/// What `lb verify` says of it.
const PINS: [&str; 5] = [
    "maps map ",
    "pin drops is gone",
    "pin slots is gone",
    "pin tc_pod_in is gone",
    "pin tc_pod_out is gone",
];

#[test]
fn whatever_others_change_is_named_counted_and_mended() {
    on(Cluster::routed_veth, |cluster| {
        let netns = cluster.here().place().netns();
        let (foreign, other) = (
            Foreign::new(Kind::Tc, TC_NEXT)?,
            Foreign::new(Kind::Tc, TC_NEXT)?,
        );
        // Behind filters of others at egress, ours is one as well, whatever else the kernel has.
        netns.run(|| {
            let mut netlink = Netlink::connect()?;
            netlink.add_clsact(uplink()?)?;
            Ok(netlink.set_filter(egress(uplink()?, 7), foreign.fd(), "foreign")?)
        })?;
        let manifests = Manifests::new()?;
        let at = Pair::new("10.43.165.39", "fd00:10:43::a539");
        let service = Service::new("kubia", "kubia").at(&at.both());
        manifests.write("kubia.yaml", &[service.port(80, 8080).object()])?;
        let lb = Lb::new(cluster.here(), &manifests, "tc,socket")?;
        let mut lb = lb.with("LB_AUDIT_INTERVAL", INTERVAL);
        lb.start()?;
        are_named(&lb, &[])?;

        lb.freeze(true)?;
        netns.run(|| change_attached(&lb))?;
        are_named(&lb, &ATTACHED)?;
        lb.freeze(false)?;
        are_mended(&lb)?;

        lb.freeze(true)?;
        change_pins(&lb, &foreign)?;
        let early = netns.run(|| push_in(&other))?;
        let order = early.iter().map(|_| ORDER);
        are_named(&lb, &PINS.into_iter().chain(order).collect::<Vec<_>>())?;
        lb.freeze(false)?;
        are_mended(&lb)?;

        let metrics = get(lb.node(), METRICS.parse()?, "/metrics")?;
        for (kind, count) in [
            ("filter", 1.0),
            ("link", 1.0),
            ("map", 1.0),
            ("order", if early.is_some() { 1.0 } else { 0.0 }),
            ("pin", 4.0),
        ] {
            let name = format!("lb_drift_total{{kind=\"{kind}\"}}");
            let counted = metrics.metric(&name);
            ensure!(counted == Some(count), "{name}: {counted:?}");
        }

        // Nobody mends until the next start does.
        lb.stop()?;
        let earlier = netns.run(|| {
            change_attached(&lb)?;
            push_in(&foreign)
        })?;
        let order = earlier.iter().map(|_| ORDER);
        are_named(&lb, &ATTACHED.into_iter().chain(order).collect::<Vec<_>>())?;
        lb.start()?;
        are_mended(&lb)?;
        drop((early, earlier));
        lb.uninstall()
    });
}
