//! What does Debian's archive have? Asked by apt's ordinary client with a state of its own, so that the machine's is
//! neither needed nor changed. Where the archive is, the machine's own sources say.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::process;

/// A private state of apt, for some suites.
pub(super) struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// Reads the lists of packages of these suites into `dir`. A suite that is not there is no error: others may be.
    pub(super) fn update(dir: &Path, suites: &[&str]) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(part))?;
        }
        fs::write(dir.join("status"), "")?;
        let mirrors = mirrors(&indexes(dir)?);
        ensure!(
            !mirrors.is_empty(),
            "apt has no source of Debian's own packages: add one to its sources list"
        );
        let lines = suites.iter().flat_map(|suite| sources(&mirrors, suite));
        let lines: String = lines.collect();
        fs::write(dir.join("sources.list"), lines)?;
        let apt = Self {
            dir: dir.to_owned(),
        };
        let updated = process::output(apt.command("apt-get").args(["update", "--quiet"]));
        // With several suites and mirrors, one that is gone is no reason to do without the others.
        if let Err(error) = updated
            && apt.names()?.is_empty()
        {
            return Err(error).context("cannot read the lists of packages");
        }
        Ok(apt)
    }

    /// Names of all kernel packages that there are.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let names = process::output(self.command("apt-cache").args(["pkgnames", "linux-"]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Fetches packages into a directory, whatever they depend on.
    pub(super) fn download(&self, packages: &[String], into: &Path) -> Result<()> {
        let mut command = self.command("apt-get");
        // A file of root's cannot be written by apt's own user, which it would only warn of.
        command.args(["-o", "APT::Sandbox::User=root", "--quiet", "download"]);
        process::output(command.args(packages).current_dir(into))?;
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = process::host(program, &self.dir);
        for (option, part) in [
            ("Dir::State", ""),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
        ] {
            let place = self.dir.join(part);
            command.args(["-o", &format!("{option}={}", place.display())]);
        }
        command.args([
            "-o",
            "Dir::Etc::sourceparts=-",
            "-o",
            "APT::Architecture=amd64",
        ]);
        // Only the lists of packages, and not those of programs that others hook in.
        command.args([
            "-o",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
        ]);
        command.args(["-o", "Acquire::Languages=none"]);
        command.env("LC_ALL", "C");
        command
    }
}

/// What the machine's sources are: for each list of packages, where it is and which suite it is of.
fn indexes(dir: &Path) -> Result<String> {
    let mut command = process::host("apt-get", dir);
    command.args(["indextargets", "--format"]);
    command.arg("$(ORIGIN) $(CODENAME) $(REPO_URI)");
    process::output(command.arg("Created-By: Packages"))
}

/// Where packages of Debian's are.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    /// It has the security updates, which are an archive of their own.
    security: bool,
}

fn mirrors(indexes: &str) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    for line in indexes.lines() {
        let mut fields = line.split_whitespace();
        let (Some("Debian"), Some(suite), Some(uri)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let mirror = Mirror {
            uri: uri.to_owned(),
            security: is_security(suite),
        };
        if !mirrors.contains(&mirror) {
            mirrors.push(mirror);
        }
    }
    mirrors
}

/// Lines of a sources list for a suite, one for each mirror that may have it.
fn sources(mirrors: &[Mirror], suite: &str) -> Vec<String> {
    let fit = mirrors
        .iter()
        .filter(|mirror| mirror.security == is_security(suite));
    fit.map(|mirror| format!("deb {} {suite} main\n", mirror.uri))
        .collect()
}

fn is_security(suite: &str) -> bool {
    suite.ends_with("-security")
}

#[cfg(test)]
mod tests {
    use super::{mirrors, sources};

    const INDEXES: &str = "\
Debian bookworm http://mirror.example/debian/
Debian bookworm-updates http://mirror.example/debian/
Debian bookworm-security http://mirror.example/security/
Somebody nodistro http://other.example/
";

    #[test]
    fn a_suite_is_looked_for_where_the_machine_finds_such_suites() {
        let mirrors = mirrors(INDEXES);
        assert_eq!(
            sources(&mirrors, "bullseye-security"),
            ["deb http://mirror.example/security/ bullseye-security main\n"]
        );
        assert_eq!(
            sources(&mirrors, "sid"),
            ["deb http://mirror.example/debian/ sid main\n"]
        );
    }
}
