//! Where does `lb` run in these tests, and what did it answer?

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A place where no `lb run` has ever been; goes with its guard.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file there and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    }

    /// Runs `lb` there.
    pub(crate) fn lb(&self, arguments: &[&str]) -> Answer {
        self.lb_with(arguments, &[])
    }

    pub(crate) fn lb_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_lb"))
            .args(arguments)
            .env("LB_PIN_DIR", self.0.join("pins"))
            .env("LB_STATE_DIR", self.0.join("state"))
            .envs(environment.iter().copied())
            .output()
            .expect("lb runs");
        Answer(output)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What `lb` answered.
#[derive(Debug)]
pub(crate) struct Answer(Output);

impl Answer {
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.0.status.code(), Some(code), "{self:?}");
        self
    }

    pub(crate) fn says(self, text: &str) -> Self {
        assert!(stdout(&self.0).contains(text), "{self:?}");
        self
    }

    /// Standard output, as JSON.
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&stdout(&self.0)).expect("JSON")
    }

    pub(crate) fn says_nothing(self) -> Self {
        assert_eq!(stdout(&self.0), "", "{self:?}");
        self
    }

    pub(crate) fn remarks(self, text: &str) -> Self {
        let stderr = String::from_utf8_lossy(&self.0.stderr);
        assert!(stderr.contains(text), "{self:?}");
        self
    }
}

fn stdout(output: &Output) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&output.stdout)
}
