//! What did each file last say, and which objects change when one says something else?

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parse::{Reading, file_object};
use crate::input::declared::{Key, Placed};
use crate::input::findings::Finding;
use crate::model::Problem;

/// Objects that are different now; none = gone.
pub(super) type Changes = BTreeMap<Key, Option<Placed>>;

/// The objects of all files.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    files: BTreeMap<PathBuf, Content>,
    /// The files that hold an object, sorted, nearly always one; the first one's counts.
    holders: BTreeMap<Key, Vec<Arc<Path>>>,
    /// The objects that more than one file holds.
    repeated: BTreeSet<Key>,
}

/// What a file last said.
#[derive(Debug, Default)]
struct Content {
    objects: BTreeMap<Key, Placed>,
    problems: Vec<Problem>,
    /// Whether it could be told of everything in it what it is, at least once.
    was_whole: bool,
}

impl Shelf {
    /// A file says this now. What cannot be read takes nothing away: while a file is broken all of
    /// its objects stay as they were, and an object that is refused stays as it was by itself.
    pub(super) fn put(&mut self, file: &Path, reading: Reading) -> Changes {
        let old = self.files.remove(file).unwrap_or_default();
        let mut new = Content {
            was_whole: old.was_whole || !reading.is_broken,
            problems: reading.problems,
            objects: BTreeMap::new(),
        };
        if reading.is_broken && old.was_whole {
            new.objects.clone_from(&old.objects);
        } else {
            for (key, placed) in reading.objects {
                match new.objects.entry(key) {
                    Entry::Occupied(first) => {
                        new.problems.push(repeated(first.key(), &placed, file));
                    }
                    Entry::Vacant(vacant) => {
                        vacant.insert(placed);
                    }
                }
            }
            for key in reading.refused {
                if let Some(placed) = old.objects.get(&key) {
                    new.objects.entry(key).or_insert_with(|| placed.clone());
                }
            }
        }
        self.replace(file, &old.objects, Some(new))
    }

    /// A file is gone, and what it said with it.
    pub(super) fn remove(&mut self, file: &Path) -> Changes {
        match self.files.remove(file) {
            Some(old) => self.replace(file, &old.objects, None),
            None => Changes::new(),
        }
    }

    /// A file cannot be read: what it said stays.
    pub(super) fn keep(&mut self, file: &Path, why: String) {
        let content = self.files.entry(file.into()).or_default();
        content.problems = vec![Problem {
            object: file_object(file),
            field: String::new(),
            why,
            place: None,
        }];
    }

    /// Whether a file has said anything yet, be it nothing.
    pub(super) fn knows(&self, file: &Path) -> bool {
        self.files.contains_key(file)
    }

    /// Whether a file says anything at all.
    pub(super) fn has_objects(&self, file: &Path) -> bool {
        let content = self.files.get(file);
        content.is_some_and(|content| !content.objects.is_empty())
    }

    /// Whether every file could be read as a whole at least once.
    pub(super) fn is_complete(&self) -> bool {
        self.files.values().all(|content| content.was_whole)
    }

    /// What is wrong with files and with their objects by themselves.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let own = self.files.values().flat_map(|content| &content.problems);
        let repeated = self.repeated.iter().flat_map(move |key| {
            let mut holders = self.holders[key].iter();
            let counts = holders.next();
            holders.filter_map(move |file| {
                let placed = self.files[&**file].objects.get(key)?;
                Some(repeated(key, placed, counts?))
            })
        });
        own.cloned().chain(repeated)
    }

    /// Puts a content in the place of the old one, which is out already, and tells what that
    /// changes.
    fn replace(
        &mut self,
        file: &Path,
        old: &BTreeMap<Key, Placed>,
        new: Option<Content>,
    ) -> Changes {
        let keys = old
            .keys()
            .chain(new.iter().flat_map(|new| new.objects.keys()));
        let keys: BTreeSet<Key> = keys.cloned().collect();
        let before: Vec<_> = keys
            .iter()
            .map(|key| match self.first_holder(key) {
                Some(holder) if holder == file => old.get(key).cloned(),
                Some(holder) => self.files[holder].objects.get(key).cloned(),
                None => None,
            })
            .collect();
        for key in old.keys() {
            if let Some(holders) = self.holders.get_mut(key) {
                holders.retain(|holder| **holder != *file);
                if holders.is_empty() {
                    self.holders.remove(key);
                }
            }
        }
        if let Some(new) = new {
            let file: Arc<Path> = file.into();
            for key in new.objects.keys() {
                let holders = self.holders.entry(key.clone()).or_default();
                if let Err(at) = holders.binary_search(&file) {
                    holders.reserve_exact(1);
                    holders.insert(at, Arc::clone(&file));
                }
            }
            self.files.insert(file.to_path_buf(), new);
        }
        let mut changes = Changes::new();
        for (key, before) in keys.into_iter().zip(before) {
            let holders = self.holders.get(&key);
            if holders.is_some_and(|holders| holders.len() > 1) {
                self.repeated.insert(key.clone());
            } else {
                self.repeated.remove(&key);
            }
            let holder = holders.and_then(|holders| holders.first());
            let after = holder.and_then(|file| self.files[&**file].objects.get(&key).cloned());
            if before != after {
                changes.insert(key, after);
            }
        }
        changes
    }

    fn first_holder(&self, key: &Key) -> Option<&Path> {
        self.holders.get(key)?.first().map(|file| &**file)
    }
}

/// The problem of an object that is written in another place too.
fn repeated(key: &Key, placed: &Placed, counts: &Path) -> Problem {
    let elsewhere = if *placed.origin.file == *counts {
        "further up in this file".into()
    } else {
        format!("in {}", counts.display())
    };
    let why = format!("it is written {elsewhere} too, and that counts; remove one");
    key.problem(&Finding::new("", why), Some(&placed.origin))
}
