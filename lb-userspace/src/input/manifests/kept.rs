//! What did each file say when all of it was in order? Kept beside the state file, so that a file that
//! is broken at a start says what it said before, as it would have while we ran.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Whether others may read what is kept: only root, as manifests may be meant for nobody else.
const MODE: u32 = 0o600;

/// The texts, one file for each.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// None: nothing is kept.
    directory: Option<PathBuf>,
    /// Why the last text that should have been kept was not.
    failure: Option<io::Error>,
}

/// What is in a file of ours.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    /// Whose text it is: two paths may share a name here.
    file: PathBuf,
    text: std::borrow::Cow<'a, str>,
}

impl Kept {
    /// The texts in this directory, which need not be there yet.
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            failure: None,
        }
    }

    /// What the file said when it was in order last, if anybody knows.
    pub(super) fn text(&self, file: &Path) -> Option<String> {
        let bytes = fs::read(self.place(file)?).ok()?;
        let entry: Entry<'_> = serde_json::from_slice(&bytes).ok()?;
        (entry.file == file).then(|| entry.text.into_owned())
    }

    /// The file is in order and says this.
    pub(super) fn keep(&mut self, file: &Path, text: &str) {
        let Some(place) = self.place(file) else {
            return;
        };
        let entry = Entry {
            file: file.to_owned(),
            text: text.into(),
        };
        // A path that is no text cannot be kept, nor need it be: serde says so by an error.
        let Ok(bytes) = serde_json::to_vec(&entry) else {
            return;
        };
        if fs::read(&place).is_ok_and(|before| before == bytes) {
            return;
        }
        self.failure = replace(&place, &bytes).err();
    }

    /// The file is gone.
    pub(super) fn forget(&mut self, file: &Path) {
        if let Some(place) = self.place(file) {
            // What cannot be removed now is removed after the next start.
            drop(fs::remove_file(place));
        }
    }

    /// Forgets all but these files.
    pub(super) fn retain<'f>(&mut self, files: impl Iterator<Item = &'f PathBuf>) {
        let Some(directory) = &self.directory else {
            return;
        };
        let wanted: BTreeSet<_> = files.filter_map(|file| self.place(file)).collect();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !wanted.contains(&entry.path()) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// Where a text could not be kept, and why.
    pub(super) fn failure(&self) -> Option<(&Path, &io::Error)> {
        Some((self.directory.as_deref()?, self.failure.as_ref()?))
    }

    fn place(&self, file: &Path) -> Option<PathBuf> {
        let name = format!("{:016x}.json", fingerprint(file));
        Some(self.directory.as_ref()?.join(name))
    }
}

/// Replaces a file in one step. A crash may lose what is new, which then is read from its own file.
fn replace(place: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = place.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = place.with_extension("new");
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(MODE);
    options.open(&beside)?.write_all(bytes)?;
    fs::rename(beside, place)
}

/// FNV-1a of a path: the same in every version of ours.
fn fingerprint(file: &Path) -> u64 {
    let bytes = file.as_os_str().as_encoded_bytes().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_its_own_text_until_it_is_gone() {
        let directory = std::env::temp_dir().join(format!("kept-{}", std::process::id()));
        let mut kept = Kept::new(Some(directory.clone()));
        let files = ["/a/kubia.yaml", "/b/kubia.yaml"].map(PathBuf::from);
        for (file, text) in files.iter().zip(["one", "another"]) {
            assert_eq!(kept.text(file), None);
            kept.keep(file, "before");
            kept.keep(file, text);
        }
        let texts = files.each_ref().map(|file| kept.text(file));
        assert_eq!(texts, ["one", "another"].map(|text| Some(text.to_owned())));
        kept.retain(files[1..].iter());
        assert_eq!(kept.text(&files[0]), None);
        assert!(kept.failure().is_none());
        kept.forget(&files[1]);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir(&directory).unwrap();
        // Where nothing can be written, that is told.
        fs::write(&directory, "").unwrap();
        kept.keep(&files[0], "one");
        assert!(kept.failure().is_some());
        fs::remove_file(&directory).unwrap();
        assert_eq!(fingerprint(Path::new("")), 0xcbf2_9ce4_8422_2325);
    }

    #[test]
    fn without_a_directory_nothing_is_kept() {
        let mut kept = Kept::default();
        let file = Path::new("/a/kubia.yaml");
        kept.keep(file, "one");
        kept.forget(file);
        assert_eq!(kept.text(file), None);
        assert!(kept.failure().is_none());
    }
}
