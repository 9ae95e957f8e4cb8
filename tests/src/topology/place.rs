//! What is a place? Somewhere a process can be: a node, a pod, outside.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::addresses::{Family, Pair};
use crate::netns::Netns;

/// Somewhere a process can be, with its addresses. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Place {
    netns: Arc<Netns>,
    addresses: Pair,
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

    /// A socket of the place.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn socket(&self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> Result<Socket> {
        self.netns.run(|| {
            Socket::new(domain, kind, protocol)
                .with_context(|| format!("cannot open a socket in {}", self.name()))
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
