//! Which sockets are served, and how do programs come to their cgroup and leave it?

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Result;
use lb_tests::install::{Install, SmallNode};
use lb_tests::{leftovers, need};
use lb_userspace::bpf::Attachment;
use lb_userspace::bpf::program::{ProgramInfo, at_cgroup};
use lb_userspace::loader::{LoadError, uninstall};
use lb_userspace::settings::SocketScope;

const PINS: [&str; 9] = [
    "cgroup-connect4",
    "cgroup-connect6",
    "cgroup-getpeer4",
    "cgroup-getpeer6",
    "cgroup-recvmsg4",
    "cgroup-recvmsg6",
    "cgroup-release",
    "cgroup-sendmsg4",
    "cgroup-sendmsg6",
];

/// Names of the cgroup's own programs at IPv4 `connect`.
fn programs(cgroup: &Path) -> Result<Vec<String>> {
    let directory = File::open(cgroup)?;
    let programs = at_cgroup(directory.as_fd(), Attachment::Connect4)?;
    let names = programs.iter().map(|id| Ok(ProgramInfo::by_id(*id)?.name));
    names.collect()
}

fn pins(install: &Install) -> Result<Vec<String>> {
    let mut pins = install.pinned("attached")?;
    pins.retain(|pin| pin.starts_with("cgroup"));
    Ok(pins)
}

#[test]
fn programs_come_to_the_cgroup_that_is_named_and_to_no_other() -> Result<()> {
    need::root();
    let mut install = Install::new("cgroup")?;
    let (first, second) = (leftovers::cgroup("first")?, leftovers::cgroup("second")?);
    let node = SmallNode::new()?;
    install.options.socket = SocketScope::Host;
    install.options.cgroup = Some(first.path().to_owned());
    node.netns().run(|| {
        drop(install.run()?);
        assert_eq!(pins(&install)?, PINS);
        assert_eq!(programs(first.path())?, ["sock_connect4"]);
        let before = install.attached()?;
        drop(install.run()?);
        let links = |attached: Vec<(String, u32, u32)>| -> Vec<_> {
            attached
                .into_iter()
                .map(|(name, link, _)| (name, link))
                .collect()
        };
        assert_eq!(
            links(install.attached()?),
            links(before),
            "switched in place"
        );

        install.options.cgroup = Some(second.path().to_owned());
        drop(install.run()?);
        assert_eq!(pins(&install)?, PINS);
        assert_eq!(programs(first.path())?, [""; 0]);
        assert_eq!(programs(second.path())?, ["sock_connect4"]);

        install.options.socket = SocketScope::Off;
        drop(install.run()?);
        assert_eq!(pins(&install)?, [""; 0]);
        assert_eq!(programs(second.path())?, [""; 0]);

        install.options.socket = SocketScope::All;
        drop(install.run()?);
        let traces = install.traces()?;
        uninstall(install.pins())?;
        traces.are_gone()?;
        assert_eq!(programs(second.path())?, [""; 0]);
        Ok(())
    })
}

#[test]
fn a_cgroup_that_is_none_is_refused_before_anything_is_made() -> Result<()> {
    need::root();
    let mut install = Install::new("no-cgroup")?;
    install.options.socket = SocketScope::Host;
    install.options.cgroup = Some("/sys/fs/cgroup/nowhere".into());
    let error = install.start().unwrap_err();
    assert!(matches!(error, LoadError::Cgroup { .. }), "{error}");
    assert!(error.to_string().contains("--cgroup"), "{error}");
    assert!(!install.pins().exists());
    Ok(())
}
