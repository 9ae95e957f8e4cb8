//! Why did a command fail? The object, and the remedy.

use std::io;
use std::path::PathBuf;

use super::print::PrintError;
use crate::daemon::DaemonError;
use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::OpenError;
use crate::explain::QuestionError;
use crate::handover::HandoverError;
use crate::input::manifests;
use crate::loader::LoadError;
use crate::state::StateError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The maps cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The maps cannot be read.
    #[error(transparent)]
    Read(#[from] DataplaneError),
    /// The state file cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is nothing of that name.
    #[error("{}", not_found(kind, name, namespace.as_deref(), elsewhere.as_deref()))]
    NotFound {
        /// What was asked for.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The namespace that was looked in; none = all.
        namespace: Option<String>,
        /// A namespace that has one of that name.
        elsewhere: Option<String>,
    },
    /// Manifests cannot be read.
    #[error(transparent)]
    Manifests(#[from] manifests::Error),
    /// There are no manifests to answer from.
    #[error("no manifests are named: add -f with the directory or file that they are in")]
    NoManifests,
    /// A capture cannot be read.
    #[error("capture {}: {source}", file.display())]
    Capture {
        /// The file.
        file: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A question has no answer.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// The daemon did not start, or ended.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// Connections cannot be looked at or moved.
    #[error(transparent)]
    Handover(HandoverError),
    /// There is no daemon to tell who serves.
    #[error("`lb run` is not running on this node: start it first, with the same --state-dir")]
    NotRunning,
    /// The daemon does not do what it was told.
    #[error(
        "`lb run` does not follow: see its log; connections that were moved stay moved, and the command can be repeated"
    )]
    NotHeard,
    /// There is nobody to hand connections back to.
    #[error(
        "no rules of kube-proxy (nftables or iptables-nft) are on this node: start it in one of these modes, and wait until it is healthy"
    )]
    NoKubeProxy,
    /// The kernel does not tell of its rules.
    #[error("whether kube-proxy's rules are on this node cannot be asked: {0}")]
    Rules(#[source] io::Error),
    /// The process cannot have threads.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// The machine cannot be looked at, or something of ours cannot be removed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Something cannot be printed.
    #[error(transparent)]
    Print(#[from] PrintError),
    /// Nobody takes the output.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

fn not_found(kind: &str, name: &str, namespace: Option<&str>, elsewhere: Option<&str>) -> String {
    match (namespace, elsewhere) {
        (None, _) => format!("{kind} {name:?} not found"),
        (Some(namespace), None) => {
            format!("{kind} {name:?} not found in namespace {namespace:?}")
        }
        (Some(namespace), Some(other)) => format!(
            "{kind} {name:?} not found in namespace {namespace:?}: it is in namespace {other:?}, so add -n {other}"
        ),
    }
}
