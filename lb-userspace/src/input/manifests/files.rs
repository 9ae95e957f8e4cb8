//! Which files are there, and what do they say now?

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use super::kept::Kept;
use super::parse::{file_object, parse};
use super::shelf::{Changes, Shelf};
use crate::model::Problem;

/// The path that means standard input.
const STDIN: &str = "-";

/// What is read.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// Every file in them and below whose name says that it is a manifest.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Whatever their names are.
    pub(super) files: BTreeSet<PathBuf>,
    /// Read once, to its end.
    pub(super) stdin: bool,
}

/// What may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// These files say something else, or are gone.
    pub(super) files: BTreeSet<PathBuf>,
    /// Names may lead to other files, as when a symbolic link to a directory is replaced.
    pub(super) names: bool,
    /// Anything.
    pub(super) everything: bool,
}

/// All files.
#[derive(Debug)]
pub(super) struct Files {
    roots: Arc<Roots>,
    /// Device and inode of each file, by its name.
    identities: BTreeMap<PathBuf, (u64, u64)>,
    shelf: Shelf,
    kept: Kept,
    /// Roots that cannot be looked at; what was in them stays.
    lost: BTreeMap<PathBuf, String>,
}

impl Roots {
    /// Sorts what was named.
    ///
    /// # Errors
    /// When something is not there: whoever named it expects it.
    pub(super) fn new(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut roots = Self::default();
        for path in paths {
            if path.as_os_str() == STDIN {
                roots.stdin = true;
                continue;
            }
            let missing = |source| Error::Missing {
                path: path.clone(),
                source,
            };
            let absolute = std::path::absolute(path).map_err(missing)?;
            if std::fs::metadata(&absolute).map_err(missing)?.is_dir() {
                roots.directories.insert(absolute);
            } else {
                roots.files.insert(absolute);
            }
        }
        Ok(roots)
    }

    /// Whether a path is to be read.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.files.contains(path) || (self.directory_of(path).is_some() && is_manifest(path))
    }

    /// The directory to be read that a path is in or below, unless it is hidden there.
    pub(super) fn directory_of(&self, path: &Path) -> Option<&PathBuf> {
        self.directories.iter().find(|directory| {
            let below = path.strip_prefix(directory).ok();
            below.is_some_and(|below| !below.as_os_str().is_empty() && !below.iter().any(is_hidden))
        })
    }
}

/// Hidden files are being written, or history.
fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether a file's name says that it is a manifest.
fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    let hidden = path.file_name().is_some_and(is_hidden);
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

impl Files {
    /// Reads nothing yet; what files say is kept in that directory.
    pub(super) fn new(roots: Arc<Roots>, kept: Option<PathBuf>) -> Self {
        Self {
            roots,
            identities: BTreeMap::new(),
            shelf: Shelf::default(),
            kept: Kept::new(kept),
            lost: BTreeMap::new(),
        }
    }

    /// Reads standard input to its end, if that was asked for.
    pub(super) fn read_stdin(&mut self) -> Changes {
        if !self.roots.stdin {
            return Changes::new();
        }
        let path = Path::new(STDIN);
        let mut text = String::new();
        match io::stdin().read_to_string(&mut text) {
            Ok(_) => self.shelf.put(path, parse(path, &text)),
            Err(error) => {
                let why = format!("not readable: {error}; pipe YAML or JSON into it");
                self.shelf.keep(path, why);
                Changes::new()
            }
        }
    }

    /// Reads what was touched, and tells which objects that changes.
    pub(super) fn read(&mut self, touched: Touched) -> Changes {
        let mut changes = Changes::new();
        let mut stale = touched.files;
        if touched.names || touched.everything {
            let identities = self.look_around();
            let names = self.identities.keys().chain(identities.keys());
            let is_stale = |name: &&PathBuf| {
                touched.everything || self.identities.get(*name) != identities.get(*name)
            };
            stale.extend(names.filter(is_stale).cloned());
            self.identities = identities;
        }
        for file in stale {
            changes.extend(self.read_file(&file));
        }
        if touched.everything && self.lost.is_empty() {
            self.kept.retain(self.identities.keys());
        }
        changes
    }

