//! The project's own commands, `cargo xtask <command>`: this file only dispatches, one file per command does the work.

mod bench;
mod btf;
mod build;
mod build_ebpf;
mod demo;
mod digest;
mod image;
mod kubernetes;
mod linker;
mod lint;
mod machine;
mod mutate;
mod paths;
mod process;
mod program;
mod report;
mod setup;
mod sources;
mod static_build;
mod suite;
mod test;
mod toolchain;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, tests and shows the load balancer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Arguments),
    BuildEbpf(build_ebpf::Arguments),
    Build(build::Arguments),
    Demo(demo::Arguments),
    Kubernetes(kubernetes::Arguments),
    Test(test::Arguments),
    /// Check format, lints, who imports whom, and what must not be in the files
    Lint,
    Bench(bench::Arguments),
    Image(image::Arguments),
    Mutate(mutate::Arguments),
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Not by returning it: std would print its backtrace, which is no news to the user.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let root = &paths::root()?;
    match command {
        Command::Setup(arguments) => setup::run(root, &arguments)?,
        Command::BuildEbpf(arguments) => build_ebpf::run(root, &arguments)?,
        Command::Build(arguments) => build::run(root, &arguments)?,
        Command::Demo(arguments) => demo::run(root, &arguments)?,
        Command::Kubernetes(arguments) => kubernetes::run(root, &arguments)?,
        Command::Test(arguments) => return Ok(test::run(root, &arguments)),
        Command::Lint => return Ok(lint::run(root)),
        Command::Bench(arguments) => bench::run(root, &arguments)?,
        Command::Image(arguments) => image::run(root, &arguments)?,
        Command::Mutate(arguments) => mutate::run(root, &arguments)?,
        Command::Vm(arguments) => return vm::run(root, &arguments),
    }
    Ok(ExitCode::SUCCESS)
}
