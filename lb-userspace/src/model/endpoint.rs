//! What is known of an endpoint? In little memory: a big cluster has a hundred thousand of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Deref;

use super::Word;

/// Largest weight of an endpoint. A pool may have as many slots for each of its backends.
pub const WEIGHT_MAX: u32 = 100;

/// An endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address (the first one, as in kube-proxy).
    pub address: IpAddr,
    /// `conditions.ready`; nil counts as ready.
    pub ready: bool,
    /// `conditions.serving`; nil counts as `ready`.
    pub serving: bool,
    /// `conditions.terminating`; nil counts as not.
    pub terminating: bool,
    /// Its share of new flows among the others' (annotation `lb/weight` of its slice), 1 to
    /// [`WEIGHT_MAX`].
    pub weight: u32,
    /// Name of its node.
    pub node: Option<Word>,
    /// `Kind/name` of what stands behind it (`targetRef`), for display.
    pub target: Option<Word>,
    /// The rest.
    pub extras: Extras,
}

impl Endpoint {
    /// One that is ready, of which nothing but its address is known.
    #[must_use]
    pub const fn at(address: IpAddr) -> Self {
        Self {
            address,
            ready: true,
            serving: true,
            terminating: false,
            weight: 1,
            node: None,
            target: None,
            extras: Extras(None),
        }
    }
}

/// What hardly any endpoint says of itself: made `from` [`Extra`], read as such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras(Option<Box<Extra>>);

/// What an endpoint may say of itself besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// `hostname`: its name below that of a headless Service; none = DNS names it by its address.
    pub hostname: Option<String>,
    /// `hints.forZones`.
    pub zone_hints: BTreeSet<String>,
    /// `hints.forNodes`.
    pub node_hints: BTreeSet<String>,
    /// Since when its Pod is ready, or is not (RFC 3339), for display; none = nobody says.
    pub since: Option<String>,
}

static NOTHING: Extra = Extra {
    hostname: None,
    zone_hints: BTreeSet::new(),
    node_hints: BTreeSet::new(),
    since: None,
};

impl From<Extra> for Extras {
    fn from(extra: Extra) -> Self {
        Self((extra != NOTHING).then(|| extra.into()))
    }
}

impl Deref for Extras {
    type Target = Extra;

    fn deref(&self) -> &Extra {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_small_and_says_what_it_was_given() {
        assert!(size_of::<Endpoint>() <= 64);
        let plain = Endpoint::at([10, 42, 0, 7].into());
        assert_eq!(plain.extras, Extra::default().into());
        assert_eq!(plain.extras.hostname, None);
        let extra = Extra {
            hostname: Some("db-0".to_owned()),
            ..Extra::default()
        };
        assert_eq!(Extras::from(extra.clone()).hostname, extra.hostname);
    }
}
