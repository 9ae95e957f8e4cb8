//! `cargo xtask vm`: the tests that look into the kernel, on the kernels that people run, each in a virtual machine.
//!
//! Debian's cloud kernels are fetched and kept outside the checkout ([`kernels`]). A machine boots from a kernel and an
//! archive of files in memory, with the test binaries of this checkout ([`image`]), runs what [`selection`] lists, and
//! says on a second serial port what came of it ([`guest`]).

mod apt;
mod binaries;
mod guest;
mod image;
mod kernels;
mod selection;

use std::{
    path::Path,
    process::ExitCode,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use crate::{
    build, machine,
    paths::Profile,
    report::{Outcome, Report},
    setup,
};
use image::UserSpace;
use kernels::{KERNELS, Kernel, Wanted};
use selection::Extent;

/// The kernel that `cargo xtask test` tries devices on which the host's may not have: of the kernels that
/// people run, the newest.
const DEVICES_ON: &str = "6.12";

/// Machines that run at a time: each keeps a CPU busy, and gains nothing from a second one of two.
const AT_A_TIME: usize = 2;

/// Run the tests that look into the kernel on Debian's kernels, each in a virtual machine
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// The kernels to take, as 5.10, 6.1, 6.12 or newest; default: all
    kernels: Vec<String>,
    /// Look for newer versions, even where those that are here are only days old
    #[arg(long)]
    update: bool,
    /// Only tests with this in their name; default: those whose outcome may depend on the kernel
    #[arg(long = "test", value_name = "PART")]
    parts: Vec<String>,
    /// Only the tests that `cargo xtask test` has time for
    #[arg(long, conflicts_with = "parts")]
    brief: bool,
}

impl Arguments {
    /// What `cargo xtask test` runs: every kernel, but not every test.
    pub(crate) fn brief() -> Self {
        Self {
            brief: true,
            ..Self::default()
        }
    }

    /// The machines, those that take longest first.
    fn machines(&self) -> Result<Vec<Machine<'_>>> {
        let chosen = chosen(&self.kernels)?;
        let with = |extent| {
            let chosen = chosen.iter();
            chosen.map(move |&wanted| Machine { wanted, extent })
        };
        Ok(if self.brief {
            with(Extent::Devices)
                .filter(|machine| machine.wanted.name == DEVICES_ON)
                .chain(with(Extent::Brief))
                .collect()
        } else if self.parts.is_empty() {
            with(Extent::Whole).collect()
        } else {
            with(Extent::Named(&self.parts)).collect()
        })
    }
}

/// What is to run, and on which kernel.
#[derive(Clone, Copy)]
struct Machine<'a> {
    wanted: &'static Wanted,
    extent: Extent<'a>,
}

impl Machine<'_> {
    /// Tells its files from those of others.
    fn name(&self) -> String {
        match self.extent {
            Extent::Devices => format!("{}-devices", self.wanted.name),
            _ => self.wanted.name.to_owned(),
        }
    }
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(root)?;
    build::everything(root, Profile::Dev)?;
    let mut report = Report::default();
    add_stages(&mut report, root, arguments);
    Ok(report.close(machine::is_ci()))
}

/// What became of a kernel.
struct Done {
    name: String,
    outcome: Result<Outcome>,
    elapsed: Duration,
}

/// Adds a stage to the report for each kernel. A kernel that cannot be had fails its own and no other.
pub(crate) fn add_stages(report: &mut Report, root: &Path, arguments: &Arguments) {
    match run_all(root, arguments) {
        Ok(all) => {
            for one in all {
                let outcome = one.outcome.unwrap_or_else(|_| Outcome::of_check(false));
                report.add(one.name, outcome, one.elapsed);
            }
        }
        Err(error) => report.check("kernels", || Err(error)),
    }
}

/// Runs the machines, some at a time, and returns what became of them in order.
fn run_all(root: &Path, arguments: &Arguments) -> Result<Vec<Done>> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the machines are x86_64, as the test binaries must be: run this on such a host"
    );
    println!("\n== kernels");
    let machines = arguments.machines()?;
    let user_space = UserSpace::pack(root)?;
    let queue = Mutex::new(machines.iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some((i, machine)) = lock(&queue).next() else {
                        break;
                    };
                    let one = boot(root, machine, arguments.update, &user_space);
                    announce(&one);
                    lock(&done).push((i, one));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(i, _)| *i);
    Ok(done.into_iter().map(|(_, one)| one).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Wanted>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        match KERNELS.iter().find(|wanted| wanted.name == name) {
            Some(wanted) => chosen.push(wanted),
            None => bail!(
                "there is no kernel `{name}`: take {}",
                KERNELS.map(|wanted| wanted.name).join(", ")
            ),
        }
    }
    Ok(chosen)
}

/// Fetches the kernel, and runs the tests on it.
fn boot(root: &Path, machine: &Machine<'_>, update: bool, user_space: &UserSpace) -> Done {
    let kernel = kernels::get(machine.wanted, update);
    let start = Instant::now();
    let version = kernel.as_ref().map(|kernel| kernel.version.clone());
    let version = version.unwrap_or_else(|_| machine.wanted.name.to_owned());
    let what = if machine.extent == Extent::Devices {
        ", devices"
    } else {
        ""
    };
    let archive = |kernel: &Kernel| user_space.archive(&machine.name(), kernel, machine.extent);
    let outcome = kernel.and_then(|kernel| {
        let archive = archive(&kernel)?;
        guest::run(root, &machine.name(), &kernel, &archive)
    });
    Done {
        name: format!("kernel {version}{what}"),
        outcome,
        elapsed: start.elapsed(),
    }
}

fn announce(done: &Done) {
    match &done.outcome {
        Ok(outcome) if outcome.failed == 0 => println!(
            "{}: {} passed in {:.0} s",
            done.name,
            outcome.passed,
            done.elapsed.as_secs_f32()
        ),
        Ok(outcome) => println!("{}: {} FAILED", done.name, outcome.failed),
        Err(error) => eprintln!("{}: {error:#}", done.name),
    }
}
