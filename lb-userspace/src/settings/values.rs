//! What may the value of a setting be? Types that hold only valid values, and parsers whose errors
//! say how to write one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::ValueEnum;
use ipnet::IpNet;
use lb_common::drops::Hook;
use lb_common::limits;

use crate::model::Algorithm;

/// Whose sockets the socket hook serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SocketScope {
    /// Those in the host's network namespace; pods are tc's.
    #[default]
    Host,
    /// Also those of pods.
    All,
    /// None.
    Off,
}

/// Which kind of XDP to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum XdpMode {
    /// In the driver; links whose driver cannot fall to tc.
    #[default]
    Native,
    /// In the stack; works on every link.
    Generic,
}

/// Where NodePorts are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePortAddress {
    /// On the node's primary address of each family.
    Primary,
    /// On the node's addresses in this network.
    In(IpNet),
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port; not 0.
    pub first: u16,
    /// Last port; not before the first.
    pub last: u16,
}

impl PortRange {
    /// The ports.
    #[must_use]
    pub fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Names of links: `*` stands for any characters, `?` for any one character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPattern(String);

impl LinkPattern {
    /// Whether the link of this name is meant.
    #[must_use]
    pub fn matches(&self, link: &str) -> bool {
        matches(self.0.as_bytes(), link.as_bytes())
    }
}

impl fmt::Display for LinkPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LinkPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        link_pattern(text)
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, n)| matches(pattern, n))
        }
        (Some((b'?', pattern)), Some((_, name))) => matches(pattern, name),
        (Some((p, pattern)), Some((n, name))) if p == n => matches(pattern, name),
        _ => false,
    }
}

/// How many elements a map has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSize {
    /// The map's name.
    pub map: &'static str,
    /// Elements, at least one.
    pub elements: u32,
}

/// Maps whose size may be chosen, with the size they have otherwise.
pub const SIZES: &[(&str, u32)] = &[
    ("services", limits::SERVICE_PORTS),
    ("slots", limits::SLOTS),
    ("frontends4", limits::FRONTENDS),
    ("frontends6", limits::FRONTENDS),
    ("frontend_info4", limits::POOLS),
    ("frontend_info6", limits::POOLS),
    ("backends4", limits::BACKENDS),
    ("backends6", limits::BACKENDS),
    ("ranges4", limits::RANGES),
    ("ranges6", limits::RANGES),
    ("nodes4", limits::NODE_ADDRESSES),
    ("nodes6", limits::NODE_ADDRESSES),
    ("fragments4", limits::FRAGMENTS),
    ("fragments6", limits::FRAGMENTS),
    ("flows4", limits::FLOWS),
    ("flows6", limits::FLOWS),
    ("snat4", limits::RESERVATIONS),
    ("snat6", limits::RESERVATIONS),
    ("affinity4", limits::AFFINITIES),
    ("affinity6", limits::AFFINITIES),
    ("sockets4", limits::SOCKETS),
    ("sockets6", limits::SOCKETS),
    ("links", limits::LINKS),
];

/// More elements than this are a slip of the keyboard: the largest value has 192 bytes, which
/// makes 3 GiB.
const MOST_ELEMENTS: u32 = 1 << 24;

/// Longest name of a link (`IFNAMSIZ` without the final zero).
const LINK_NAME: usize = 15;

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.trim().parse().map_err(|_| {
        "not an address: write it as 192.0.2.1 or 2001:db8::1, without a prefix length".to_owned()
    })
}

/// Port of DNS servers.
const DNS_PORT: u16 = 53;

pub(super) fn dns_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let address = match text.parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address, DNS_PORT)),
        Err(_) => text.parse().ok(),
    };
    address.filter(|address| address.port() != 0).ok_or_else(|| {
        "not an address: write it as 192.0.2.1, 192.0.2.1:5353, 2001:db8::1 or [2001:db8::1]:5353"
            .to_owned()
    })
}

pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text
        .trim()
        .parse()
        .map_err(|_| "not a network: write it as 10.42.0.0/16 or fd00:10:42::/56".to_owned())?;
    if network.addr() == network.network() {
        Ok(network)
    } else {
        Err(format!(
            "has bits beyond its prefix length: write {}",
            network.trunc()
        ))
    }
}

pub(super) fn api_server(text: &str) -> Result<http::Uri, String> {
    let uri = text.trim().parse::<http::Uri>().ok();
    let is_usable = |uri: &http::Uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    };
    uri.filter(is_usable)
        .ok_or_else(|| "not a URL: write it as https://192.0.2.1:6443".to_owned())
}

pub(super) fn node_name(text: &str) -> Result<String, String> {
    let name = text.trim().to_lowercase();
    if name.is_empty() {
        Err("is empty: give the name of the Node object, or leave the setting out".to_owned())
    } else {
        Ok(name)
    }
}

