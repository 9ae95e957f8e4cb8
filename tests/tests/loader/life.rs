//! Start, restart, a start that dies half-way, and the end.

use std::fs;

use anyhow::Result;
use lb_common::Ip4;
use lb_common::layout::{Config, FrontendKey, FrontendRef, LINK_POD, LINK_UPLINK};
use lb_common::limits::LAYOUT_VERSION;
use lb_tests::install::{Install, SmallNode, attach};
use lb_tests::need;
use lb_userspace::bpf::{Link, program};
use lb_userspace::dataplane::Dataplane as _;
use lb_userspace::loader::{Datapath, LoadError, Removed, uninstall};
use lb_userspace::object;
use lb_userspace::tables::{FamilyRow, Op, Row};

const ATTACHED: [&str; 4] = [
    "tcx-in-2-eth0",
    "tcx-in-3-pod0",
    "tcx-out-2-eth0",
    "tcx-out-3-pod0",
];

#[test]
fn programs_come_to_the_links_that_are_there_and_leave_without_a_trace() -> Result<()> {
    need::root();
    let install = Install::new("come")?;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let datapath = install.run()?;
        assert_eq!(install.pinned("attached")?, ATTACHED);
        let links = datapath.tables()?.links()?;
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
        drop(datapath);
        let traces = install.traces()?;
        let removed = uninstall(install.pins())?;
        assert_eq!((removed.attached, removed.qdiscs), (4, 0));
        assert!(!install.pins().exists());
        traces.are_gone()?;
        assert_eq!(uninstall(install.pins())?, Removed::default());
        Ok(())
    })
}

/// A frontend of a map that is not to be lost.
fn kept() -> Op {
    let key = FrontendKey {
        address: Ip4::new(10, 43, 165, 39),
        port: 80,
        protocol: 6,
        reserved: 0,
    };
    let value = FrontendRef {
        info: 1,
        service_port: 1,
    };
    Op::Update(Row::V4(FamilyRow::Frontend(key, value)))
}

#[test]
fn a_restart_keeps_maps_programs_and_links() -> Result<()> {
    need::root();
    let install = Install::new("restart")?;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let datapath = install.run()?;
        datapath.tables()?.apply(&kept())?;
        let before = install.attached()?;
        // As after `kill -9`: nothing is told to anybody.
        drop(datapath);
        let datapath = install.run()?;
        assert_eq!(install.attached()?, before);
        assert_eq!(datapath.tables()?.read()?.v4.frontends.len(), 1);
        Ok(())
    })
}

#[test]
fn another_version_or_setting_changes_the_programs_alone() -> Result<()> {
    need::root();
    let mut install = Install::new("upgrade")?;
    let node = SmallNode::new()?;
    let object = object::embedded().expect("`cargo xtask build-ebpf` was run before");
    // What follows the last section is nobody's.
    let newer: &'static [u8] = [object, &[0]].concat().leak();
    node.netns().run(|| {
        let datapath = install.run()?;
        datapath.tables()?.apply(&kept())?;
        drop(datapath);
        for (what, object, connected_udp) in [
            ("another object", newer, true),
            ("another setting", newer, false),
            ("both as at first", object, true),
        ] {
            let before = install.attached()?;
            install.options.connected_udp = connected_udp;
            drop(Datapath::start(&install.options, object)?);
            let not_yet = install.attached()?;
            assert_eq!(not_yet, before, "{what}: switched too early");
            let mut datapath = Datapath::start(&install.options, object)?;
            assert_eq!(attach(&mut datapath)?, []);
            let after = install.attached()?;
            assert_eq!(after.len(), before.len());
            for ((name, link, program), (_, link_before, program_before)) in
                after.iter().zip(&before)
            {
                assert_eq!(link, link_before, "{what}: {name}");
                assert_ne!(program, program_before, "{what}: {name}");
            }
            assert_eq!(datapath.tables()?.read()?.v4.frontends.len(), 1);
        }
        Ok(())
    })
}

/// A program with a map that nobody fills any more would be worse than none.
#[test]
fn programs_over_a_map_that_lost_its_pin_are_replaced() -> Result<()> {
    need::root();
    let install = Install::new("lost")?;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        drop(install.run()?);
        let before = install.attached()?;
        fs::remove_file(install.pins().join("flows4"))?;
        drop(install.run()?);
        for ((name, _, program), (_, _, program_before)) in install.attached()?.iter().zip(&before)
        {
            assert_ne!(program, program_before, "{name}");
        }
        Ok(())
    })
}

/// What a start may have left when it died, by the name of the case.
type Undo = fn(&Install) -> Result<()>;

