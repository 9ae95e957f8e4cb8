//! `lb explain`: what becomes of a connection, and why?

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use lb_common::layout::AffinityKey;
use lb_common::{Ip4, Ip6};

use super::USAGE;
use super::error::CliError;
use super::show::write;
use super::source::Source;
use super::{manifests, print};
use crate::dataplane::kernel::KernelFamily;
use crate::explain::{Answer, FamilyTraffic, Known, Question, Traffic, explain, flow_key};
use crate::settings::Settings;
use crate::state::State;

/// Say where a connection goes, and why
///
/// The question runs the very code that decides in the kernel, over the maps as they are now: also
/// with `lb run` stopped. With --manifests it runs over what these manifests would make of this
/// node instead, without root and without a daemon.
///
/// Without a port of the source the answer names every backend that a new connection may get; with
/// it, the one that this connection has or draws. A ping is asked for as ADDRESS/icmp.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// Who connects, and whom: as `10.42.0.9 10.43.165.39:80/tcp` or `[fd00::9]:40000 [fd00::80]:53/udp`
    #[arg(
        value_names = ["SOURCE[:PORT]", "DESTINATION:PORT[/PROTOCOL]"],
        num_args = 2,
        required_unless_present_all = ["source", "destination"],
        conflicts_with_all = ["source", "destination"]
    )]
    flow: Vec<String>,

    /// Who connects
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "destination")]
    source: Option<String>,

    /// Whom
    #[arg(long, value_name = "ADDRESS:PORT", requires = "source")]
    destination: Option<String>,

    /// By tcp, udp, sctp or icmp [default: tcp]
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,

    /// How to print: for people, or for programs
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// Formats of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A short story
    Text,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

impl Explain {
    /// Answers.
    ///
    /// # Errors
    /// Maps or manifests cannot be read, or nobody takes the output.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        let [source, destination] = match (&self.source, &self.destination) {
            (Some(source), Some(destination)) => [source, destination],
            _ => [&self.flow[0], &self.flow[1]],
        };
        let question = match Question::parse(source, destination, self.protocol.as_deref()) {
            Ok(question) => question,
            Err(error) => {
                eprintln!("error: {error}");
                return Ok(ExitCode::from(USAGE));
            }
        };
        let answer = if settings.manifests.is_empty() {
            live(&question, settings)?
        } else {
            let planned = manifests::plan(settings, None)?;
            explain(
                &question,
                &Known {
                    tables: &planned.tables,
                    state: &planned.state,
                    traffic: None,
                },
            )?
        };
        write(&match self.output {
            Format::Text => answer.to_string(),
            Format::Json => print::json(&answer.document())?,
            Format::Yaml => print::yaml(&answer.document())?,
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks the maps in the kernel.
fn live(question: &Question, settings: &Settings) -> Result<Answer, CliError> {
    let source = Source::open(settings)?;
    let traffic = Traffic {
        v4: traffic::<Ip4>(question, &source)?,
        v6: traffic::<Ip6>(question, &source)?,
        now: source.clock()?.map_or(0, |clock| clock.now),
    };
    let nothing = State::default();
    let answer = explain(
        question,
        &Known {
            tables: &source.tables()?,
            state: source.state().unwrap_or(&nothing),
            traffic: Some(&traffic),
        },
    )?;
    if let Some(remark) = source.remark() {
        eprintln!("{remark}");
    }
    Ok(answer)
}

/// What the programs wrote about this very flow and this client.
fn traffic<A: KernelFamily>(
    question: &Question,
    source: &Source,
) -> Result<FamilyTraffic<A>, CliError> {
    let mut traffic = FamilyTraffic::default();
    let Some(key) = flow_key::<A>(question) else {
        return Ok(traffic);
    };
    let maps = A::maps(source.kernel());
    if let Some(flow) = maps.flow(&key)? {
        traffic.flows.insert(key, flow);
    }
    let is_clients = |of: &AffinityKey<A>| of.client == key.source;
    let affinities = maps.affinities()?.into_iter();
    traffic
        .affinities
        .extend(affinities.filter(|(of, _)| is_clients(of)));
    Ok(traffic)
}
