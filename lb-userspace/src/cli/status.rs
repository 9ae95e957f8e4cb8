//! `lb status`: how is this node's load balancer?

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use lb_common::{Ip4, Ip6};
use nix::net::if_::if_indextoname;

use super::error::CliError;
use super::print::aligned;
use super::show::write;
use super::source::Source;
use super::view::{self, Index, Sifting};
use crate::dataplane::Dataplane;
use crate::dataplane::kernel::{FamilyMaps, KernelFamily};
use crate::settings::Settings;

/// Show on one screen how this node's load balancer is
///
/// The exit code is 0 if `lb run` is running, and 1 if it is not: the maps and the programs in the
/// kernel go on without it, but follow no change.
#[derive(Args, Debug)]
pub(super) struct Status {}

impl Status {
    /// Answers.
    pub(super) fn run(settings: &Settings) -> Result<ExitCode, CliError> {
        let source = Source::open(settings)?;
        let kernel = source.kernel();
        let tables = source.tables()?;
        let index = Index::new(&tables, source.state());
        let mut flows = view::flows::<Ip4>(&index, &source.flows()?, None).len();
        flows += view::flows::<Ip6>(&index, &source.flows()?, None).len();
        let links = kernel.links()?.into_iter();
        let facts = view::Facts {
            daemon: source.daemon(),
            state_age: source.state().map(|state| state.age(SystemTime::now())),
            pin_dir: settings.pin_dir.display().to_string(),
            index: &index,
            tables: &tables,
            capacities: kernel.capacities(),
            sieves: [("IPv4", sifting(&kernel.v4)), ("IPv6", sifting(&kernel.v6))],
            links: links.map(|(i, link)| (link_name(i), link)).collect(),
            sockets: source.serves_sockets(),
            flows,
            counters: kernel.drops()?,
        };
        let rows: Vec<_> = view::status(&facts)
            .into_iter()
            .map(|(subject, text)| vec![subject.to_owned(), text])
            .collect();
        write(&aligned(&rows, &mut Vec::new()))?;
        Ok(if facts.daemon.is_some() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn sifting<A: KernelFamily>(maps: &FamilyMaps<A>) -> Sifting {
    let sieve = maps.sieve();
    Sifting {
        is_in_force: sieve.is_in_force(),
        marks: sieve.marked(),
    }
}

/// The link's name; its number if it is gone.
fn link_name(ifindex: u32) -> String {
    if_indextoname(ifindex).map_or_else(
        |_| format!("#{ifindex}"),
        |name| name.to_string_lossy().into_owned(),
    )
}
