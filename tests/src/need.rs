//! What must the machine have for a test? Root always; a kernel feature now and then.

use std::process::Command;

use crate::netns::Netns;

/// Fails where the test does not run as root: passing silently would hide that nothing ran.
///
/// # Panics
/// Without root.
pub fn root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes network namespaces and loads kernel programs: run it as root, by `cargo xtask test`"
    );
}

/// Whether the test may go on: the machine has the feature, or the test must say that it skips.
/// In CI, where everything has to run, a missing feature is a failure.
///
/// # Panics
/// If the feature is missing and `CI=true`.
#[must_use]
pub fn feature(name: &str, missing: Option<&str>) -> bool {
    let Some(why) = missing else { return true };
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!in_ci, "{name}: {why}; in CI nothing may be skipped");
    println!("SKIP {name}: {why}");
    false
}

/// Whether the kernel has the tables of the old iptables, as far as this network namespace can tell.
///
/// # Panics
/// If not and `CI=true`.
#[must_use]
pub fn old_iptables(netns: &Netns) -> bool {
    let mut list = Command::new("iptables-legacy");
    let answer = netns.output(list.args(["-t", "nat", "-S"]));
    let missing = answer.err().map(|error| format!("{error:#}"));
    feature("the old iptables", missing.as_deref())
}

/// Whether the test may go on: what the kernel here lacks, those of `cargo xtask vm` have, and there
/// the test must run.
///
/// # Panics
/// If the feature is missing in such a machine.
#[must_use]
pub fn feature_of_machines(name: &str, missing: Option<&str>) -> bool {
    let Some(why) = missing else { return true };
    let in_machine = std::env::var_os("LB_MACHINE").is_some();
    assert!(!in_machine, "{name}: {why}, but a machine's kernel has it");
    println!("SKIP {name}: {why}; `cargo xtask vm` runs it");
    false
}
