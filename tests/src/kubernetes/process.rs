//! One program of the control plane: its output in a file, its end with its guard.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command;
use crate::leftovers::{self, Guard};
use crate::topology::Place;

/// Lines of its output that are shown when something fails.
const LAST_LINES: usize = 30;

/// A program that runs.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    /// Ends it where this process is interrupted.
    guard: Option<Guard>,
}

impl Process {
    /// Starts it in the place; its output goes to a file of its name in the directory.
    pub(super) fn start(place: &Place, directory: &Path, mut command: Command) -> Result<Self> {
        let name = Path::new(command.get_program()).file_name();
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let log = directory.join(format!("{name}.log"));
        let output = File::options().append(true).create(true).open(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = place.netns().run(|| {
            command
                .spawn()
                .with_context(|| format!("starting `{}`", command::show(&command)))
        })?;
        let guard = Some(leftovers::process(child.id()));
        Ok(Self {
            name,
            log,
            child,
            guard,
        })
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended: {status}", self.name);
        }
        Ok(())
    }

    /// Ends it at once.
    pub(super) fn kill(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if let Some(guard) = self.guard.take() {
            self.child.kill()?;
            self.child.wait()?;
            guard.release();
        }
        Ok(())
    }

    /// The last of what it said.
    pub(super) fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        format!("{} said:\n{}\n", self.name, last.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}
