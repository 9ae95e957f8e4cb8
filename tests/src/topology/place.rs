//! What is a place? Somewhere a process can be: a node, a pod, outside.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::addresses::{Family, Pair};
use crate::netns::Netns;
use crate::peer::ping;
use crate::sockets::Sockets;
use crate::wait;

/// A new link is ready within this time.
const CONTACT: Duration = Duration::from_secs(5);
/// A ping over links that are ready takes far less.
const REPLY: Duration = Duration::from_millis(30);

/// Somewhere a process can be, with its addresses. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Place {
    netns: Arc<Netns>,
    addresses: Pair,
    /// Who opens its sockets, if not this process.
    sockets: Option<Arc<Sockets>>,
}

impl Place {
    /// A place in a namespace of its own; `name` is shown when a test fails.
    ///
    /// # Errors
    /// As [`Netns::new`].
    pub fn new(name: &str, addresses: Pair) -> Result<Self> {
        Ok(Self {
            netns: Arc::new(Netns::new(name)?),
            addresses,
            sockets: None,
        })
    }

    /// The same place with its sockets in a cgroup, until the last clone is gone.
    ///
    /// # Errors
    /// As [`Sockets::start`].
    pub fn in_cgroup(&self, cgroup: &Path) -> Result<Self> {
        Ok(Self {
            sockets: Some(Arc::new(Sockets::start(&self.netns, cgroup)?)),
            ..self.clone()
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.netns.name()
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its (first) address of the family.
    #[must_use]
    pub const fn address(&self, family: Family) -> IpAddr {
        self.addresses.of(family)
    }

    /// Waits until the other place answers a ping. A link that has just come up drops packets for
    /// some milliseconds, and a lost SYN would cost its client a second.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn await_contact(&self, other: &Self) -> Result<()> {
        for family in Family::ALL {
            let to = other.address(family);
            wait::until(&format!("{self} reaches {other}"), CONTACT, || {
                ping(self, to, REPLY)
            })?;
        }
        Ok(())
    }

    /// A socket of the place.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn socket(&self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> Result<Socket> {
        let opened = match &self.sockets {
            Some(sockets) => sockets.open(domain, kind, protocol),
            None => self.netns.run(|| Ok(Socket::new(domain, kind, protocol)?)),
        };
        opened.with_context(|| format!("cannot open a socket in {}", self.name()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
