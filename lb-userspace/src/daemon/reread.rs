//! When does the configuration file say something new, and what becomes of it?
//!
//! It is read again on SIGHUP and whenever its bytes differ: a ConfigMap replaces it by a link to another
//! one, of which not every file system tells.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::model::{Object, ObjectName, Problem};
use crate::settings::{Settings, SettingsError};

/// Between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads all settings anew, as at the start.
pub type ReadSettings = Box<dyn Fn() -> Result<Settings, SettingsError> + Send>;

/// The settings as they were at the start, and what the file has said since.
pub(super) struct Reread {
    read: ReadSettings,
    file: Option<PathBuf>,
    node: String,
    seen: Option<Vec<u8>>,
    hangup: Signal,
    look: Interval,
    problem: Option<Problem>,
}

impl Reread {
    pub(super) fn new(settings: &Settings, read: ReadSettings) -> std::io::Result<Self> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reread = Self {
            read,
            file: settings.config.clone(),
            node: settings.node_name(),
            seen: None,
            hangup: signal(SignalKind::hangup())?,
            look,
            problem: None,
        };
        reread.seen = reread.bytes();
        Ok(reread)
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        fs::read(self.file.as_ref()?).ok()
    }

    /// Waits until there may be something new.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    self.seen = self.bytes();
                    return;
                }
                _ = self.look.tick(), if self.file.is_some() => {
                    let bytes = self.bytes();
                    if bytes != self.seen {
                        self.seen = bytes;
                        return;
                    }
                }
            }
        }
    }

    /// The settings from now on, where the old ones are these.
    pub(super) fn follow(&mut self, old: &Settings) -> Settings {
        let followed = (self.read)().and_then(|new| {
            let (now, waiting) = old.follow(&new);
            now.check().map(|()| (now, waiting))
        });
        match followed {
            Ok((now, waiting)) => {
                info!(waiting = waiting.join(" "), "settings read again");
                self.problem = (!waiting.is_empty()).then(|| {
                    let why = "this has changed and counts from the next start on; restart this \
                               `lb run`, which breaks no connection";
                    self.of_node(waiting.join(" "), why.into())
                });
                now
            }
            Err(error) => {
                warn!(%error, "settings stay as they were");
                let why = format!("{error}; all settings stay as they were, mend it");
                self.problem = Some(self.of_node("--config".into(), why));
                old.clone()
            }
        }
    }

    /// What of the file is not in force.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.problem.iter().cloned()
    }

    fn of_node(&self, field: String, why: String) -> Problem {
        Problem {
            object: Object {
                kind: "Node".into(),
                name: ObjectName::new("", &self.node),
            },
            field,
            why,
            place: None,
        }
    }
}
