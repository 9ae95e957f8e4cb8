//! What does the daemon know that the maps do not hold? Written to a file, so that the tools answer
//! with the daemon down, and say how old the answer is.

mod details;
mod lock;
mod wish;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize, Serializer};

use crate::input::{Allocations, Unmapped};
use crate::loader::Placed;
use crate::model::Problem;
use crate::tables::Digest;

pub use details::{Details, PortDetails, ServiceDetails, Target};
pub use lock::{Lock, holder};
pub use wish::Wish;

/// Version of the file's format; a file of a later one is not read.
pub const FORMAT: u32 = 1;

/// The file is written in pieces of so many bytes: as one text it might be larger than all else that we
/// hold.
const PIECE: usize = 1 << 20;

/// Everything in the state file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct State {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// Version of the daemon that wrote it.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// When it was written, in milliseconds since 1970.
    pub written_at_millis: u64,
    /// Name of the node.
    pub node: String,
    /// Everything that is not served as it was written.
    pub problems: Vec<Problem>,
    /// Services that have no entry in any map, sorted by name.
    pub unmapped: Vec<Unmapped>,
    /// Services as they were written, for display; see [`Details`].
    #[serde(skip_serializing)]
    pub services: Vec<ServiceDetails>,
    /// What stands behind the endpoints, for display; see [`Details`].
    #[serde(skip_serializing)]
    pub targets: Vec<Target>,
    /// What was given to Services that ask for no address or port of their own: the next start
    /// hands it back to the input.
    pub allocations: Allocations,
    /// What each map must hold.
    pub digests: BTreeMap<String, Digest>,
    /// What must be pinned and attached.
    pub placed: Placed,
    /// What the last audit found that was not as it must be.
    pub audit: Option<Audit>,
}

/// What is written: the state, but Services and targets as they are made.
#[derive(Serialize)]
struct Written<'s> {
    #[serde(flatten)]
    state: &'s State,
    services: Services<'s>,
    targets: Targets<'s>,
}

/// Services of the state, unless more is known.
struct Services<'s>(&'s State, Option<&'s Details>);

/// Targets likewise.
struct Targets<'s>(&'s State, Option<&'s Details>);

impl<'s> Written<'s> {
    fn new(state: &'s State, known: Option<&'s Details>) -> Self {
        Self {
            state,
            services: Services(state, known),
            targets: Targets(state, known),
        }
    }
}

impl Serialize for Services<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self(_, Some(known)) => serializer.collect_seq(known.services()),
            Self(state, None) => serializer.collect_seq(&state.services),
        }
    }
}

impl Serialize for Targets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self(_, Some(known)) => serializer.collect_seq(known.targets()),
            Self(state, None) => serializer.collect_seq(&state.targets),
        }
    }
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Audit {
    /// When it found something last, in milliseconds since 1970; 0 = never.
    pub found_at_millis: u64,
    /// What that was.
    pub found: Vec<String>,
}

/// Why the state file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is none.
    #[error(
        "no state file {}: is `lb run` started on this node, with the same --pin-dir and --state-dir?",
        .0.display()
    )]
    Missing(PathBuf),
    /// The system refused.
    #[error("state file {}: {action}: {source}{}", file.display(), remedy(source))]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is not ours, or of a later version.
    #[error("state file {}: {why}: the next `lb run` writes it anew", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another daemon serves the same pin directory.
    #[error(
        "`lb run` is already running here (process {pid}): stop it first, or give this one another --pin-dir and --cgroup"
    )]
    Running {
        /// Its process id; 0 if it did not say.
        pid: u32,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        ": run as root"
    } else {
        ""
    }
}

