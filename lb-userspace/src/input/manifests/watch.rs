//! Which files were touched?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Error;
use super::files::{Roots, Touched, list};

/// Several changes at once are taken together if no longer than this lies between them.
const QUIET: Duration = Duration::from_millis(5);

/// Changes are taken at the latest so long after the first.
const PATIENCE: Duration = Duration::from_millis(20);

/// What wakes whoever follows the files.
#[derive(Debug)]
pub(super) enum Signal {
    /// Something happened to a path.
    Path(PathBuf),
    /// Events were lost.
    Lost,
    /// Nobody listens any more.
    Stop,
}

/// Follows the directories that files lie in: a file that is renamed in is another one.
#[derive(Debug)]
pub(super) struct Watcher {
    kernel: RecommendedWatcher,
    signals: Receiver<Signal>,
    roots: Arc<Roots>,
}

impl Watcher {
    /// Follows everything in the roots from now on; signals go to and come from the given channel.
    ///
    /// # Errors
    /// When the kernel refuses to watch.
    pub(super) fn new(
        roots: Arc<Roots>,
        sender: Sender<Signal>,
        signals: Receiver<Signal>,
    ) -> Result<Self, Error> {
        let handler = move |event: notify::Result<Event>| {
            let sent = match event {
                Ok(event) if event.need_rescan() => sender.send(Signal::Lost),
                Ok(event) if is_of_interest(event.kind) => event
                    .paths
                    .into_iter()
                    .try_for_each(|path| sender.send(Signal::Path(path))),
                Ok(_) => Ok(()),
                Err(_) => sender.send(Signal::Lost),
            };
            // Whoever stopped listening wants no more signals.
            drop(sent);
        };
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::Watch { path, source }
        };
        let mut kernel = notify::recommended_watcher(handler).map_err(failed(Path::new("/")))?;
        for directory in watched(&roots) {
            kernel
                .watch(&directory, RecursiveMode::NonRecursive)
                .map_err(failed(&directory))?;
        }
        Ok(Self {
            kernel,
            signals,
            roots,
        })
    }

    /// Waits for the next changes; none when it is time to stop.
    pub(super) fn next(&mut self) -> Option<Touched> {
        loop {
            let mut touched = Touched::default();
            self.note(self.signals.recv().ok()?, &mut touched)?;
            let first = Instant::now();
            while first.elapsed() < PATIENCE {
                match self.signals.recv_timeout(QUIET) {
                    Ok(signal) => self.note(signal, &mut touched)?,
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
            if touched != Touched::default() {
                return Some(touched);
            }
        }
    }

    /// Notes what a signal means; none when it is time to stop.
    fn note(&mut self, signal: Signal, touched: &mut Touched) -> Option<()> {
        match signal {
            Signal::Stop => return None,
            Signal::Lost => touched.everything = true,
            Signal::Path(path) if self.is_directory(&path) => {
                self.follow_again(&path);
                touched.everything = true;
            }
            Signal::Path(path) if self.roots.has(&path) => {
                touched.files.insert(path);
            }
            // A name may be part of the way to files, as a directory is that is gone now, or as
            // `..data` in mounted ConfigMaps.
            Signal::Path(path) => touched.names |= is_beside_a_file(&self.roots, &path),
        }
        Some(())
    }

    /// Whether a path is a directory that is read, or one that may be missing at the moment.
    fn is_directory(&self, path: &Path) -> bool {
        self.roots.directories.contains(path)
            || (self.roots.directory_of(path).is_some() && path.is_dir())
    }

    /// Another directory may have this name now, with others below.
    fn follow_again(&mut self, directory: &Path) {
        for directory in below(directory) {
            // It may be gone and its watch with it; its parent tells when it is back.
            drop(self.kernel.unwatch(&directory));
            drop(self.kernel.watch(&directory, RecursiveMode::NonRecursive));
        }
    }
}

/// Reading and writing as such is of no interest, only that a file is complete, there or gone.
fn is_of_interest(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// The directories to watch: those that are read, and those that hold what was named.
fn watched(roots: &Roots) -> BTreeSet<PathBuf> {
    let named = roots.directories.iter().chain(&roots.files);
    let holding = named.filter_map(|path| path.parent());
    let read = roots
        .directories
        .iter()
        .flat_map(|directory| below(directory));
    holding.map(Path::to_path_buf).chain(read).collect()
}

/// A directory and all below it.
fn below(directory: &Path) -> Vec<PathBuf> {
    list(directory).map_or_else(|_| vec![directory.into()], |listing| listing.directories)
}

/// Whether something lies in a directory that is read, or in one that a file to be read is in.
fn is_beside_a_file(roots: &Roots, path: &Path) -> bool {
    let parent = path.parent();
    roots
        .directories
        .iter()
        .any(|directory| path.starts_with(directory))
        || roots.files.iter().any(|file| file.parent() == parent)
}
