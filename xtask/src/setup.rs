//! `cargo xtask setup`: what this machine lacks to build and test, and how it gets there.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    linker,
    machine::{self, Bpf, Machine},
    process,
};

/// Debian's compiler with `core` for the BPF target, and its clippy.
const COMPILER_PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "rust-web-clippy",
];

/// The LLVM of that compiler in Debian 12, for the plan before it is installed; afterwards it is asked.
const DEBIAN_LLVM_MAJOR: u32 = 22;

/// The release of Debian whose Go is too old; all later ones' will do.
const OLD_GO: &str = "bookworm";

/// Install what building and testing need
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install without asking
    #[arg(long)]
    yes: bool,
}

/// One thing to do; all that it takes to do it is in its commands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Install Debian packages.
    Packages(Vec<String>),
    /// Install Go from the backports of that release, whose own is too old to fetch the one that is asked for.
    GoOfBackports { codename: String },
    /// Build bpf-linker with that LLVM into the cache.
    Linker { llvm_major: u32 },
    /// Fetch the standard library of another architecture; rustup's defaults stay.
    Target(String),
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let consent = if arguments.yes || machine::is_ci() {
        Consent::Given
    } else {
        Consent::Needed
    };
    if !complete(root, consent)? {
        println!("Everything is here: nothing to install.");
    }
    Ok(())
}

/// Makes sure that a command has all it needs. It was called to do its work, so where nobody can be asked it installs.
pub(crate) fn ensure(root: &Path) -> Result<()> {
    let consent = if machine::is_ci() || !io::stdin().is_terminal() {
        Consent::Given
    } else {
        Consent::Needed
    };
    complete(root, consent).map(drop)
}

/// Whether somebody has to say yes before anything is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consent {
    Given,
    Needed,
}

/// Installs what is missing and says whether anything was.
fn complete(root: &Path, consent: Consent) -> Result<bool> {
    let machine = Machine::look(root)?;
    let steps = plan(&machine);
    if steps.is_empty() {
        return Ok(false);
    }
    if !machine.is_debian {
        print_for_other_systems(&machine);
        bail!("only on Debian can this be installed for you: see above what is missing");
    }
    print_steps(root, &steps)?;
    ensure!(
        machine.is_root,
        "only root can install packages: run the commands above, or this one as root"
    );
    ensure!(
        consent == Consent::Given || confirmed()?,
        "nothing was installed"
    );
    install(root)?;
    Ok(true)
}

/// What a Debian machine in this state needs, in order.
fn plan(machine: &Machine) -> Vec<Step> {
    let mut packages: Vec<String> = machine
        .missing_tools
        .iter()
        .flat_map(|tool| tool.package.split(' ').map(str::to_owned))
        .collect();
    let mut go = None;
    if machine.needs_go && machine.codename == OLD_GO {
        go = Some(Step::GoOfBackports {
            codename: machine.codename.clone(),
        });
    } else if machine.needs_go {
        packages.push("golang-go".to_owned());
    }
    let mut linker = None;
    match machine.bpf {
        Bpf::Complete => {}
        Bpf::NoLinker {
            llvm_major,
            has_llvm_files,
        } => {
            if !has_llvm_files {
                packages.push(linker::llvm_package(llvm_major));
            }
            linker = Some(Step::Linker { llvm_major });
        }
        Bpf::NoCompiler => {
            packages.extend(COMPILER_PACKAGES.iter().map(ToString::to_string));
            packages.push(linker::llvm_package(DEBIAN_LLVM_MAJOR));
            linker = Some(Step::Linker {
                llvm_major: DEBIAN_LLVM_MAJOR,
            });
        }
    }
    let packages = (!packages.is_empty()).then_some(Step::Packages(packages));
    packages
        .into_iter()
        .chain(go)
        .chain(linker)
        .chain(machine.missing_targets.iter().cloned().map(Step::Target))
        .collect()
}

/// Does one step after the other, looking again after each: what a compiler needs is known once it is there.
fn install(root: &Path) -> Result<()> {
    let mut done = Vec::new();
    while let Some(step) = plan(&Machine::look(root)?).into_iter().next() {
        ensure!(
            !done.contains(&step),
            "still missing after its installation: {step}"
        );
        println!("\n== {step}");
        for mut command in step.commands(root)? {
            process::run(&mut command)?;
        }
        done.push(step);
    }
    println!("Everything is here.");
    Ok(())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packages(packages) => write!(f, "packages {}", packages.join(" ")),
            Self::GoOfBackports { codename } => write!(f, "Go of {codename}'s backports"),
            Self::Linker { llvm_major } => {
                write!(f, "bpf-linker {} with LLVM {llvm_major}", linker::VERSION)
            }
            Self::Target(target) => write!(f, "Rust's standard library for {target}"),
        }
    }
}

