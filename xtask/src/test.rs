//! `cargo xtask test`: every test there is, stage by stage, with one table at the end.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Result, ensure};

use crate::{
    build, image, kubernetes, machine,
    paths::Profile,
    process, program,
    report::{Outcome, Report},
    setup,
    suite::{self, Echo},
    vm,
};

/// Run all tests (the integration tests need root and make network namespaces)
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The unit tests only: no root, no kernel programs
    #[arg(long)]
    unit: bool,
    /// Arguments of the test binaries, for example a part of the name of the tests to run
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> ExitCode {
    let mut report = Report::default();
    if !arguments.unit {
        report.check("setup", || setup::ensure(root));
    }
    // Who runs a part of the tests need not wait for what only the others call.
    let is_whole = arguments.arguments.is_empty();
    if !arguments.unit && is_whole && report.is_green() {
        report.check("kubernetes", || kubernetes::ensure(root));
    }
    if !arguments.unit && report.is_green() {
        report.check("build", || build::everything(root, Profile::Dev));
    }
    let is_built = report.is_green();
    report.stage("unit", || unit(root, arguments));
    if !arguments.unit && is_built {
        report.stage("integration", || integration(root, arguments));
        if is_whole {
            report.stage("image", || image::check(root));
        }
    }
    // The machines' processors are this one's; whatever it can say of itself, the tests above said.
    if !arguments.unit && is_whole && is_built && cfg!(target_arch = "x86_64") {
        vm::add_stages(&mut report, root, &vm::Arguments::brief());
    }
    report.close(machine::is_ci())
}

/// The tests inside the crates: they need nothing of the machine.
fn unit(root: &Path, arguments: &Arguments) -> Result<Outcome> {
    let mut command = cargo_test(root);
    command.args(["--workspace", "--exclude", "lb-tests"]);
    libtest(&mut command, arguments);
    suite::run(&mut command, Echo::Lines)
}

/// The tests of `lb-tests`: packets, namespaces, the daemon.
fn integration(root: &Path, arguments: &Arguments) -> Result<Outcome> {
    ensure!(
        machine::is_root(),
        "the integration tests load kernel programs: run as root"
    );
    let mut command = cargo_test(root);
    command.args(["--package", "lb-tests"]);
    libtest(&mut command, arguments);
    program::point_to_products(&mut command, root, Profile::Dev);
    suite::run(&mut command, Echo::Lines)
}

fn cargo_test(root: &Path) -> Command {
    let mut command = process::host("cargo", root);
    command.args(["test", "--locked", "--no-fail-fast"]);
    command
}

fn libtest(command: &mut Command, arguments: &Arguments) {
    // A test that passes says in its output what it left out.
    command
        .args(["--", "--show-output"])
        .args(&arguments.arguments);
}
