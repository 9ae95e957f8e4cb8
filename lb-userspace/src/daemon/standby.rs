//! Who serves what begins: this daemon, or a kube-proxy that is here, too? Its rules are looked for
//! now and then, as they may come and go.

use std::time::{Duration, Instant};

use tracing::info;

use crate::loader::kube_proxy::leftovers;
use crate::netlink::Facts;
use crate::settings::Settings;
use crate::state::Wish;

/// Between two looks at the rules: there may be many of them.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is known of who else serves.
#[derive(Debug)]
pub(super) struct Standby {
    wish: Option<Wish>,
    /// Whether a kube-proxy's rules are here.
    has_rules: bool,
    looked_at: Instant,
}

impl Standby {
    pub(super) fn look(settings: &Settings, links: &Facts) -> Self {
        let standby = Self {
            wish: Wish::read(&settings.state_file()),
            has_rules: !leftovers(links).is_empty(),
            looked_at: Instant::now(),
        };
        if standby.has_rules {
            standby.say(settings);
        }
        standby
    }

    /// Looks again if it is time to, or something else is wished for; whether anything changed.
    pub(super) fn look_again(&mut self, settings: &Settings, links: &Facts) -> bool {
        let wish = Wish::read(&settings.state_file());
        if wish == self.wish && self.looked_at.elapsed() < LOOK_EVERY {
            return false;
        }
        let before = (self.is_on(settings), self.has_rules);
        self.wish = wish;
        self.has_rules = !leftovers(links).is_empty();
        self.looked_at = Instant::now();
        let has_changed = before != (self.is_on(settings), self.has_rules);
        if has_changed {
            self.say(settings);
        }
        has_changed
    }

    /// Whether a kube-proxy may know connections that we do not.
    pub(super) const fn is_beside_kube_proxy(&self) -> bool {
        self.has_rules
    }

    /// Whether what begins is a kube-proxy's. Without its rules nobody else would serve.
    pub(super) fn is_on(&self, settings: &Settings) -> bool {
        let wish = self.wish.map(|wish| wish == Wish::StandBy);
        self.has_rules && wish.unwrap_or(settings.standby)
    }

    fn say(&self, settings: &Settings) {
        if self.is_on(settings) {
            info!("standing by: kube-proxy's rules serve what begins, until `lb takeover`");
        } else if self.has_rules {
            info!("serving beside kube-proxy's rules: what they translated before passes");
        } else {
            info!("serving: kube-proxy's rules are not here");
        }
    }
}
