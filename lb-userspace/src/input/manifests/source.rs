//! What do the files amount to, and what is to be told about it?

use super::Options;
use super::files::{Files, Touched};
use crate::input::Update;
use crate::input::standalone::Standalone;
use crate::model::Change;

/// The files and what follows from them.
#[derive(Debug)]
pub(super) struct Source {
    files: Files,
    objects: Standalone,
    /// What was told last, but for the changes.
    told: Update,
}

impl Source {
    /// Reads everything.
    pub(super) fn read(files: Files, options: Options) -> (Self, Update) {
        let mut source = Self {
            files,
            objects: Standalone::new(
                options.node_name,
                options.service_cidrs,
                options.node_port_range,
                options.allocations,
            ),
            told: Update::default(),
        };
        let mut changes = source.files.read_stdin();
        changes.extend(source.files.read(Touched {
            everything: true,
            ..Touched::default()
        }));
        let changes = source.objects.apply(changes);
        let update = source.tell(changes);
        (source, update)
    }

    /// Reads what was touched; none if that makes no difference.
    pub(super) fn follow(&mut self, touched: Touched) -> Option<Update> {
        let changes = self.files.read(touched);
        let changes = self.objects.apply(changes);
        let before = self.told.clone();
        let update = self.tell(changes);
        (!update.changes.is_empty() || self.told != before).then_some(update)
    }

    fn tell(&mut self, changes: Vec<Change>) -> Update {
        let complete = self.told.complete || self.files.is_complete();
        if complete {
            self.objects.forget_absent();
        }
        let own = self.objects.problems().cloned();
        let mut problems: Vec<_> = self.files.problems().chain(own).collect();
        problems.sort();
        problems.dedup();
        self.told = Update {
            changes: Vec::new(),
            triggers: Vec::new(),
            node: self.objects.node(),
            service_cidrs: self.objects.service_cidrs().to_vec(),
            problems,
            unmapped: self.objects.unmapped().collect(),
            allocations: self.objects.allocations().clone(),
            complete,
        };
        Update {
            changes,
            ..self.told.clone()
        }
    }
}
