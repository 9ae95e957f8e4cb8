//! `cargo xtask bench`: measures, prints tables, and writes what it measured.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lb_tests::bench;

/// Measure what a packet and a change cost
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The kernel programs on single packets, beside floors that do the like work
    Datapath {
        /// How often each program gets its turn
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(3..))]
        rounds: u32,
        /// How many Services the maps hold; each has two entries in the map of frontends
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(2..=50_000))]
        services: u16,
        /// How many known flows take turns, in the case that is named for it
        #[arg(long, value_enum, default_value_t)]
        flows: bench::Flows,
        /// Leave the sieve out of force: no packet is let by before it was looked up
        #[arg(long)]
        no_sieve: bool,
        /// Time this case only, with its floors; more than one by commas
        #[arg(long = "case", value_delimiter = ',')]
        cases: Vec<String>,
        /// Write the rows to this file, too
        #[arg(long)]
        json: Option<PathBuf>,
        /// Write pictures of them into this directory
        #[arg(long)]
        svg: Option<PathBuf>,
    },
    /// The planner on 10,000 Services: everything anew, and a change of one slice
    Plan {
        /// How many changes are timed
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..))]
        rounds: u32,
        /// Write the figures to this file, too
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// From the update of an EndpointSlice in a real API server to the packet, beside kube-proxy
    Latency {
        /// How many Services there are, one run for each
        #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000], value_parser = clap::value_parser!(u32).range(1..=10_000))]
        services: Vec<u32>,
        /// How many of them change under each program, each once
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
        changes: u32,
        /// How many change in a second
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
        rate: u32,
        /// Write the figures to this file, too
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Whole connections through each hook, beside kube-proxy in two modes and beside no load balancer
    Connections {
        /// How many Services there are, one run for each
        #[arg(long, value_delimiter = ',', default_values_t = [10, 10_000], value_parser = clap::value_parser!(u32).range(1..=10_000))]
        services: Vec<u32>,
        /// How often each subject gets its turn
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// Milliseconds for each figure of a turn
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=10_000))]
        milliseconds: u64,
        /// Seconds after which no further round begins
        #[arg(long, default_value_t = 600)]
        at_most: u64,
        /// Write the figures to this file, too
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// How soon `lb` knows a big cluster, how soon it follows a change, and what it needs for that
    ControlPlane {
        /// How many Services there are (10 endpoints each), one run for each
        #[arg(long, value_delimiter = ',', default_values_t = [10, 10_000], value_parser = clap::value_parser!(u32).range(1..=10_000))]
        services: Vec<u32>,
        /// How often everything is read anew
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// How many changes are timed, one after the other
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
        changes: u32,
        /// How many changes come at once
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
        burst: u32,
        /// Seconds after which a run has timed changes enough
        #[arg(long, default_value_t = 60)]
        at_most: u64,
        /// Write the figures to this file, too
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// What a client of `connections` does, in a process of its own
    #[command(hide = true)]
    Client(bench::connections::client::Task),
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Datapath {
            rounds,
            services,
            flows,
            no_sieve,
            cases,
            json,
            svg,
        } => bench::datapath(&bench::Options {
            rounds,
            services,
            flows,
            sieve: !no_sieve,
            cases,
            json,
            svg,
        }),
        What::Latency {
            services,
            changes,
            rate,
            json,
        } => bench::latency::latency(&bench::latency::Options {
            services,
            changes,
            rate,
            json,
        }),
        What::Connections {
            services,
            rounds,
            milliseconds,
            at_most,
            json,
        } => bench::connections::connections(&bench::connections::Options {
            services,
            rounds,
            length: Duration::from_millis(milliseconds),
            at_most: Duration::from_secs(at_most),
            json,
        }),
        What::ControlPlane {
            services,
            rounds,
            changes,
            burst,
            at_most,
            json,
        } => bench::control_plane::control_plane(&bench::control_plane::Options {
            services,
            rounds,
            changes,
            burst,
            at_most: Duration::from_secs(at_most),
            json,
        }),
        What::Client(task) => bench::connections::client::run(&task),
        What::Plan { rounds, json } => bench::plan::plan(&bench::plan::Options { rounds, json }),
    }
}
