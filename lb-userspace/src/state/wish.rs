//! Who shall serve what begins, where a kube-proxy is here, too? Told by a command, in a file beside
//! the state file, and heard by the daemon, which alone writes its maps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{StateError, absent_is_fine, failed};

/// Who shall serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// We.
    Serve,
    /// Whoever else is here, as long as that is so.
    StandBy,
}

impl Wish {
    const ALL: [Self; 2] = [Self::Serve, Self::StandBy];

    const fn word(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::StandBy => "stand by",
        }
    }

    /// What was wished for last; none if nothing was.
    #[must_use]
    pub fn read(state_file: &Path) -> Option<Self> {
        let text = fs::read_to_string(path_of(state_file)).ok()?;
        Self::ALL
            .into_iter()
            .find(|wish| text.trim() == wish.word())
    }

    /// Tells the daemon, in one step.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn write(self, state_file: &Path) -> Result<(), StateError> {
        let file = path_of(state_file);
        let temporary = file.with_extension("handover.new");
        fs::write(&temporary, self.word())
            .and_then(|()| fs::rename(&temporary, &file))
            .map_err(|error: io::Error| failed(&file, "write", error))
    }

    /// Takes it back.
    pub(super) fn remove(state_file: &Path) -> Result<(), StateError> {
        let file = path_of(state_file);
        absent_is_fine(fs::remove_file(&file)).map_err(|error| failed(&file, "remove", error))
    }
}

fn path_of(state_file: &Path) -> PathBuf {
    state_file.with_extension("handover")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_wish_counts_until_it_is_taken_back() {
        let directory = std::env::temp_dir().join(format!("wish-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join("lb.json");
        assert_eq!(Wish::read(&file), None);
        for wish in Wish::ALL {
            wish.write(&file).expect("it can be written");
            assert_eq!(Wish::read(&file), Some(wish));
        }
        Wish::remove(&file).expect("it can be removed");
        assert_eq!(Wish::read(&file), None);
        fs::remove_dir(&directory).expect("nothing is left");
    }
}
