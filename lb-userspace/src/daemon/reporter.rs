//! When is the state file written, and what goes into it?

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

use crate::input::Update;
use crate::model::{Change, Problem};
use crate::settings::Settings;
use crate::state::{Audit, Details, FORMAT, State, millis};
use crate::tables::Digest;

/// Between two writes of the file: a burst of changes costs one write, not one each.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// How the kernel's side must be.
#[derive(Debug)]
pub(super) struct MustBe {
    /// What each map must hold.
    pub(super) digests: BTreeMap<String, Digest>,
    /// Names of the pins of links that must be attached.
    pub(super) attached: Vec<String>,
}

/// Writes the state file.
#[derive(Debug)]
pub(super) struct Reporter {
    file: PathBuf,
    details: Details,
    /// What the file says.
    state: State,
    is_new: bool,
    not_before: Instant,
}

impl Reporter {
    /// A writer of the instance's state file; `before` is what was read from it.
    #[must_use]
    pub(super) fn new(settings: &Settings, before: State) -> Self {
        Self {
            file: settings.state_file(),
            details: Details::default(),
            state: State {
                format: FORMAT,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                node: settings.node_name(),
                ..before
            },
            is_new: false,
            not_before: Instant::now(),
        }
    }

    /// What the audit found.
    pub(super) fn audited(&mut self, found: Vec<String>) {
        self.state.audit = Some(Audit {
            found_at_millis: millis(SystemTime::now()),
            found,
        });
        self.touch();
    }

    /// Follows a change of what is known.
    pub(super) fn follow(&mut self, change: &Change) {
        self.details.apply(change);
    }

    /// There may be something new to write.
    pub(super) const fn touch(&mut self) {
        self.is_new = true;
    }

    /// When the file is to be written.
    #[must_use]
    pub(super) fn due(&self) -> Option<Instant> {
        self.is_new.then_some(self.not_before)
    }

    /// Whether the file is to be written now.
    #[must_use]
    pub(super) fn is_due(&self) -> bool {
        self.is_new && self.not_before <= Instant::now()
    }

    /// Writes the file.
    pub(super) fn write(&mut self, mut problems: Vec<Problem>, said: &Update, must_be: MustBe) {
        self.state.digests = must_be.digests;
        self.state.attached = must_be.attached;
        problems.sort();
        problems.dedup();
        for problem in problems
            .iter()
            .filter(|problem| !self.state.problems.contains(problem))
        {
            warn!(%problem, "problem");
        }
        self.state.problems = problems;
        // A source that does not answer yet has said nothing: what was known before the restart is
        // what the maps still hold.
        if said.complete || !self.details.is_empty() {
            self.state.unmapped.clone_from(&said.unmapped);
            self.state.allocations = said.allocations.clone();
            self.state.services = self.details.services();
            self.state.targets = self.details.targets();
        }
        self.state.written_at_millis = millis(SystemTime::now());
        self.is_new = false;
        self.not_before = Instant::now() + AT_MOST_EVERY;
        if let Err(error) = self.state.write(&self.file) {
            warn!(%error, "state not written");
            self.is_new = true;
        }
    }
}
