//! Does the datapath come into the kernel, stay over restarts, and leave without a trace?

use std::path::PathBuf;

use anyhow::{Result, ensure};
use lb_common::drops::Hook;
use lb_common::layout::{LINK_POD, LINK_UPLINK};
use lb_common::{Ip4, names};
use lb_tests::need;
use lb_tests::netns::Netns;
use lb_userspace::dataplane::kernel::KernelTables;
use lb_userspace::loader::roles::Patterns;
use lb_userspace::loader::{Datapath, LoadError, Options, Removed, uninstall};
use lb_userspace::netlink::{Facts, Netlink};
use lb_userspace::object;
use lb_userspace::settings::{SocketScope, XdpMode};

/// A pin directory and a cgroup of a test's own; what is left of them goes with the guard.
struct Place {
    pins: PathBuf,
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("{}-{test}-{}", names::NAME, std::process::id());
        Self {
            pins: PathBuf::from("/sys/fs/bpf").join(name),
        }
    }

    fn options(&self) -> Options {
        Options {
            pin_dir: self.pins.clone(),
            cgroup: None,
            hooks: vec![Hook::Tc],
            socket: SocketScope::Off,
            xdp: XdpMode::Native,
            patterns: Patterns::default(),
            sizes: [].into(),
        }
    }

    fn start(&self) -> Result<Datapath, LoadError> {
        Datapath::start(
            self.options(),
            object::embedded().expect("`cargo xtask build-ebpf` was run"),
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Pins first: what is attached goes with them.
        if self.pins.exists() {
            std::fs::remove_dir_all(&self.pins).expect("the pin directory can be removed");
        }
    }
}

/// A node with an uplink `eth0` and a pod's link `pod0`; the other ends are in namespaces that
/// live as long.
struct Node {
    node: Netns,
    _others: Vec<Netns>,
}

impl Node {
    fn new() -> Result<Self> {
        let node = Netns::new("node")?;
        let outside = Netns::new("outside")?;
        let pod = Netns::new("pod")?;
        node.ip(&format!(
            "link add eth0 type veth peer name eth0 netns {outside}\n\
             link add pod0 type veth peer name eth0 netns {pod}\n\
             address add 192.0.2.1/24 dev eth0\n\
             link set eth0 up\n\
             link set pod0 up\n\
             route add default via 192.0.2.254",
            outside = outside.path().display(),
            pod = pod.path().display(),
        ))?;
        Ok(Self {
            node,
            _others: vec![outside, pod],
        })
    }

    fn attach(datapath: &mut Datapath) -> Result<()> {
        let facts = Facts::ask(&mut Netlink::connect()?)?;
        datapath.attach(&facts, &[].into(), &[].into())?;
        let problems = datapath.problems();
        ensure!(problems.is_empty(), "{problems:?}");
        Ok(())
    }
}

fn links_of(place: &Place) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(place.pins.join("attached"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[test]
fn programs_come_to_the_links_that_are_there_and_leave_without_a_trace() -> Result<()> {
    need::root();
    let place = Place::new("come");
    let node = Node::new()?;
    node.node.run(|| {
        let mut datapath = place.start()?;
        Node::attach(&mut datapath)?;
        assert_eq!(
            links_of(&place)?,
            [
                "tcx-in-2-eth0",
                "tcx-in-3-pod0",
                "tcx-out-2-eth0",
                "tcx-out-3-pod0"
            ]
        );
        let links = KernelTables::open(&place.pins)?.links()?;
        let links: Vec<_> = links
            .iter()
            .map(|(index, link)| (*index, link.mtu, link.flags, link.address4))
            .collect();
        assert_eq!(
            links,
            [
                (2, 1500, LINK_UPLINK, Ip4::new(192, 0, 2, 1)),
                (3, 1500, LINK_POD, Ip4::default()),
            ]
        );
        let removed = uninstall(&place.pins)?;
        assert_eq!((removed.attached, removed.qdiscs), (4, 0));
        assert!(!place.pins.exists());
        assert_eq!(uninstall(&place.pins)?, Removed::default());
        Ok(())
    })
}
