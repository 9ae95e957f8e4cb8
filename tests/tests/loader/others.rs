//! What if others have programs at the same hooks?

use anyhow::Result;
use lb_common::drops::Hook;
use lb_common::layout::{LINK_UPLINK, LINK_XDP};
use lb_tests::foreign::{Foreign, Kind, TC_NEXT, XDP_PASS};
use lb_tests::install::{Install, SmallNode, attach};
use lb_tests::need;
use lb_userspace::bpf::program::{ProgramInfo, at_tcx};
use lb_userspace::bpf::{Attachment, Link, Place};
use lb_userspace::loader::probe::{Occupant, Place as HookPlace, probe};
use lb_userspace::loader::uninstall;
use lb_userspace::netlink::Netlink;
use lb_userspace::netlink::filters::{Direction, Filter, Slot};
use lb_userspace::settings::XdpMode;

/// The uplink of [`SmallNode`].
const UPLINK: u32 = 2;

/// Names of the programs at a tcx hook of the uplink, in the order in which they run.
fn order(attachment: Attachment) -> Result<Vec<String>> {
    let programs = at_tcx(UPLINK, attachment)?;
    let names = programs
        .iter()
        .map(|p| Ok(ProgramInfo::by_id(p.program)?.name));
    names.collect()
}

fn at_tc(program: &Foreign, attachment: Attachment, place: Place) -> Result<Link> {
    Ok(Link::at_network_link(
        program.fd(),
        UPLINK,
        attachment,
        place,
    )?)
}

#[test]
fn ours_are_outermost_at_tcx_and_others_stay() -> Result<()> {
    need::root();
    let install = Install::new("tcx")?;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let foreign = Foreign::new(Kind::Tc, TC_NEXT)?;
        let _early = at_tc(&foreign, Attachment::TcxIngress, Place::First)?;
        let _late = at_tc(&foreign, Attachment::TcxEgress, Place::Last)?;
        let mut datapath = install.run()?;
        assert_eq!(order(Attachment::TcxIngress)?, ["tc_uplink_in", "foreign"]);
        assert_eq!(order(Attachment::TcxEgress)?, ["foreign", "tc_uplink_out"]);

        // Others come later and push in.
        let other = Foreign::new(Kind::Tc, TC_NEXT)?;
        let _earlier = at_tc(&other, Attachment::TcxIngress, Place::First)?;
        let _later = at_tc(&other, Attachment::TcxEgress, Place::Last)?;
        datapath.filters_changed(&[UPLINK].into());
        assert_eq!(attach(&mut datapath)?, []);
        assert_eq!(
            order(Attachment::TcxIngress)?,
            ["tc_uplink_in", "foreign", "foreign"]
        );
        assert_eq!(
            order(Attachment::TcxEgress)?,
            ["foreign", "foreign", "tc_uplink_out"]
        );

        drop(datapath);
        uninstall(install.pins())?;
        assert_eq!(order(Attachment::TcxIngress)?, ["foreign", "foreign"]);
        assert_eq!(order(Attachment::TcxEgress)?, ["foreign", "foreign"]);
        Ok(())
    })
}

/// Priorities and programs of the filters on the uplink.
fn filters(direction: Direction) -> Result<Vec<(u16, String)>> {
    let mut filters = Netlink::connect()?.filters(UPLINK, direction)?;
    filters.sort_by_key(|filter| filter.slot);
    let named = |filter: Filter| {
        let program = ProgramInfo::by_id(filter.program.unwrap_or_default())?;
        Ok((filter.slot.priority, program.name))
    };
    filters.into_iter().map(named).collect()
}

fn add_filter(program: &Foreign, direction: Direction, priority: u16) -> Result<()> {
    let slot = Slot {
        ifindex: UPLINK,
        direction,
        priority,
        handle: 1,
    };
    Ok(Netlink::connect()?.set_filter(slot, program.fd(), "foreign")?)
}

#[test]
fn ours_come_after_filters_of_others_at_egress() -> Result<()> {
    need::root();
    let install = Install::new("filter")?;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let foreign = Foreign::new(Kind::Tc, TC_NEXT)?;
        let mut datapath = install.run()?;
        assert_eq!(order(Attachment::TcxEgress)?, ["tc_uplink_out"]);

        Netlink::connect()?.add_clsact(UPLINK)?;
        add_filter(&foreign, Direction::In, 7)?;
        add_filter(&foreign, Direction::Out, 7)?;
        datapath.filters_changed(&[UPLINK].into());
        assert_eq!(attach(&mut datapath)?, []);
        let here = "foreign".to_owned();
        assert_eq!(order(Attachment::TcxIngress)?, ["tc_uplink_in"]);
        assert_eq!(order(Attachment::TcxEgress)?, [""; 0]);
        assert_eq!(filters(Direction::In)?, [(7, here.clone())]);
        assert_eq!(
            filters(Direction::Out)?,
            [(7, here.clone()), (65_535, "tc_uplink_out".to_owned())]
        );

        let names = |occupants: Vec<Occupant>| -> Vec<_> {
            let seen = occupants.into_iter();
            seen.map(|occupant| (occupant.link, occupant.place, occupant.name))
                .collect()
        };
        assert_eq!(
            names(probe(install.pins())?.occupants),
            [
                (
                    "eth0".to_owned(),
                    HookPlace::Filter(Direction::In, 7),
                    here.clone()
                ),
                (
                    "eth0".to_owned(),
                    HookPlace::Filter(Direction::Out, 7),
                    here.clone()
                ),
            ]
        );

        // A restart finds its filter again.
        drop(datapath);
        drop(install.run()?);
        assert_eq!(filters(Direction::Out)?.len(), 2);

        // The qdisc is not ours, nor is what others have on it.
        uninstall(install.pins())?;
        assert_eq!(filters(Direction::In)?, [(7, here.clone())]);
        assert_eq!(filters(Direction::Out)?, [(7, here)]);
        Ok(())
    })
}