    /// The identity of every file that is there, and of those that nobody can tell about.
    fn look_around(&mut self) -> BTreeMap<PathBuf, (u64, u64)> {
        self.lost.clear();
        let mut found = BTreeMap::new();
        for directory in &self.roots.directories {
            match list(directory) {
                Ok(listing) => found.extend(listing.files),
                Err(error) => {
                    self.lost.insert(directory.clone(), lost(&error));
                    let known = self.identities.iter();
                    let known = known.filter(|(file, _)| file.starts_with(directory));
                    found.extend(known.map(|(file, identity)| (file.clone(), *identity)));
                }
            }
        }
        for file in &self.roots.files {
            if let Ok(identity) = identity(file) {
                found.insert(file.clone(), identity);
            }
        }
        found
    }

    fn read_file(&mut self, file: &Path) -> Changes {
        let is_root = self.roots.files.contains(file);
        if is_root {
            self.lost.remove(file);
        }
        match std::fs::read_to_string(file) {
            Ok(text) => {
                if let Ok(identity) = identity(file) {
                    self.identities.insert(file.into(), identity);
                }
                self.take_in(file, &text)
            }
            Err(error) if is_root => {
                self.lost.insert(file.into(), lost(&error));
                Changes::new()
            }
            // If the whole directory is gone, that is told already, and its files are only hidden.
            Err(error) if is_gone(&error) => match self.roots.directory_of(file) {
                Some(directory) if !directory.exists() => Changes::new(),
                _ => {
                    self.identities.remove(file);
                    self.kept.forget(file);
                    self.shelf.remove(file)
                }
            },
            Err(error) => {
                let changes = self.recall(file);
                let why = format!("not readable: {error}; its objects stay as they were");
                self.shelf.keep(file, why);
                changes
            }
        }
    }

    /// A file says this now.
    fn take_in(&mut self, file: &Path, text: &str) -> Changes {
        let reading = parse(file, text);
        if reading.is_in_order() && !text.is_empty() {
            self.kept.keep(file, text);
            return self.shelf.put(file, reading);
        }
        let mut changes = self.recall(file);
        if text.is_empty() && self.shelf.has_objects(file) {
            let why = "it is empty, as a file is that is being written, so its objects stay as \
                       they were; remove it to remove them";
            self.shelf.keep(file, why.into());
        } else {
            changes.extend(self.shelf.put(file, reading));
        }
        changes
    }

    /// What a file that nothing is known of said before the start, as far as it was in order then.
    fn recall(&mut self, file: &Path) -> Changes {
        if self.shelf.knows(file) {
            return Changes::new();
        }
        let text = self.kept.text(file);
        text.map_or_else(Changes::new, |text| {
            self.shelf.put(file, parse(file, &text))
        })
    }

    /// Whether there is nothing of which was never told what it holds.
    pub(super) fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.shelf.is_complete()
    }

    /// What is wrong with files and with their objects by themselves.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let lost = self.lost.iter().map(|(path, why)| Problem {
            object: file_object(path),
            field: String::new(),
            why: why.clone(),
            place: None,
        });
        let unkept = self.kept.failure().map(|(directory, error)| Problem {
            object: file_object(directory),
            field: String::new(),
            why: format!(
                "what manifests say cannot be kept: {error}; one that is broken at the next start \
                 has no objects until it is mended; make room, or choose another --state-dir"
            ),
            place: None,
        });
        lost.chain(unkept).chain(self.shelf.problems())
    }
}

/// Whether there is no such file, or something else instead.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(error.kind(), E::NotFound | E::IsADirectory)
}

fn lost(error: &io::Error) -> String {
    format!("not readable any more: {error}; what was in it stays as it was until it is back")
}

/// What there is in a directory and below.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The manifests, each with its identity.
    files: Vec<(PathBuf, (u64, u64))>,
    /// The directories, itself included; symbolic links are not followed, as they may lead round.
    pub(super) directories: Vec<PathBuf>,
}

/// Lists a directory and those below; what vanishes meanwhile is not there.
pub(super) fn list(directory: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let mut entries = std::fs::read_dir(directory)?;
    listing.directories.push(directory.into());
    while let Some(entry) = entries.next().transpose()? {
        let path = entry.path();
        if is_hidden(&entry.file_name()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            if let Ok(below) = list(&path) {
                listing.files.extend(below.files);
                listing.directories.extend(below.directories);
            }
        } else if is_manifest(&path)
            && let Ok(metadata) = std::fs::metadata(&path)
            && metadata.is_file()
        {
            listing.files.push((path, (metadata.dev(), metadata.ino())));
        }
    }
    Ok(listing)
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(file)?;
    Ok((metadata.dev(), metadata.ino()))
}
