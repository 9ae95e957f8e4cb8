//! `lb explain`: what becomes of a connection, and why?

mod capture;
mod ground;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::ground::Ground;
use super::USAGE;
use super::error::CliError;
use super::print;
use super::show::write;
use crate::explain::Question;
use crate::settings::Settings;

/// Say where a connection goes, and why
///
/// The question runs the very code that decides in the kernel, over the maps as they are now: also
/// with `lb run` stopped. With --manifests it runs over what these manifests would make of this
/// node instead, without root and without a daemon. Where manifests are configured for `lb run` all
/// the same (by environment or file), --live asks the maps. The answer says which of the two it is
/// drawn from.
///
/// Without a port of the source the answer names every backend that a new connection may get; with
/// it, the one that this connection has or draws. A ping is asked for as ADDRESS/icmp.
///
/// With --pcap the question is asked for each flow of a capture.
#[derive(Args, Debug)]
pub(super) struct Explain {
    /// Who connects, and whom: as `10.42.0.9 10.43.165.39:80/tcp` or `[fd00::9]:40000 [fd00::80]:53/udp`
    #[arg(
        value_names = ["SOURCE[:PORT]", "DESTINATION:PORT[/PROTOCOL]"],
        num_args = 2,
        required_unless_present_any = ["source", "pcap"],
        conflicts_with_all = ["source", "destination", "pcap"]
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

    /// Each flow of a capture that `tcpdump -w` or Wireshark wrote (pcap, pcapng); - is standard
    /// input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "destination", "protocol"])]
    pcap: Option<PathBuf>,

    /// Ask the maps in the kernel, also where manifests are configured
    #[arg(long)]
    live: bool,

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
    /// Maps, manifests or the capture cannot be read, or nobody takes the output.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        if let Some(file) = &self.pcap {
            let flows = capture::read(file)?;
            let ground = Ground::new(settings, self.live)?;
            let answers = capture::explain(file, flows, &ground)?;
            self.print(&answers, || answers.document())?;
            ground.remark();
            return Ok(ExitCode::SUCCESS);
        }
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
        let ground = Ground::new(settings, self.live)?;
        let answer = ground.explain(&question)?;
        self.print(&answer, || answer.document())?;
        ground.remark();
        Ok(ExitCode::SUCCESS)
    }

    fn print<D: Serialize>(
        &self,
        text: &impl ToString,
        document: impl FnOnce() -> D,
    ) -> Result<(), CliError> {
        Ok(write(&match self.output {
            Format::Text => text.to_string(),
            Format::Json => print::json(&document())?,
            Format::Yaml => print::yaml(&document())?,
        })?)
    }
}
