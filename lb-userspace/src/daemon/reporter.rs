//! When is the state file written, and what goes into it? A thread of its own writes it: a disk may
//! take its time, and packets wait for the changes that come in meanwhile.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::bpf::give_freed_back;
use crate::input::Update;
use crate::loader::Placed;
use crate::model::{Problem, World};
use crate::settings::Settings;
use crate::state::{Audit, Details, FORMAT, State, StateError, millis};
use crate::tables::Digest;

/// Between two writes of the file: a burst of changes costs one write, not one each.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// Nor sooner than so many times as long as it took to gather what goes into it.
const REST: u32 = 20;

/// So many changes at once leave much freed memory behind.
const MANY_CHANGES: usize = 1_000;

/// How the kernel's side must be.
#[derive(Debug)]
pub(super) struct MustBe {
    /// What each map must hold.
    pub(super) digests: BTreeMap<String, Digest>,
    /// What must be pinned and attached.
    pub(super) placed: Placed,
}

/// The file is being written.
#[derive(Debug, Default)]
struct Writing {
    outcome: OnceLock<Result<(), StateError>>,
    over: Notify,
}

/// Writes the state file.
#[derive(Debug)]
pub(super) struct Reporter {
    file: PathBuf,
    /// What the file says, or is going to.
    state: Arc<State>,
    /// It is being written.
    writing: Option<Arc<Writing>>,
    is_new: bool,
    not_before: Instant,
    /// Much was freed since memory was given back.
    freed_much: bool,
}

impl Reporter {
    /// A writer of the instance's state file; `before` is what was read from it.
    #[must_use]
    pub(super) fn new(settings: &Settings, before: State) -> Self {
        Self {
            file: settings.state_file(),
            state: Arc::new(State {
                format: FORMAT,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                node: settings.node_name(),
                ..before
            }),
            writing: None,
            is_new: false,
            not_before: Instant::now(),
            freed_much: true,
        }
    }

    /// So many changes were taken in. What many were read from is freed, and what was planned by them; it
    /// is given back once the file is written, which takes some memory, too.
    pub(super) const fn took_in(&mut self, changes: usize) {
        self.freed_much |= changes >= MANY_CHANGES;
    }

    /// What the audit found.
    pub(super) fn audited(&mut self, found: Vec<String>) {
        Arc::make_mut(&mut self.state).audit = Some(Audit {
            found_at_millis: millis(SystemTime::now()),
            found,
        });
        self.touch();
    }

    /// There may be something new to write.
    pub(super) const fn touch(&mut self) {
        self.is_new = true;
    }

    /// When the file is to be written.
    #[must_use]
    pub(super) fn due(&self) -> Option<Instant> {
        (self.is_new && self.writing.is_none()).then_some(self.not_before)
    }

    /// Whether the file is to be written now.
    #[must_use]
    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|at| at <= Instant::now())
    }

    /// Waits until the file is written; for ever if it is not being written.
    pub(super) async fn written(&self) {
        match &self.writing {
            Some(writing) => writing.over.notified().await,
            None => pending().await,
        }
    }

    /// The file is written: it may be again.
    pub(super) fn finish(&mut self) {
        let writing = self.writing.take();
        if let Some(Err(error)) = writing.as_ref().and_then(|writing| writing.outcome.get()) {
            warn!(%error, "state not written");
            self.is_new = true;
        }
    }

    /// Has the file written.
    pub(super) fn write(
        &mut self,
        mut problems: Vec<Problem>,
        said: &Update,
        world: &World,
        must_be: MustBe,
    ) {
        let began = Instant::now();
        // Nobody else has it while nothing is being written, so nothing is copied.
        let state = Arc::make_mut(&mut self.state);
        state.digests = must_be.digests;
        state.placed = must_be.placed;
        problems.sort();
        problems.dedup();
        for problem in problems
            .iter()
            .filter(|problem| !state.problems.contains(problem))
        {
            warn!(%problem, "problem");
        }
        state.problems = problems;
        // A source that does not answer yet has said nothing: what was known before the restart is
        // what the maps still hold.
        let known = Details::of(world);
        let known = (said.complete || !known.is_empty()).then_some(known);
        if known.is_some() {
            state.unmapped.clone_from(&said.unmapped);
            state.allocations = said.allocations.clone();
            (state.services, state.targets) = (Vec::new(), Vec::new());
        }
        state.written_at_millis = millis(SystemTime::now());
        self.is_new = false;
        let (state, file) = (Arc::clone(&self.state), self.file.clone());
        let writing = Arc::<Writing>::default();
        self.writing = Some(Arc::clone(&writing));
        let gives_back = std::mem::take(&mut self.freed_much);
        spawn_blocking(move || {
            let outcome = state.write(&file, known.as_ref());
            drop((state, known));
            if gives_back {
                give_freed_back();
            }
            writing.outcome.get_or_init(|| outcome);
            writing.over.notify_one();
        });
        self.not_before = Instant::now() + AT_MOST_EVERY.max(began.elapsed() * REST);
    }
}
