//! Is a field as the API server wants it, and if not, what should be written instead?

use std::net::IpAddr;

use ipnet::IpNet;

use crate::input::findings::Findings;
use crate::model::Protocol;

impl Findings {
    /// An IP address; IPv4 written as IPv6 counts as IPv4.
    pub(super) fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let address = text.parse::<IpAddr>().ok();
        if address.is_none() {
            self.refuse(
                field,
                format!("{text:?} is no IP address; write one like 10.96.0.10 or fd00:96::a"),
            );
        }
        Some(address?.to_canonical())
    }

    /// An IP address that another machine may have.
    pub(super) fn reachable_address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let address = self.address(field, text)?;
        let kind = if address.is_unspecified() {
            "the unspecified address"
        } else if address.is_loopback() {
            "a loopback address"
        } else if is_link_local(address) {
            "a link-local address"
        } else if is_link_local_multicast(address) {
            "a link-local multicast address"
        } else {
            return Some(address);
        };
        self.refuse(
            field,
            format!("{address} is {kind}, which other machines cannot mean; write another one"),
        );
        None
    }

    /// A prefix; bits behind its length do not count.
    pub(super) fn prefix(&mut self, field: &str, text: &str) -> Option<IpNet> {
        let prefix = text.trim().parse::<IpNet>().ok();
        if prefix.is_none() {
            self.refuse(
                field,
                format!("{text:?} is no prefix; write one like 10.96.0.0/16 or fd00:96::/112"),
            );
        }
        Some(prefix?.trunc())
    }

    /// A port, 1 to 65535.
    pub(super) fn port(&mut self, field: &str, number: i32) -> Option<u16> {
        match u16::try_from(number) {
            Ok(port) if port != 0 => Some(port),
            _ => {
                self.refuse(
                    field,
                    format!("{number} is no port; write one from 1 to 65535"),
                );
                None
            }
        }
    }

    /// A transport protocol; none is TCP.
    pub(super) fn protocol(&mut self, field: &str, name: Option<&str>) -> Protocol {
        let known = [
            ("TCP", Protocol::Tcp),
            ("UDP", Protocol::Udp),
            ("SCTP", Protocol::Sctp),
        ];
        self.choice(field, name, &known).unwrap_or_default()
    }

    /// One of the values that a field may have; none if it is not written or none of them.
    pub(super) fn choice<T: Clone>(
        &mut self,
        field: &str,
        text: Option<&str>,
        known: &[(&str, T)],
    ) -> Option<T> {
        let text = text.filter(|text| !text.is_empty())?;
        let found = known.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            self.refuse(
                field,
                format!("{text:?} is not known; write {}", names.join(", ")),
            );
        }
        found.map(|(_, value)| value.clone())
    }

    /// A DNS label.
    pub(super) fn label(&mut self, field: &str, text: &str) {
        if !is_label(text) {
            self.refuse(
                field,
                format!(
                    "{text:?} is no DNS label; write up to 63 of a-z, 0-9 and -, the first and \
                     last not -"
                ),
            );
        }
    }
}

/// Whether a text is a DNS label (RFC 1123).
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a text names a container port (IANA service name, RFC 6335).
pub(super) fn is_port_name(text: &str) -> bool {
    is_label(text)
        && text.len() <= 15
        && !text.contains("--")
        && text.bytes().any(|b| b.is_ascii_lowercase())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(address) => address.segments()[0] == 0xff02,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_no_other_machine_are_refused() {
        for (text, fine) in [
            ("10.42.0.10", true),
            ("fd00::1", true),
            ("::ffff:10.42.0.10", true),
            ("0.0.0.0", false),
            ("127.0.0.1", false),
            ("::1", false),
            ("169.254.0.1", false),
            ("fe80::1", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            ("010.42.0.10", false),
            ("kubia", false),
        ] {
            let mut findings = Findings::default();
            let address = findings.reachable_address("ip", text);
            assert_eq!(address.is_some(), fine, "{text}");
            assert_eq!(findings.refusals.is_empty(), fine, "{text}");
        }
    }

    #[test]
    fn ports_have_16_bits_and_are_not_zero() {
        let mut findings = Findings::default();
        assert_eq!(findings.port("port", 65_535), Some(65_535));
        for number in [0, -1, 65_536] {
            assert_eq!(findings.port("port", number), None);
        }
        assert_eq!(findings.refusals.len(), 3);
    }

    #[test]
    fn container_ports_have_short_names_with_a_letter() {
        for (name, fine) in [
            ("http", true),
            ("p-8080", true),
            ("8080", false),
            ("a--b", false),
            ("Http", false),
            ("a-name-that-is-long", false),
        ] {
            assert_eq!(is_port_name(name), fine, "{name}");
        }
    }
}