const DEATHS: &[(&str, Undo)] = &[
    ("after the directories", |install| {
        uninstall(install.pins())?;
        for directory in ["", "programs", "attached", "qdiscs"] {
            fs::create_dir(install.pins().join(directory))?;
        }
        Ok(())
    }),
    ("between two maps", |install| {
        remove_all(install, "attached")?;
        remove_all(install, "programs")?;
        for map in ["flows4", "config", "links", "services"] {
            fs::remove_file(install.pins().join(map))?;
        }
        Ok(())
    }),
    ("after the maps", |install| {
        remove_all(install, "attached")?;
        remove_all(install, "programs")
    }),
    ("between two links", |install| {
        remove(install, "attached/tcx-out-2-eth0")?;
        remove(install, "attached/tcx-in-3-pod0")
    }),
    ("while a program was pinned", |install| {
        let pins = install.pins().join("programs");
        let program = program::open(&pins.join("tc_pod_in"))?;
        program::pin_over(std::os::fd::AsFd::as_fd(&program), &pins.join("left"))?;
        Ok(fs::rename(pins.join("left"), pins.join("tc_pod_in~"))?)
    }),
    ("before a link took another's place", |install| {
        let pins = install.pins().join("attached");
        Ok(Link::open(&pins.join("tcx-in-2-eth0"))?.pin(&pins.join("tcx-in-2-eth0~"))?)
    }),
    ("after a link took another's place", |install| {
        let pins = install.pins().join("attached");
        Ok(fs::rename(
            pins.join("tcx-in-2-eth0"),
            pins.join("tcx-in-2-eth0~"),
        )?)
    }),
    ("after the qdisc was noted", |install| {
        Ok(fs::create_dir(install.pins().join("qdiscs/2-eth0"))?)
    }),
];

fn remove(install: &Install, pin: &str) -> Result<()> {
    Ok(fs::remove_file(install.pins().join(pin))?)
}

fn remove_all(install: &Install, directory: &str) -> Result<()> {
    for name in install.pinned(directory)? {
        remove(install, &format!("{directory}/{name}"))?;
    }
    Ok(())
}

#[test]
fn a_start_that_died_is_repaired_by_the_next_and_leaves_without_a_trace() -> Result<()> {
    need::root();
    let node = SmallNode::new()?;
    for (when, die) in DEATHS {
        let install = Install::new("death")?;
        node.netns().run(|| {
            drop(install.run()?);
            die(&install)?;
            drop(install.run()?);
            assert_eq!(install.pinned("attached")?, ATTACHED, "{when}");
            let traces = install.traces()?;
            die(&install)?;
            uninstall(install.pins())?;
            assert!(!install.pins().exists(), "{when}");
            traces.are_gone()
        })?;
    }
    Ok(())
}

#[test]
fn maps_of_another_layout_or_size_are_refused_with_the_way_out() -> Result<()> {
    need::root();
    let mut install = Install::new("refuse")?;
    let node = SmallNode::new()?;
    node.netns().run(|| {
        let datapath: Datapath = install.start()?;
        let mut tables = datapath.tables()?;
        let config = Config {
            layout_version: LAYOUT_VERSION + 1,
            ..Config::default()
        };
        tables.apply(&Op::Update(Row::Config(Box::new(config))))?;
        drop((datapath, tables));
        let error = install.start().unwrap_err();
        assert!(
            matches!(error, LoadError::LayoutDiffers { pinned, .. } if pinned == LAYOUT_VERSION + 1)
        );
        assert!(error.to_string().contains("lb uninstall"), "{error}");

        uninstall(install.pins())?;
        drop(install.start()?);
        install.options.sizes = [("flows4".to_owned(), 1024)].into();
        let error = install.start().unwrap_err();
        assert!(matches!(
            error,
            LoadError::MapDiffers {
                what: "size",
                wanted: 1024,
                ..
            }
        ));
        assert!(error.to_string().contains("flows4"), "{error}");
        assert!(error.to_string().contains("lb uninstall"), "{error}");

        uninstall(install.pins())?;
        drop(install.start()?);
        // Another map under a name of ours: what a pin holds cannot be told from its name.
        fs::remove_file(install.pins().join("slots"))?;
        fs::rename(install.pins().join("nodes4"), install.pins().join("slots"))?;
        let error = install.start().unwrap_err();
        assert!(
            matches!(error, LoadError::MapDiffers { what: "type", .. }),
            "{error}"
        );
        Ok(())
    })
}

#[test]
fn a_place_that_is_not_on_bpffs_is_refused() -> Result<()> {
    need::root();
    let mut install = Install::new("place")?;
    install.options.pin_dir = std::env::temp_dir().join("lb-test-no-bpffs");
    let error = install.start().unwrap_err();
    assert!(matches!(error, LoadError::NoBpffs { .. }), "{error}");
    assert!(!install.pins().exists());
    Ok(())
}