impl Step {
    fn commands(&self, root: &Path) -> Result<Vec<Command>> {
        let in_root = |program: &str, arguments: &[&str]| {
            let mut command = process::host(program, root);
            command.args(arguments);
            command
        };
        let update = || in_root("apt-get", &["update", "--quiet"]);
        // Without recommendations, and never by removing what the user has.
        let install = |packages: &[String]| {
            let options = ["install", "--yes", "--no-install-recommends", "--no-remove"];
            let mut install = in_root("apt-get", &options);
            install
                .args(packages)
                .env("DEBIAN_FRONTEND", "noninteractive");
            install
        };
        Ok(match self {
            Self::Packages(packages) => vec![update(), install(packages)],
            Self::GoOfBackports { codename } => {
                let packages = [format!("golang-go/{codename}-backports")];
                let mut install = install(&packages);
                // What it needs is of the same release.
                install.arg(format!("--target-release={codename}-backports"));
                vec![
                    in_root("sh", &["-c", &add_backports(codename)]),
                    update(),
                    install,
                ]
            }
            Self::Linker { llvm_major } => vec![build_linker(root, *llvm_major)?],
            Self::Target(target) => vec![in_root("rustup", &["target", "add", target])],
        })
    }
}

/// A shell's command that names the backports to apt, at the mirror that it takes packages from.
fn add_backports(codename: &str) -> String {
    format!(
        "mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1) && \
         echo \"deb $mirror {codename}-backports main\" >/etc/apt/sources.list.d/{codename}-backports.list"
    )
}

fn build_linker(root: &Path, llvm_major: u32) -> Result<Command> {
    let mut command = process::isolated("cargo", root);
    command
        .args([
            "install",
            "bpf-linker",
            "--version",
            linker::VERSION,
            "--locked",
        ])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{llvm_major}"),
            "--root",
        ])
        .arg(linker::cached_root(llvm_major)?)
        .env("LLVM_PREFIX", linker::llvm_prefix(llvm_major));
    Ok(command)
}

fn print_steps(root: &Path, steps: &[Step]) -> Result<()> {
    println!("To install:");
    for step in steps {
        println!("  {step}");
    }
    println!("With:");
    for step in steps {
        for command in step.commands(root)? {
            println!("  {}", process::show_with_environment(&command));
        }
    }
    Ok(())
}

fn print_for_other_systems(machine: &Machine) {
    println!("To install, by the means of this system:");
    for tool in &machine.missing_tools {
        println!(
            "  {}: {} (Debian's package {})",
            tool.program, tool.purpose, tool.package
        );
    }
    if machine.bpf != Bpf::Complete {
        println!(
            "  rustup toolchain install nightly --profile minimal --component rust-src,clippy"
        );
        println!(
            "  cargo install bpf-linker --version {} --locked",
            linker::VERSION
        );
    }
    if machine.needs_go {
        println!("  go: builds the real Kubernetes for the tests (1.21 or newer)");
    }
    for target in &machine.missing_targets {
        println!("  rustup target add {target}");
    }
}

/// Asks on the terminal; where there is none, the answer is no.
fn confirmed() -> Result<bool> {
    if !io::stdin().is_terminal() {
        println!("No terminal to ask on: `cargo xtask setup --yes` installs.");
        return Ok(false);
    }
    print!("Install? [y/N] ");
    io::stdout()
        .flush()
        .context("cannot write to the terminal")?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .context("cannot read from the terminal")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::{Bpf, Machine, Step, plan};
    use crate::{machine::TOOLS, static_build};

    fn complete() -> Machine {
        Machine {
            is_root: true,
            is_debian: true,
            missing_tools: Vec::new(),
            bpf: Bpf::Complete,
            needs_go: false,
            codename: "bookworm".to_owned(),
            missing_targets: Vec::new(),
        }
    }

    fn packages(step: &Step) -> &[String] {
        match step {
            Step::Packages(packages) => packages,
            other => panic!("no packages but {other}"),
        }
    }

    #[test]
    fn a_complete_machine_needs_nothing() {
        assert_eq!(plan(&complete()), []);
    }

    #[test]
    fn go_is_of_the_backports_where_the_releases_own_is_too_old() {
        let with_go_of = |codename: &str| {
            plan(&Machine {
                needs_go: true,
                codename: codename.to_owned(),
                ..complete()
            })
        };
        let codename = "bookworm".to_owned();
        assert_eq!(with_go_of("bookworm"), [Step::GoOfBackports { codename }]);
        assert_eq!(
            with_go_of("trixie"),
            [Step::Packages(vec!["golang-go".to_owned()])]
        );
    }

    #[test]
    fn an_empty_machine_gets_packages_then_the_linker_then_the_target() {
        let target = static_build::target("aarch64");
        let steps = plan(&Machine {
            missing_tools: TOOLS.iter().collect(),
            bpf: Bpf::NoCompiler,
            missing_targets: vec![target.clone()],
            ..complete()
        });
        assert_eq!(
            steps[1..],
            [Step::Linker { llvm_major: 22 }, Step::Target(target)]
        );
        for package in [
            "bpftool",
            "rustc-web",
            "libstd-rust-web-dev-bpf",
            "llvm-22-dev",
        ] {
            assert!(
                packages(&steps[0]).iter().any(|name| name == package),
                "{package}"
            );
        }
    }

    #[test]
    fn the_linker_follows_the_llvm_of_the_compiler() {
        let without = |has_llvm_files| {
            plan(&Machine {
                bpf: Bpf::NoLinker {
                    llvm_major: 23,
                    has_llvm_files,
                },
                ..complete()
            })
        };
        assert_eq!(without(true), [Step::Linker { llvm_major: 23 }]);
        assert!(packages(&without(false)[0]).contains(&"llvm-23-dev".to_owned()));
    }
}
