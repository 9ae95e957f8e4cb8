//! `lb get`: what is in the maps, and what is known beside them?

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use lb_common::{Ip4, Ip6};

use super::error::CliError;
use super::print::Output;
use super::select::Query;
use super::show::{Answer, show};
use super::source::{Source, remark};
use super::view::{self, Index, Record};
use crate::settings::Settings;
use crate::state::{self, State};

/// Show Services, frontends, backends, flows or problems of this node
///
/// The answer comes from the maps in the kernel, so it is what packets meet at this moment, whether
/// or not `lb run` is running. Problems and the names of Pods come from the state file that `lb run`
/// writes; a remark on standard error says how old they are.
///
/// As with kubectl, only namespace `default` is shown unless -n names another or -A asks for all.
/// What has no namespace, as a problem with a link, is always shown.
#[derive(Args, Debug)]
pub(super) struct Get {
    /// What to show
    #[arg(value_enum, value_name = "WHAT")]
    what: What,

    /// Only those of these names: of a Service its name; of a frontend or backend its address with
    /// or without port, or the Pod; of a flow the address of either end
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Only those of this namespace
    #[arg(
        short,
        long,
        value_name = "NAMESPACE",
        default_value = "default",
        conflicts_with = "all_namespaces"
    )]
    namespace: String,

    /// Those of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,

    /// Only those that belong to this Service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,

    #[command(flatten)]
    output: Output,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Services: where clients find them, and how many backends they have
    #[value(aliases = ["service", "svc"])]
    Services,
    /// What clients dial: address, port and protocol
    #[value(aliases = ["frontend", "fe"])]
    Frontends,
    /// Who answers
    #[value(aliases = ["backend", "be"])]
    Backends,
    /// Connections in the flow table
    #[value(alias = "flow")]
    Flows,
    /// What is not served as it was written, and why
    #[value(alias = "problem")]
    Problems,
}

impl Get {
    /// Answers.
    pub(super) fn run(&self, settings: &Settings) -> Result<ExitCode, CliError> {
        let query = Query {
            namespace: (!self.all_namespaces).then(|| self.namespace.clone()),
            service: self.service.clone(),
            names: self.names.clone(),
            limit: self.limit,
        };
        let output = &self.output;
        match self.what {
            What::Services => show(&query, output, || from_maps(settings, view::services)),
            What::Frontends => show(&query, output, || from_maps(settings, view::frontends)),
            What::Backends => show(&query, output, || from_maps(settings, view::backends)),
            What::Flows => show(&query, output, || flows(settings)),
            What::Problems => show(&query, output, || problems(settings)),
        }
    }
}

fn from_maps<R: Record>(
    settings: &Settings,
    view: impl Fn(&Index<'_>) -> Vec<R>,
) -> Result<Answer<R>, CliError> {
    let source = Source::open(settings)?;
    Ok(Answer {
        records: view(&Index::new(&source.tables()?, source.state())),
        remark: source.remark(),
    })
}

fn flows(settings: &Settings) -> Result<Answer<view::FlowRecord>, CliError> {
    let source = Source::open(settings)?;
    let tables = source.tables()?;
    let index = Index::new(&tables, None);
    let clock = source.clock()?;
    let mut records = view::flows::<Ip4>(&index, &source.flows()?, clock);
    records.append(&mut view::flows::<Ip6>(&index, &source.flows()?, clock));
    records.sort();
    Ok(Answer {
        records,
        remark: None,
    })
}

fn problems(settings: &Settings) -> Result<Answer<view::ProblemRecord>, CliError> {
    let file = settings.state_file();
    let state = State::read(&file);
    let is_running = state::holder(&file).is_some();
    let remark = remark(&state, is_running, std::time::SystemTime::now());
    Ok(Answer {
        records: view::problems(&state?),
        remark,
    })
}
