//! `cargo xtask bench`: measures, prints tables, and writes what it measured.

use std::path::PathBuf;

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
        /// Write the rows to this file, too
        #[arg(long)]
        json: Option<PathBuf>,
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
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Datapath { rounds, json } => bench::datapath(&bench::Options { rounds, json }),
        What::Plan { rounds, json } => bench::plan::plan(&bench::plan::Options { rounds, json }),
    }
}
