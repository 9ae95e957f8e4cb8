//! How are Services read from files and followed as the files change?

mod document;
mod files;
mod kept;
mod kinds;
mod parse;
mod scalar;
mod shelf;
mod source;
#[cfg(test)]
mod tests;
mod watch;
mod yaml;

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as threads;
use std::thread;

use ipnet::IpNet;
use tokio::sync::mpsc;

use self::files::{Files, Roots};
use self::source::Source;
use self::watch::{Signal, Watcher};
use super::{Allocations, Update};
use crate::settings::Settings;

/// Node ports are given from here unless `--nodeport-range` says otherwise (as the API server
/// does).
pub const NODE_PORT_RANGE: RangeInclusive<u16> = 30_000..=32_767;

/// What to read, and what the API server would have known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Files and directories; `-` is standard input.
    pub paths: Vec<PathBuf>,
    /// Name of this node.
    pub node_name: String,
    /// `--service-cidr`: ClusterIPs are given from here and from ServiceCIDR objects.
    pub service_cidrs: Vec<IpNet>,
    /// `--nodeport-range`: node ports are given from here.
    pub node_port_range: RangeInclusive<u16>,
    /// What was given before the restart.
    pub allocations: Allocations,
    /// The directory that keeps what files said when they were in order; none = nothing is kept.
    pub kept: Option<PathBuf>,
}

impl Options {
    /// What the settings say.
    #[must_use]
    pub fn new(settings: &Settings, allocations: Allocations) -> Self {
        Self {
            paths: settings.manifests.clone(),
            node_name: settings.node_name(),
            service_cidrs: settings.service_cidr.clone(),
            node_port_range: settings.nodeport_range.ports(),
            allocations,
            kept: None,
        }
    }

    /// The same, with the texts of files kept there for the next start.
    #[must_use]
    pub fn keeping(self, directory: PathBuf) -> Self {
        Self {
            kept: Some(directory),
            ..self
        }
    }
}

/// Why manifests cannot be read at all. What is wrong with single files and objects is a
/// [`crate::model::Problem`] instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path that was named is not there.
    #[error(
        "cannot read {}: {source}; name a directory or file that is there with --manifests",
        path.display()
    )]
    Missing {
        /// The path as it was named.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel does not let us watch a directory.
    #[error(
        "cannot watch {}: {source}; if there are too many watches, raise \
         fs.inotify.max_user_watches or fs.inotify.max_user_instances",
        path.display()
    )]
    Watch {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: notify::Error,
    },
    /// The thread that follows the files cannot be started.
    #[error("cannot start the thread that follows the manifests: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

/// Keeps the files followed; dropped, no further updates come.
#[derive(Debug)]
pub struct Following {
    stop: threads::Sender<Signal>,
}

impl Drop for Following {
    fn drop(&mut self) {
        // A thread that is gone has stopped already.
        drop(self.stop.send(Signal::Stop));
    }
}

/// Reads the manifests and follows them: the first update holds everything, each further one what
/// has changed. Returns as soon as the paths are known to be there; standard input is read to its
/// end and not followed.
///
/// # Errors
/// When a path is not there or cannot be watched. What goes wrong later is a problem in an update.
pub fn start(options: Options, updates: mpsc::Sender<Update>) -> Result<Following, Error> {
    let roots = Arc::new(Roots::new(&options.paths)?);
    let (sender, signals) = threads::channel();
    // Watched before it is read: what changes in between is read again.
    let watcher = Watcher::new(Arc::clone(&roots), sender.clone(), signals)?;
    let files = Files::new(roots, options.kept.clone());
    thread::Builder::new()
        .name("manifests".into())
        .spawn(move || follow(files, options, watcher, &updates))
        .map_err(|source| Error::Thread { source })?;
    Ok(Following { stop: sender })
}

fn follow(files: Files, options: Options, mut watcher: Watcher, updates: &mpsc::Sender<Update>) {
    let (mut source, first) = Source::read(files, options);
    if updates.blocking_send(first).is_err() {
        return;
    }
    while let Some(touched) = watcher.next() {
        if let Some(update) = source.follow(touched)
            && updates.blocking_send(update).is_err()
        {
            return;
        }
    }
}

/// Reads the manifests once.
///
/// # Errors
/// When a path is not there.
pub fn read_once(options: Options) -> Result<Update, Error> {
    let files = Files::new(Arc::new(Roots::new(&options.paths)?), options.kept.clone());
    let (_, update) = Source::read(files, options);
    Ok(update)
}