pub(super) fn node_port_address(text: &str) -> Result<NodePortAddress, String> {
    if text.trim() == "primary" {
        Ok(NodePortAddress::Primary)
    } else {
        network(text)
            .map(NodePortAddress::In)
            .map_err(|why| format!("{why}, or `primary`"))
    }
}

pub(super) fn port_range(text: &str) -> Result<PortRange, String> {
    let range = text.trim().split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first != 0 && first <= last).then_some(PortRange { first, last })
    });
    range.ok_or_else(|| {
        "not a range of ports: write it as 30000-32767, the smaller port first".to_owned()
    })
}

pub(super) fn algorithm(text: &str) -> Result<Algorithm, String> {
    let text = text.trim();
    let known = Algorithm::NAMES.iter().find(|(name, _)| *name == text);
    known
        .map(|(_, algorithm)| *algorithm)
        .ok_or_else(|| "not known: write random or maglev".to_owned())
}

pub(super) fn link_pattern(text: &str) -> Result<LinkPattern, String> {
    let name = text.trim();
    if name.is_empty() || name.contains(['/', ' ']) {
        Err("not the name of a link: write it as eth0, or as a pattern like veth*".to_owned())
    } else if !name.contains('*') && name.len() > LINK_NAME {
        Err(format!(
            "no link has this name, as they have at most {LINK_NAME} characters: shorten it, or end it with `*`"
        ))
    } else {
        Ok(LinkPattern(name.to_owned()))
    }
}

pub(super) fn hook(text: &str) -> Result<Hook, String> {
    let name = text.trim();
    let hook = Hook::ALL.iter().find(|hook| hook.name() == name);
    hook.copied().ok_or_else(|| {
        let names: Vec<_> = Hook::ALL.iter().map(|hook| hook.name()).collect();
        format!("not a hook: choose from {}", names.join(", "))
    })
}

pub(super) fn map_size(text: &str) -> Result<MapSize, String> {
    let (name, size) = text
        .split_once('=')
        .ok_or("no size: write it as flows4=524288")?;
    let (map, _) = SIZES
        .iter()
        .find(|(map, _)| *map == name.trim())
        .ok_or_else(|| {
            let names: Vec<_> = SIZES.iter().map(|(name, _)| *name).collect();
            format!("not a map: choose from {}", names.join(", "))
        })?;
    let elements = size.trim().parse().ok();
    let elements = elements.filter(|elements| (1..=MOST_ELEMENTS).contains(elements));
    Ok(MapSize {
        map,
        elements: elements
            .ok_or_else(|| format!("not a size: choose a number from 1 to {MOST_ELEMENTS}"))?,
    })
}

/// The host's name in lower case, as kubelet and kube-proxy name the node where nobody says
/// otherwise; empty if the host has none.
#[must_use]
pub fn default_node_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::listen::{healthz_address, metrics_address};
    use super::*;

    #[test]
    fn patterns_of_links() {
        for (pattern, link, expected) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("veth*", "veth1234", true),
            ("veth*", "veth", true),
            ("veth*", "xveth", false),
            ("en?s*", "enp0s3", false),
            ("en*s?", "enp0s3", true),
            ("*", "anything", true),
            ("?", "", false),
        ] {
            let parsed = link_pattern(pattern).expect(pattern);
            assert_eq!(parsed.matches(link), expected, "{pattern} {link}");
        }
    }

    #[test]
    fn errors_say_how_to_write_it() {
        for (error, remedy) in [
            (address("10.0.0.0/8").unwrap_err(), "192.0.2.1"),
            (network("10.42.0.0").unwrap_err(), "10.42.0.0/16"),
            (network("10.42.0.7/16").unwrap_err(), "write 10.42.0.0/16"),
            (port_range("32767-30000").unwrap_err(), "30000-32767"),
            (api_server("192.0.2.1:6443").unwrap_err(), "https://"),
            (port_range("0-7").unwrap_err(), "30000-32767"),
            (dns_address("2001:db8::1:x").unwrap_err(), "[2001:db8::1]"),
            (dns_address("192.0.2.1:0").unwrap_err(), "192.0.2.1:5353"),
            (healthz_address("0.0.0.0:0").unwrap_err(), "`off`"),
            (metrics_address("localhost").unwrap_err(), "[::]:10249"),
            (hook("ipvs").unwrap_err(), "choose from tc, xdp, socket"),
            (node_port_address("all").unwrap_err(), "`primary`"),
            (
                link_pattern("a-very-long-link-name").unwrap_err(),
                "shorten",
            ),
            (map_size("flows=1").unwrap_err(), "flows4"),
            (map_size("flows4=0").unwrap_err(), "from 1"),
        ] {
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn a_node_is_named_in_lower_case() {
        assert_eq!(node_name(" Node-A "), Ok("node-a".to_owned()));
    }
}
