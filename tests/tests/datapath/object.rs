//! The object is one that others can load too.

use std::process::Command;

use anyhow::{Result, ensure};
use lb_tests::{command, datapath, leftovers, need};

/// bpftool knows nothing of us: its libbpf takes the object as it takes any.
#[test]
fn bpftool_loads_every_program() -> Result<()> {
    need::root();
    let files = leftovers::temporary_dir("object")?;
    let object = files.path().join("lb.o");
    std::fs::write(&object, datapath::object()?)?;
    let pins = leftovers::pin_dir("bpftool")?;
    command::run(
        Command::new("bpftool")
            .args(["prog", "loadall"])
            .arg(&object)
            .arg(pins.path()),
    )?;
    let mut programs = std::fs::read_dir(pins.path())?.map(|entry| Ok(entry?.file_name()));
    let programs: Vec<_> = programs.by_ref().collect::<Result<_>>()?;
    for expected in [
        "tc_pod_in",
        "tc_uplink_out",
        "xdp_uplink",
        "sock_connect4",
        "sock_getpeer6",
        "sock_release",
    ] {
        ensure!(
            programs.iter().any(|program| program == expected),
            "{expected} is not among {programs:?}"
        );
    }
    Ok(())
}
