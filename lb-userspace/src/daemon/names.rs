//! Who tells DNS what changes, and when does it begin to answer?

use std::collections::BTreeSet;
use std::future::pending;

use crate::dns::{Directory, Responder, Server, Upstream};
use crate::model::{Change, ObjectName, Problem, World};
use crate::settings::Settings;

/// DNS, if the settings ask for it.
pub(super) struct Names<'s> {
    settings: &'s Settings,
    directory: Directory,
    /// None until the first list: until then nothing is known.
    server: Option<Server>,
}

impl<'s> Names<'s> {
    /// Nothing is known, and nobody is answered.
    pub(super) fn new(settings: &'s Settings) -> Self {
        Self {
            settings,
            directory: Directory::new(settings.cluster_domain.clone()),
            server: None,
        }
    }

    /// The Services whose names these changes may alter, before the world is changed.
    pub(super) fn touched(&self, world: &World, changes: &[Change]) -> BTreeSet<ObjectName> {
        if self.is_wanted() {
            Directory::touched(world, changes)
        } else {
            [].into()
        }
    }

    /// Follows the world; clients are answered, and once it is `complete`, other names are said not to
    /// exist.
    pub(super) fn follow(&mut self, world: &World, touched: &BTreeSet<ObjectName>, complete: bool) {
        if !self.is_wanted() {
            return;
        }
        self.directory.update(world, touched);
        if complete {
            self.directory.complete();
        }
        if self.server.is_none() {
            let upstream = Upstream::new(self.settings.dns_upstream.clone());
            let responder = Responder::new(self.directory.clone(), upstream);
            self.server = Some(Server::start(&self.settings.dns_listen, &responder));
        }
    }

    /// Waits until an address is listened on, or no longer.
    pub(super) async fn changed(&mut self) {
        match &mut self.server {
            Some(server) => server.changed().await,
            None => pending().await,
        }
    }

    /// The addresses that are not listened on.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let server = self.server.as_ref();
        server.map_or_else(Vec::new, |server| {
            server.problems(&self.settings.node_name())
        })
    }

    fn is_wanted(&self) -> bool {
        !self.settings.dns_listen.is_empty()
    }
}
