//! Where are health checks and metrics answered? On an address with or without a port, or nowhere.

use std::net::{IpAddr, SocketAddr};

/// Where questions over HTTP are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// On this address.
    At(SocketAddr),
}

impl Listen {
    /// The address, if there is one.
    #[must_use]
    pub const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

/// kube-proxy's port for health checks of the node.
const HEALTHZ_PORT: u16 = 10_256;
/// kube-proxy's port for metrics.
const METRICS_PORT: u16 = 10_249;

pub(super) fn healthz_address(text: &str) -> Result<Listen, String> {
    listen(text, HEALTHZ_PORT)
}

pub(super) fn metrics_address(text: &str) -> Result<Listen, String> {
    listen(text, METRICS_PORT)
}

/// An address with a port or without; as in kube-proxy nothing switches it off.
fn listen(text: &str, port: u16) -> Result<Listen, String> {
    let text = text.trim();
    if text.is_empty() || text == "off" {
        return Ok(Listen::Off);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address, port)),
        Err(_) => text.parse().ok(),
    };
    address
        .filter(|address| address.port() != 0)
        .map(Listen::At)
        .ok_or_else(|| {
            format!("not an address: write it as 0.0.0.0, 0.0.0.0:{port} or [::]:{port}, or `off`")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_proxys_port_is_meant_where_none_is_given() {
        let at = |text: &str| Listen::At(text.parse().expect("an address"));
        for (text, expected) in [
            ("0.0.0.0", at("0.0.0.0:10256")),
            ("::", at("[::]:10256")),
            ("[::]", at("[::]:10256")),
            ("127.0.0.1:7", at("127.0.0.1:7")),
            ("[::1]:7", at("[::1]:7")),
            ("", Listen::Off),
            ("off", Listen::Off),
        ] {
            assert_eq!(healthz_address(text), Ok(expected), "{text}");
        }
        assert_eq!(metrics_address("::1"), Ok(at("[::1]:10249")));
    }
}
