//! Do programs and map `links` follow links that come, change and go, and fast enough?

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_common::Ip4;
use lb_common::layout::Link;
use lb_tests::install::{Install, SmallNode};
use lb_tests::need;
use lb_userspace::dataplane::kernel::KernelTables;
use lb_userspace::loader::{Datapath, uninstall};
use lb_userspace::netlink::{Effect, Facts, Monitor, Netlink, News};
use tokio::runtime::Builder;
use tokio::time::timeout;

/// From the kernel's word on a change until everything has followed.
const SOON: Duration = Duration::from_millis(100);

/// Follows the node's links as a daemon does.
struct Follower<'i> {
    install: &'i Install,
    datapath: Datapath,
    tables: KernelTables,
    facts: Facts,
    monitor: Monitor,
}

impl<'i> Follower<'i> {
    fn new(install: &'i Install) -> Result<Self> {
        let monitor = Monitor::new()?;
        let datapath = install.run()?;
        Ok(Self {
            install,
            tables: datapath.tables()?,
            datapath,
            facts: Facts::ask(&mut Netlink::connect()?)?,
            monitor,
        })
    }

    /// Follows until it is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !is_so(self)? {
            let news = timeout(Duration::from_secs(5), self.monitor.next()).await;
            let Ok(News::Changes(changes)) = news? else {
                anyhow::bail!("{what}: news were lost");
            };
            for change in &changes {
                if self.facts.apply(change) == Effect::Routes {
                    self.facts.ask_routes(&mut Netlink::connect()?)?;
                }
            }
            let problems = self.datapath.attach(&self.facts, &[].into());
            ensure!(problems.is_empty(), "{what}: {problems:?}");
        }
        let took = begun.elapsed();
        println!("{what}: {took:?}");
        ensure!(took < SOON, "{what} took {took:?}");
        Ok(())
    }

    fn has(&self, pin: &str) -> bool {
        self.install.pins().join("attached").join(pin).exists()
    }

    fn link(&self, ifindex: u32) -> Result<Option<Link>> {
        let links = self.tables.links()?;
        let link = links.into_iter().find(|(index, _)| *index == ifindex);
        Ok(link.map(|(_, link)| link))
    }
}

#[test]
fn programs_follow_links() -> Result<()> {
    need::root();
    let install = Install::new("follow")?;
    let node = SmallNode::new()?;
    let pod = node.pod().path();
    let ip = |command: &str| node.netns().ip(command);
    node.netns().run(|| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut follower = Follower::new(&install)?;

            ip(&format!(
                "link add pod1 index 9 type veth peer name eth1 netns {}",
                pod.display()
            ))?;
            let is_there = |f: &Follower| {
                Ok(f.has("tcx-in-9-pod1") && f.has("tcx-out-9-pod1") && f.link(9)?.is_some())
            };
            follower.until("a new link", is_there).await?;

            ip("link set pod1 mtu 1280")?;
            let is_smaller = |f: &Follower| Ok(f.link(9)?.is_some_and(|link| link.mtu == 1280));
            follower.until("another MTU", is_smaller).await?;

            ip("link set pod1 name cali1.x")?;
            let is_renamed =
                |f: &Follower| Ok(f.has("tcx-in-9-cali1%2ex") && !f.has("tcx-in-9-pod1"));
            follower.until("another name", is_renamed).await?;

            ip("address add 198.51.100.9/24 dev eth0\n\
                route replace default via 198.51.100.254\n\
                address del 192.0.2.1/24 dev eth0")?;
            let address = Ip4::new(198, 51, 100, 9);
            let is_renumbered =
                |f: &Follower| Ok(f.link(2)?.is_some_and(|link| link.address4 == address));
            follower.until("another address", is_renumbered).await?;

            ip("link del cali1.x")?;
            let is_gone = |f: &Follower| Ok(!f.has("tcx-in-9-cali1%2ex") && f.link(9)?.is_none());
            follower.until("a link less", is_gone).await?;
            assert_eq!(install.pinned("attached")?.len(), 4);
            Ok(())
        })
    })
}

#[test]
fn links_that_changed_meanwhile_are_found_at_the_start() -> Result<()> {
    need::root();
    let install = Install::new("meanwhile")?;
    let node = SmallNode::new()?;
    let pod = node.pod().path();
    node.netns().run(|| {
        drop(install.run()?);
        node.netns().ip(&format!(
            "link del pod0\n\
             link add pod1 index 9 type veth peer name eth1 netns {}",
            pod.display()
        ))?;
        let datapath = install.run()?;
        assert_eq!(
            install.pinned("attached")?,
            [
                "tcx-in-2-eth0",
                "tcx-in-9-pod1",
                "tcx-out-2-eth0",
                "tcx-out-9-pod1"
            ]
        );
        let links = datapath.tables()?.links()?;
        let links: Vec<u32> = links.into_iter().map(|(index, _)| index).collect();
        assert_eq!(links, [2, 9]);
        Ok(())
    })
}

#[test]
fn links_without_ethernet_header_get_programs_of_their_own() -> Result<()> {
    need::root();
    let install = Install::new("bare")?;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        node.netns().ip("tuntap add name tun0 mode tun\n\
             address add 198.51.100.1/24 dev tun0\n\
             link set tun0 up")?;
        drop(install.run()?);
        let facts = Facts::ask(&mut Netlink::connect()?)?;
        let tun = facts.links.iter().find(|(_, link)| link.name == "tun0");
        let (index, _) = tun.context("the kernel tells of tun0")?;
        let attached = install.attached()?;
        let program = |pin: String| {
            let found = attached.iter().find(|(name, ..)| *name == pin);
            found.map(|(_, _, program)| *program)
        };
        for (direction, name) in [("in", "tc_uplink_in"), ("out", "tc_uplink_out")] {
            let bare = program(format!("tcx-{direction}-{index}-tun0"));
            let ethernet = program(format!("tcx-{direction}-2-eth0"));
            assert!(bare.is_some() && ethernet.is_some(), "{attached:?}");
            assert_ne!(bare, ethernet, "{direction}");
            let pinned = install.pinned("programs")?;
            assert!(pinned.contains(&format!("{name}-bare")), "{pinned:?}");
        }
        let traces = install.traces()?;
        uninstall(install.pins())?;
        traces.are_gone()
    })
}
