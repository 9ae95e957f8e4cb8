//! What follows from several settings, or from one that was left out?

use std::path::PathBuf;

use lb_common::drops::Hook;
use lb_common::flow::Stage;
use lb_common::names;

use super::{NodePortAddress, Settings, SettingsError, SocketScope, TIMEOUTS, default_node_name};

impl Settings {
    /// Checks what no value shows alone.
    ///
    /// # Errors
    /// [`SettingsError::Conflict`] names the settings that contradict each other.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.nodeport_addresses.len() > 1
            && self.nodeport_addresses.contains(&NodePortAddress::Primary)
        {
            return Err(SettingsError::Conflict(
                "--nodeport-addresses: `primary` stands alone: remove it, or remove the networks",
            ));
        }
        if self.nodeport_localhost && self.socket_scope() == SocketScope::Off {
            return Err(SettingsError::Conflict(
                "--nodeport-localhost: is served by the socket hook: add socket to --hooks, or remove the flag",
            ));
        }
        let is_own = |address| self.dns_listen.contains(address);
        if self.dns_upstream.iter().any(is_own) {
            return Err(SettingsError::Conflict(
                "--dns-upstream: is an address of --dns-listen, so questions would go in a circle: name another server",
            ));
        }
        Ok(())
    }

    /// The name that the Node object has: what was given, else the host's, as kube-proxy has it.
    #[must_use]
    pub fn node_name(&self) -> String {
        self.node_name.clone().unwrap_or_else(default_node_name)
    }

    /// Whose sockets are served; off where the socket hook is not among the hooks.
    #[must_use]
    pub fn socket_scope(&self) -> SocketScope {
        if self.hooks.contains(&Hook::Socket) {
            self.socket
        } else {
            SocketScope::Off
        }
    }

    /// Elements that the map of this name shall have room for, if the user said so.
    #[must_use]
    pub fn size_of(&self, map: &str) -> Option<u32> {
        self.maps
            .iter()
            .rev()
            .find(|size| size.map == map)
            .map(|size| size.elements)
    }

    /// Seconds without a packet after which a connection at this stage is forgotten.
    #[must_use]
    pub fn timeout_of(&self, stage: Stage) -> u32 {
        let kind = TIMEOUTS.iter().find(|kind| kind.stage == stage);
        // Every stage has one, as the tests of the list say.
        kind.map_or(u32::MAX, |kind| {
            let mut chosen = self.timeouts.iter().rev();
            let chosen = chosen.find(|timeout| timeout.stage == kind.name);
            chosen.map_or(kind.seconds, |timeout| timeout.seconds)
        })
    }

    /// The state file: named after the pin directory, as there is one instance for each.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        let name = self
            .pin_dir
            .file_name()
            .unwrap_or(names::NAME.as_ref())
            .to_string_lossy();
        self.state_dir.join(format!("{name}.json"))
    }
}
