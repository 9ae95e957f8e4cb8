//! Which address has a Service's name? Where there is no cluster whose own DNS knows, this one
//! answers.
//!
//! `records` says which names a Service has, `zone` keeps those of all of them, `answer` decides
//! about a question; all three are pure. `message` reads and writes messages, `responder` knows
//! whether others are to be asked, `upstream` asks them, `server` listens.

mod answer;
mod domain;
mod message;
mod records;
mod responder;
mod reverse;
mod server;
#[cfg(test)]
mod tests;
mod udp;
mod upstream;
mod zone;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

pub use answer::{Answer, answer};
pub use domain::{DEFAULT_DOMAIN, Domain};
pub use message::Transport;
pub use responder::Responder;
pub use server::Server;
pub use upstream::Upstream;
pub use zone::{TTL, Zone};

use crate::model::{Change, ObjectName, World};

/// What the server knows, shared between who follows the changes and who answers.
#[derive(Clone, Debug)]
pub struct Directory(Arc<RwLock<Zone>>);

impl Directory {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(domain: Domain) -> Self {
        Self(Arc::new(RwLock::new(Zone::new(domain))))
    }

    /// The Services whose names these changes of the world may alter, before it is changed.
    #[must_use]
    pub fn touched(world: &World, changes: &[Change]) -> BTreeSet<ObjectName> {
        let named = changes
            .iter()
            .filter(|change| !matches!(change, Change::Node(_)));
        named.flat_map(|change| world.touched_by(change)).collect()
    }

    /// Names these Services as the world is now; questions wait only while names are exchanged.
    pub fn update(&self, world: &World, touched: &BTreeSet<ObjectName>) {
        let nothing = records::Records::default();
        let renamed: Vec<_> = touched
            .iter()
            .map(|name| match world.service(name) {
                Some(service) => (name, records::records(service, world.slices(name))),
                None => (name, nothing.clone()),
            })
            .collect();
        let mut zone = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (name, records) in renamed {
            zone.set(name, records);
        }
        zone.set_service_cidrs(&world.node().service_cidrs);
    }

    /// Every Service is known now, so that other names can be said not to exist.
    pub fn complete(&self) {
        let mut zone = self.0.write().unwrap_or_else(PoisonError::into_inner);
        zone.set_complete();
    }

    /// Looks something up.
    pub fn read<R>(&self, look_up: impl FnOnce(&Zone) -> R) -> R {
        look_up(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
