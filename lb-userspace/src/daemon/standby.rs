//! Who serves what begins: this daemon, or a kube-proxy that is here, too? Its rules are looked for
//! now and then, as they may come and go.

use std::io;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::loader::kube_proxy::{Leftover, leftovers};
use crate::netlink::Facts;
use crate::settings::Settings;
use crate::state::Wish;

/// Between two looks at the rules: there may be many of them.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is known of who else serves.
#[derive(Debug)]
pub(super) struct Standby {
    wish: Option<Wish>,
    /// A kube-proxy's rules; none before it is known.
    rules: Option<Vec<Leftover>>,
    /// Why the last look did not tell.
    failure: Option<String>,
    looked_at: Instant,
}

impl Standby {
    pub(super) fn look(settings: &Settings, links: &Facts) -> Self {
        let mut standby = Self::unknown(Wish::read(&settings.state_file()));
        standby.saw(leftovers(links));
        if standby.is_beside_kube_proxy() {
            standby.say(settings);
        }
        standby
    }

    /// Until it is known: to pass what may be somebody else's, and to begin nothing if it is so wished.
    fn unknown(wish: Option<Wish>) -> Self {
        Self {
            wish,
            rules: None,
            failure: None,
            looked_at: Instant::now(),
        }
    }

    /// Looks again if it is time to, or something else is wished for; whether anything changed.
    pub(super) fn look_again(&mut self, settings: &Settings, links: &Facts) -> bool {
        let wish = Wish::read(&settings.state_file());
        if wish == self.wish && self.looked_at.elapsed() < LOOK_EVERY {
            return false;
        }
        let before = (self.is_on(settings), self.is_beside_kube_proxy());
        self.wish = wish;
        self.saw(leftovers(links));
        self.looked_at = Instant::now();
        let has_changed = before != (self.is_on(settings), self.is_beside_kube_proxy());
        if has_changed {
            self.say(settings);
        }
        has_changed
    }

    /// A look that tells nothing changes nothing: rules that are still there would go on as nobody's.
    fn saw(&mut self, found: io::Result<Vec<Leftover>>) {
        match found {
            Ok(found) => {
                self.rules = Some(found);
                self.failure = None;
            }
            Err(error) => {
                let error = error.to_string();
                if self.failure.as_ref() != Some(&error) {
                    let so_far = if self.is_beside_kube_proxy() {
                        "here"
                    } else {
                        "not here"
                    };
                    warn!(%error, "kube-proxy's rules cannot be looked for; taken for {so_far}");
                }
                self.failure = Some(error);
            }
        }
    }

    /// Whether a kube-proxy may know connections that we do not.
    pub(super) fn is_beside_kube_proxy(&self) -> bool {
        self.rules.as_ref().is_none_or(|rules| !rules.is_empty())
    }

    /// Whether what begins is a kube-proxy's. Without its rules nobody else would serve.
    pub(super) fn is_on(&self, settings: &Settings) -> bool {
        let wish = self.wish.map(|wish| wish == Wish::StandBy);
        self.is_beside_kube_proxy() && wish.unwrap_or(settings.standby)
    }

    fn say(&self, settings: &Settings) {
        if self.is_on(settings) {
            info!("standing by: kube-proxy's rules serve what begins, until `lb takeover`");
        } else if self.is_beside_kube_proxy() {
            info!("serving beside kube-proxy's rules: what they translated before passes");
            for found in self.rules.iter().flatten() {
                warn!(remedy = found.remedy(), "kube-proxy left {found}");
            }
        } else {
            info!("serving: kube-proxy's rules are not here");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> io::Result<Vec<Leftover>> {
        Err(io::ErrorKind::Interrupted.into())
    }

    #[test]
    fn a_look_that_fails_changes_nothing() {
        let mut standby = Standby::unknown(None);
        standby.saw(failed());
        assert!(standby.is_beside_kube_proxy());
        standby.saw(Ok(Vec::new()));
        standby.saw(failed());
        assert!(!standby.is_beside_kube_proxy() && standby.failure.is_some());
        standby.saw(Ok(vec![Leftover::Nftables(3)]));
        assert!(standby.failure.is_none());
        standby.saw(failed());
        assert!(standby.is_beside_kube_proxy());
    }
}
