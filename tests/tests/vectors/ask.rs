//! How is a cluster asked? As `lb explain --manifests` does it, without root.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;

use clap::Parser;
use lb_tests::leftovers;
use lb_userspace::explain::{Known, Planned, Question, explain, planned};
use lb_userspace::input::{Allocations, manifests};
use lb_userspace::settings::{self, Settings};
use serde_json::Value;

#[derive(Parser, Debug)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

/// A node that has read its manifests.
pub(crate) struct Node {
    pub(crate) planned: Planned,
}

impl Node {
    /// Reads one file with these objects, by these flags.
    pub(crate) fn of(manifest: &Value, flags: &[String]) -> Self {
        let directory = leftovers::temporary_dir("vectors").expect("a directory");
        let file = directory.path().join("objects.json");
        fs::write(&file, manifest.to_string()).expect("a file");
        let arguments = ["lb".to_owned(), format!("--manifests={}", file.display())];
        let arguments = arguments.iter().chain(flags).map(OsString::from);
        let (flags, _): (Flags, _) = settings::parse(arguments, |_| None).expect("flags");
        let settings = &flags.settings;
        let update = manifests::read_once(manifests::Options {
            paths: settings.manifests.clone(),
            node_name: settings.node_name(),
            service_cidrs: settings.service_cidr.clone(),
            node_port_range: settings.nodeport_range.ports(),
            allocations: Allocations::default(),
            kept: None,
        });
        Self {
            planned: planned(settings, update.expect("manifests"), None),
        }
    }

    /// Asks where a packet goes.
    pub(crate) fn ask(&self, source: &str, destination: &str, protocol: &str) -> Value {
        let question = Question::parse(source, destination, Some(protocol)).expect("a question");
        let known = Known {
            tables: &self.planned.tables,
            state: &self.planned.state,
            traffic: None,
        };
        let answer = explain(&question, &known).expect("one family");
        serde_json::to_value(answer.document()).expect("a document")
    }

    /// What is wrong with the objects, for failures.
    pub(crate) fn problems(&self) -> String {
        let problems = self.planned.state.problems.iter();
        let lines: Vec<_> = problems.map(|problem| format!("\n    {problem}")).collect();
        lines.concat()
    }
}

/// The strings of a list in an answer.
pub(crate) fn set(answer: &Value, field: &str) -> BTreeSet<String> {
    let items = answer[field].as_array().into_iter().flatten();
    items
        .map(|item| item.as_str().unwrap_or_default().to_owned())
        .collect()
}