#[test]
fn without_tcx_a_qdisc_of_ours_comes_and_goes_unless_others_use_it() -> Result<()> {
    need::root();
    let mut install = Install::new("clsact")?;
    install.options.features.tcx = false;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let ours = |name: &str| {
            vec![(
                if name.ends_with("in") { 1 } else { 65_535 },
                name.to_owned(),
            )]
        };
        drop(install.run()?);
        assert_eq!(filters(Direction::In)?, ours("tc_uplink_in"));
        assert_eq!(filters(Direction::Out)?, ours("tc_uplink_out"));
        assert_eq!(install.pinned("qdiscs")?, ["2-eth0", "3-pod0"]);
        let before = filter_programs()?;
        drop(install.run()?);
        assert_eq!(filter_programs()?, before, "as they were");
        install.options.connected_udp = false;
        drop(install.run()?);
        assert_ne!(filter_programs()?, before, "switched to other programs");
        assert_eq!(filters(Direction::In)?, ours("tc_uplink_in"));

        let removed = uninstall(install.pins())?;
        assert_eq!((removed.attached, removed.qdiscs), (4, 2));
        assert!(!Netlink::connect()?.with_clsact()?.contains(&UPLINK));

        drop(install.run()?);
        let foreign = Foreign::new(Kind::Tc, TC_NEXT)?;
        add_filter(&foreign, Direction::In, 7)?;
        let removed = uninstall(install.pins())?;
        assert_eq!((removed.attached, removed.qdiscs), (4, 1));
        assert_eq!(filters(Direction::In)?, [(7, "foreign".to_owned())]);
        assert!(!install.pins().exists());
        Ok(())
    })
}

/// Ids of the programs in the uplink's filters.
fn filter_programs() -> Result<Vec<Option<u32>>> {
    let filters = Netlink::connect()?.filters(UPLINK, Direction::In)?;
    Ok(filters.iter().map(|filter| filter.program).collect())
}

#[test]
fn xdp_comes_beside_tc_unless_another_has_it() -> Result<()> {
    need::root();
    let mut install = Install::new("xdp")?;
    install.options.hooks = vec![Hook::Tc, Hook::Xdp];
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let mut datapath = install.start()?;
        let foreign = Foreign::new(Kind::Xdp, XDP_PASS)?;
        let theirs = Link::at_network_link(foreign.fd(), UPLINK, Attachment::Xdp, Place::Driver)?;
        let problems = attach(&mut datapath)?;
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].object.name.name, "eth0");
        assert!(problems[0].why.contains("XDP hook"), "{}", problems[0]);
        assert!(
            !install
                .pinned("attached")?
                .iter()
                .any(|pin| pin.starts_with("xdp"))
        );
        assert_eq!(order(Attachment::TcxIngress)?, ["tc_uplink_in"]);
        assert_eq!(flags(&datapath)?, LINK_UPLINK);

        let occupants = probe(install.pins())?.occupants;
        assert_eq!(occupants.len(), 1, "{occupants:?}");
        assert_eq!(occupants[0].place, HookPlace::Xdp);
        assert_eq!(occupants[0].name, "foreign");

        // It goes, and ours takes its place.
        drop(theirs);
        assert_eq!(attach(&mut datapath)?, []);
        assert!(
            install
                .pinned("attached")?
                .contains(&"xdp-in-2-eth0".to_owned())
        );
        assert_eq!(flags(&datapath)?, LINK_UPLINK | LINK_XDP);

        // A restart in another mode, and one without XDP.
        drop(datapath);
        install.options.xdp = XdpMode::Generic;
        let datapath = install.run()?;
        assert!(
            install
                .pinned("attached")?
                .contains(&"xdpgeneric-in-2-eth0".to_owned())
        );
        assert_eq!(flags(&datapath)?, LINK_UPLINK);
        drop(datapath);
        install.options.hooks = vec![Hook::Tc];
        drop(install.run()?);
        assert!(
            !install
                .pinned("attached")?
                .iter()
                .any(|pin| pin.starts_with("xdp"))
        );
        Ok(())
    })
}

/// Flags of the uplink in map `links`.
fn flags(datapath: &lb_userspace::loader::Datapath) -> Result<u32> {
    let links = datapath.tables()?.links()?;
    Ok(links
        .iter()
        .find(|(index, _)| *index == UPLINK)
        .map_or(0, |(_, link)| link.flags))
}

#[test]
fn two_nodes_on_one_kernel_do_not_see_each_other() -> Result<()> {
    need::root();
    let (one, other) = (Install::new("one")?, Install::new("other")?);
    let (node, other_node) = (SmallNode::new()?, SmallNode::new()?);
    let start = |install: &Install| install.run().map(drop);
    node.netns().run(|| start(&one))?;
    let before = one.attached()?;
    other_node.netns().run(|| start(&other))?;
    let theirs = other.attached()?;
    node.netns().run(|| {
        let traces = one.traces()?;
        uninstall(one.pins())?;
        traces.are_gone()
    })?;
    assert_eq!(other.attached()?, theirs);
    assert!(before.iter().all(|link| !theirs.contains(link)));
    Ok(())
}