impl State {
    /// Reads the file.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn read(file: &Path) -> Result<Self, StateError> {
        let text = fs::read(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StateError::Missing(file.to_owned()),
            _ => failed(file, "read", error),
        })?;
        let unreadable = |why| StateError::Unreadable {
            file: file.to_owned(),
            why,
        };
        let format: Format =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if format.format != FORMAT {
            return Err(unreadable(format!(
                "its format is {}, not {FORMAT}",
                format.format
            )));
        }
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))
    }

    /// Replaces the file in one step: a reader, or a crash, sees the old or the new one. Of Services
    /// and targets it says what `known` does, else what we do.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn write(&self, file: &Path, known: Option<&Details>) -> Result<(), StateError> {
        let io = |action| move |error| failed(file, action, error);
        let directory = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(io("create its directory"))?;
        let temporary = file.with_extension("json.new");
        let out = File::create(&temporary).map_err(io("create"))?;
        let mut out = BufWriter::with_capacity(PIECE, out);
        serde_json::to_writer_pretty(&mut out, &Written::new(self, known))
            .map_err(|error| failed(file, "write", error.into()))?;
        let out = out
            .into_inner()
            .map_err(|error| failed(file, "write", error.into_error()))?;
        out.sync_all().map_err(io("write"))?;
        fs::rename(&temporary, file).map_err(io("replace"))?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io("write its directory"))
    }

    /// Removes the file, what is kept beside it, its lock, and their directory unless there is something else in it.
    ///
    /// # Errors
    /// See [`StateError`]; no file is fine.
    pub fn remove(file: &Path, lock: Lock) -> Result<(), StateError> {
        absent_is_fine(fs::remove_file(file)).map_err(|error| failed(file, "remove", error))?;
        let kept = manifests_beside(file);
        absent_is_fine(fs::remove_dir_all(&kept))
            .map_err(|error| failed(&kept, "remove", error))?;
        Wish::remove(file)?;
        lock.remove(file)?;
        let directory = file.parent().unwrap_or(Path::new("."));
        match absent_is_fine(fs::remove_dir(directory)) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                Err(failed(directory, "remove", error))
            }
            _ => Ok(()),
        }
    }

    /// How long ago it was written; zero if the clock was set back since.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        let written = SystemTime::UNIX_EPOCH + Duration::from_millis(self.written_at_millis);
        now.duration_since(written).unwrap_or_default()
    }
}

/// The directory beside a state file for what manifests said when they were in order.
#[must_use]
pub fn manifests_beside(file: &Path) -> PathBuf {
    file.with_extension("manifests")
}

/// Milliseconds since 1970.
#[must_use]
pub fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// What is gone need not be removed.
fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn failed(file: &Path, action: &'static str, source: io::Error) -> StateError {
    StateError::Io {
        file: file.to_owned(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectName;

    /// A directory that goes with its guard.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("state-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).expect("a directory");
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_left() {
        let directory = Directory::new("round");
        let file = directory.0.join("deeper/node.json");
        let state = State {
            format: FORMAT,
            node: "node-a".to_owned(),
            written_at_millis: 1_000,
            targets: vec![Target {
                service: ObjectName::new("default", "kubia"),
                address: "10.42.0.10".parse().expect("an address"),
                target: Some("Pod/kubia-vs2kl".into()),
                node: None,
                ready: true,
                serving: true,
                terminating: false,
                since: None,
            }],
            ..State::default()
        };
        State::default().write(&file, None).expect("a first one");
        state.write(&file, None).expect("another over it");
        assert_eq!(State::read(&file).expect("the last one"), state);
        let left = fs::read_dir(directory.0.join("deeper")).expect("a directory");
        assert_eq!(left.count(), 1);
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(61);
        assert_eq!(state.age(later), Duration::from_mins(1));
        assert_eq!(state.age(SystemTime::UNIX_EPOCH), Duration::ZERO);
    }

    #[test]
    fn a_file_from_before_ids_were_noted_is_read() {
        let directory = Directory::new("before");
        let file = directory.0.join("node.json");
        let before = r#"{"format": 1, "node": "node-a", "attached": ["tcx-in-2-eth0"]}"#;
        fs::write(&file, before).expect("a file");
        let state = State::read(&file).expect("a state");
        assert_eq!((&*state.node, state.placed), ("node-a", Placed::default()));
    }

    #[test]
    fn errors_say_what_to_do() {
        let directory = Directory::new("errors");
        let file = directory.0.join("node.json");
        let missing = State::read(&file).unwrap_err().to_string();
        assert!(missing.contains("is `lb run` started"), "{missing}");
        fs::write(&file, r#"{"format": 99, "news": true}"#).expect("a file");
        let later = State::read(&file).unwrap_err().to_string();
        assert!(later.contains("its format is 99, not 1"), "{later}");
    }

    #[test]
    fn there_is_one_daemon_until_it_ends() {
        let directory = Directory::new("lock");
        let file = directory.0.join("node.json");
        assert_eq!(holder(&file), None);
        let lock = Lock::take(&file).expect("the lock");
        assert_eq!(holder(&file), Some(std::process::id()));
        let second = Lock::take(&file).unwrap_err();
        assert!(matches!(second, StateError::Running { pid } if pid == std::process::id()));
        drop(lock);
        assert_eq!(holder(&file), None);
        let lock = Lock::take(&file).expect("the lock again");
        State::remove(&file, lock).expect("nothing of ours left");
        assert!(!directory.0.exists());
    }
}
