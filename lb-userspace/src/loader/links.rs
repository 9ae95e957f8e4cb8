//! How does a program come to a hook by a link of the kernel's, stay there over restarts and leave
//! it? Links are found again by what the kernel says of them, never by the names of their pins.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use super::pins::{self, Pins};
use super::{LoadError, programs::Loaded};
use crate::bpf::{Link, Target};

/// A pinned link.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    pub(super) path: PathBuf,
    /// The link's id on this kernel.
    pub(super) id: u32,
    /// Id of its program.
    pub(super) program: u32,
}

/// The pinned links, by what they are attached to.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<Target, Pinned>,
}

impl Links {
    /// Finds what is pinned, and tidies up what a process left that ended half-way.
    pub(super) fn adopt(pins: &Pins) -> Result<Self, LoadError> {
        let mut links = Self::default();
        // Sorted: a link comes before the one that was to take its place.
        for path in pins::list(&pins.attached())? {
            links.adopt_link(&path)?;
        }
        Ok(links)
    }

    fn adopt_link(&mut self, path: &Path) -> Result<(), LoadError> {
        let link = Link::open(path).map_err(LoadError::pin(path, "open"))?;
        let info = link.info().map_err(LoadError::pin(path, "inspect"))?;
        let target = info.target.filter(|target| self.get(*target).is_none());
        let Some(target) = target else {
            return detach(path, &link);
        };
        let settled = settled(path);
        if settled != path {
            fs::rename(path, &settled).map_err(LoadError::pin(path, "rename"))?;
        }
        let pinned = Pinned {
            path: settled,
            id: info.id,
            program: info.program,
        };
        self.links.insert(target, pinned);
        Ok(())
    }

    /// The link there.
    pub(super) fn get(&self, target: Target) -> Option<&Pinned> {
        self.links.get(&target)
    }

    /// Everything that links are attached to.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.links.keys().copied().collect()
    }

    /// All of them, and what they are attached to.
    pub(super) fn all(&self) -> Vec<(Target, Pinned)> {
        let links = self.links.iter();
        links
            .map(|(target, pinned)| (*target, pinned.clone()))
            .collect()
    }

    /// Forgets a link with which something is wrong, and takes away what is left of it.
    pub(super) fn lose(&mut self, target: Target) {
        if let Err(error) = self.remove(target) {
            tracing::warn!(%error, "rest of a link");
        }
    }

    /// Switches the link that is there to the program, in place, or makes one.
    pub(super) fn set(
        &mut self,
        target: Target,
        path: PathBuf,
        program: &Loaded,
        create: impl FnOnce(BorrowedFd<'_>) -> io::Result<Link>,
    ) -> Result<(), LoadError> {
        let Some(pinned) = self.links.get_mut(&target) else {
            return self.replace(target, path, program, create);
        };
        if pinned.program != program.id {
            let switched = Link::open(&pinned.path).and_then(|link| link.switch(program.fd()));
            if switched.is_err() {
                // The target or the pin is gone.
                return self.replace(target, path, program, create);
            }
            pinned.program = program.id;
        }
        if pinned.path != path {
            // The device has a new name.
            fs::rename(&pinned.path, &path).map_err(LoadError::pin(&path, "rename"))?;
            pinned.path = path;
        }
        Ok(())
    }

    /// Makes a link, and lets it take the place of the one that is there. Both run for a moment,
    /// which no packet notices: what the one has translated is foreign to the other.
    pub(super) fn replace(
        &mut self,
        target: Target,
        path: PathBuf,
        program: &Loaded,
        create: impl FnOnce(BorrowedFd<'_>) -> io::Result<Link>,
    ) -> Result<(), LoadError> {
        let link = create(program.fd()).map_err(LoadError::pin(&path, "attach"))?;
        let info = link.info().map_err(LoadError::pin(&path, "inspect"))?;
        let beside = beside(&path);
        link.pin(&beside).map_err(LoadError::pin(&beside, "pin"))?;
        self.remove(target)?;
        fs::rename(&beside, &path).map_err(LoadError::pin(&beside, "rename"))?;
        let pinned = Pinned {
            path,
            id: info.id,
            program: info.program,
        };
        self.links.insert(target, pinned);
        Ok(())
    }

    /// Detaches what is there; nothing is fine.
    pub(super) fn remove(&mut self, target: Target) -> Result<(), LoadError> {
        let Some(pinned) = self.links.remove(&target) else {
            return Ok(());
        };
        match Link::open(&pinned.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            link => {
                let link = link.map_err(LoadError::pin(&pinned.path, "open"))?;
                detach(&pinned.path, &link)
            }
        }
    }
}

/// Detaches a link and removes its pin.
pub(super) fn detach(path: &Path, link: &Link) -> Result<(), LoadError> {
    match link.detach() {
        // What it was attached to is gone.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLINK | libc::EINVAL)) => {}
        result => result.map_err(LoadError::pin(path, "detach"))?,
    }
    fs::remove_file(path).map_err(LoadError::pin(path, "remove"))
}

/// Where a link is pinned until the one that it replaces is gone.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("~");
    name.into()
}

/// The path without the mark of [`beside`].
fn settled(path: &Path) -> PathBuf {
    let name = path.to_string_lossy();
    name.strip_suffix('~')
        .map_or_else(|| path.to_owned(), PathBuf::from)
}
