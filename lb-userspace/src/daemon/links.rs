//! Which links and addresses are there, and which of them just changed?

use std::collections::BTreeSet;

use super::DaemonError;
use super::node::LinkAddresses;
use crate::netlink::facts::Effect;
use crate::netlink::{Facts, Monitor, Netlink, News};

/// What the kernel says of links and addresses, kept up to date.
pub(super) struct Links {
    netlink: Netlink,
    monitor: Monitor,
    /// What there is now.
    pub(super) facts: Facts,
}

impl Links {
    /// Listens first and asks then, so that nothing is missed between the two.
    pub(super) fn follow() -> Result<Self, DaemonError> {
        let monitor = Monitor::new().map_err(DaemonError::Netlink)?;
        let mut netlink = Netlink::connect().map_err(DaemonError::Netlink)?;
        let facts = Facts::ask(&mut netlink).map_err(DaemonError::Netlink)?;
        Ok(Self {
            netlink,
            monitor,
            facts,
        })
    }

    /// Waits until something changed.
    pub(super) async fn next(&mut self) -> Result<Heard, DaemonError> {
        let mut heard = Heard::default();
        match self.monitor.next().await.map_err(DaemonError::Netlink)? {
            News::Changes(changes) => {
                for change in &changes {
                    heard.note(self.facts.apply(change));
                }
            }
            News::Lost => {
                self.facts = Facts::ask(&mut self.netlink).map_err(DaemonError::Netlink)?;
                heard.links = true;
                heard.filters.extend(self.facts.links.keys());
            }
        }
        if heard.routes {
            heard.links |= self
                .facts
                .ask_routes(&mut self.netlink)
                .map_err(DaemonError::Netlink)?;
        }
        Ok(heard)
    }

    /// The addresses that matter.
    pub(super) fn addresses(&self) -> LinkAddresses {
        let mut addresses = LinkAddresses::default();
        for (ifindex, link) in &self.facts.links {
            if link.loopback {
                continue;
            }
            let mut own: Vec<_> = link
                .addresses
                .iter()
                .filter(|address| address.global)
                .collect();
            own.sort_by_key(|address| !address.preferred);
            addresses.all.extend(own.iter().map(|address| address.ip));
            if self.facts.default_routes.contains(ifindex) {
                addresses
                    .primary
                    .extend(own.iter().map(|address| address.ip));
            }
        }
        addresses
    }
}

/// What changed, of all that may.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Links or addresses.
    links: bool,
    /// Perhaps default routes.
    routes: bool,
    /// Filters of these links.
    pub(super) filters: BTreeSet<u32>,
}

impl Heard {
    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Filters(link) => {
                self.filters.insert(link);
            }
            Effect::Links => self.links = true,
            Effect::Routes => {
                self.links = true;
                self.routes = true;
            }
        }
    }

    pub(super) fn is_news(&self) -> bool {
        self.links || !self.filters.is_empty()
    }
}
