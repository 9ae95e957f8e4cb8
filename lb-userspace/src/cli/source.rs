//! Where do answers come from? The pinned maps, and the state file for what maps do not hold; both
//! are there with the daemon down.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

use super::error::CliError;
use super::view::{Clock, age};
use crate::dataplane::Dataplane;
use crate::dataplane::kernel::{FlowEntry, KernelFamily, KernelTables};
use crate::settings::Settings;
use crate::state::{self, State, StateError};
use crate::tables::Tables;

/// The maps and the state of one node.
#[derive(Debug)]
pub struct Source {
    pin_dir: PathBuf,
    kernel: KernelTables,
    state: Result<State, StateError>,
    daemon: Option<u32>,
}

impl Source {
    /// Opens the maps and reads the state file.
    ///
    /// # Errors
    /// Maps that cannot be opened; without a state file there is less to tell, which is no error.
    pub fn open(settings: &Settings) -> Result<Self, CliError> {
        Ok(Self {
            pin_dir: settings.pin_dir.clone(),
            kernel: KernelTables::open(&settings.pin_dir)?,
            state: State::read(&settings.state_file()),
            daemon: state::holder(&settings.state_file()),
        })
    }

    /// The maps.
    #[must_use]
    pub fn kernel(&self) -> &KernelTables {
        &self.kernel
    }

    /// What the maps hold.
    ///
    /// # Errors
    /// Maps that cannot be read.
    pub fn tables(&self) -> Result<Tables, CliError> {
        Ok(self.kernel.read()?)
    }

    /// What the daemon wrote, if it did.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref().ok()
    }

    /// The daemon's process id, if it runs.
    #[must_use]
    pub fn daemon(&self) -> Option<u32> {
        self.daemon
    }

    /// Whether programs are attached to sockets.
    #[must_use]
    pub fn serves_sockets(&self) -> bool {
        self.pin_dir.join("attached/cgroup-connect4").exists()
    }

    /// Entries of the flow table of one family, in no order.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn flows<A: KernelFamily>(&self) -> Result<Vec<FlowEntry<A>>, CliError> {
        Ok(A::maps(&self.kernel).flows(usize::MAX)?)
    }

    /// The clock that flows are dated by; none before the first daemon has written how fast it is.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn clock(&self) -> Result<Option<Clock>, CliError> {
        let hz = self.kernel.config()?.hz;
        let uptime = clock_gettime(ClockId::CLOCK_MONOTONIC).ok();
        let uptime = uptime.filter(|_| hz != 0).map(Duration::from);
        Ok(uptime.map(|uptime| Clock::at(uptime, hz)))
    }

    /// What people should know about the answer's age.
    #[must_use]
    pub fn remark(&self) -> Option<String> {
        remark(&self.state, self.daemon.is_some(), SystemTime::now())
    }
}

/// What people should know about an answer from this state.
#[must_use]
pub fn remark(
    state: &Result<State, StateError>,
    is_running: bool,
    now: SystemTime,
) -> Option<String> {
    match (state, is_running) {
        (Ok(_), true) => None,
        (Ok(state), false) => Some(format!(
            "`lb run` is not running: problems and the names of targets are {} old",
            age(state.age(now))
        )),
        (Err(StateError::Missing(_)), false) => Some(
            "`lb run` is not running, and left no state file: problems and the names of targets are not known"
                .to_owned(),
        ),
        (Err(error), _) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_old_it_is_unless_the_daemon_runs() {
        let state = State {
            written_at_millis: 1_000,
            ..State::default()
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(301);
        assert_eq!(remark(&Ok(state.clone()), true, now), None);
        let old = remark(&Ok(state), false, now).expect("a remark");
        assert!(
            old.contains("not running") && old.ends_with("5m old"),
            "{old}"
        );
        let missing = Err(StateError::Missing("/run/lb.json".into()));
        let missing = remark(&missing, false, now).expect("a remark");
        assert!(missing.contains("no state file"), "{missing}");
    }
}
