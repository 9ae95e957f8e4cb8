//! What is left of test processes that were killed before they could clean up? Everything that they
//! made carries their process id in its name: what belongs to nobody any more goes.

use std::fs;
use std::path::{Path, PathBuf};

use super::{BPFFS, Leftover, PREFIX, cgroup_root};

/// Removes it all, processes first.
pub(super) fn remove() {
    for leftover in processes().into_iter().chain(files()) {
        eprintln!("removing what a killed test left behind: {leftover:?}");
        leftover.remove();
    }
}

/// Processes whose environment names a directory of a test that is gone: `lb` and its like.
fn processes() -> Vec<Leftover> {
    let marker = format!("/{PREFIX}-");
    let is_orphan = |pid: &u32| {
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
            return false;
        };
        environment.split(|byte| *byte == 0).any(|variable| {
            String::from_utf8_lossy(variable)
                .split_once(&marker)
                .is_some_and(|(_, rest)| is_of_the_dead(rest))
        })
    };
    let pids = entries(Path::new("/proc"))
        .into_iter()
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok());
    pids.filter(is_orphan).map(Leftover::Process).collect()
}

/// Pins, directories and cgroups.
fn files() -> Vec<Leftover> {
    let temporary = std::env::temp_dir();
    let mut found = Vec::new();
    for place in [Path::new(BPFFS), &temporary] {
        found.extend(orphans(place).into_iter().map(Leftover::Directory));
    }
    if let Ok(root) = cgroup_root() {
        found.extend(orphans(&root).into_iter().map(Leftover::Cgroup));
    }
    found
}

fn orphans(place: &Path) -> Vec<PathBuf> {
    let is_orphan = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let rest = name.and_then(|name| name.strip_prefix(PREFIX)?.strip_prefix('-'));
        rest.is_some_and(is_of_the_dead)
    };
    entries(place).into_iter().filter(is_orphan).collect()
}

/// Whether `rest` of a name begins with the id of a process that is gone.
fn is_of_the_dead(rest: &str) -> bool {
    let digits = rest.split('-').next().unwrap_or_default();
    // A process that nobody has waited for yet is still listed, but runs no program.
    digits
        .parse::<u32>()
        .is_ok_and(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_err())
}

fn entries(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::is_of_the_dead;

    #[test]
    fn a_name_tells_whose_it_is() {
        assert!(!is_of_the_dead(&format!("{}-0-pins", std::process::id())));
        // No process has an id beyond the kernel's limit of 2^22.
        assert!(is_of_the_dead("4194305-0-pins"));
        assert!(!is_of_the_dead("somebody-else"));
    }
}
