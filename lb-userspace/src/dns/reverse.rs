//! Which address does a name under `in-addr.arpa` or `ip6.arpa` stand for?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;
use ipnet::IpNet;

/// Labels that every such name ends with.
const SUFFIX: usize = 2;

/// The address that a whole name stands for.
pub(super) fn address(name: &Name) -> Option<IpAddr> {
    let labels: Vec<_> = name
        .iter()
        .map(|label| String::from_utf8_lossy(label).to_lowercase())
        .collect();
    let (digits, suffix) = labels.split_at(labels.len().checked_sub(SUFFIX)?);
    let digits = digits.iter().rev();
    match (suffix[0].as_str(), suffix[1].as_str()) {
        ("in-addr", "arpa") => {
            let octets: Option<Vec<u8>> = digits.map(|digit| octet(digit)).collect();
            let octets: [u8; 4] = octets?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        ("ip6", "arpa") => {
            let nibbles: Option<Vec<u8>> = digits.map(|digit| nibble(digit)).collect();
            let nibbles: [u8; 32] = nibbles?.try_into().ok()?;
            let address = nibbles.iter().fold(0, |address: u128, nibble| {
                address << 4 | u128::from(*nibble)
            });
            Some(Ipv6Addr::from(address).into())
        }
        _ => None,
    }
}

/// One way of writing each number: no sign, no leading zero.
fn octet(text: &str) -> Option<u8> {
    let octet: u8 = text.parse().ok()?;
    (octet.to_string() == text).then_some(octet)
}

fn nibble(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [digit] => char::from(*digit).to_digit(16).map(|digit| digit as u8),
        _ => None,
    }
}

/// The top of the zone that an address is in: that of the prefix, cut at a dot, else of all
/// addresses of the family.
pub(super) fn apex(address: IpAddr, cidr: Option<&IpNet>) -> Name {
    let bits = usize::from(cidr.map_or(0, IpNet::prefix_len));
    let bits_per_label = if address.is_ipv4() { 8 } else { 4 };
    Name::from(address).trim_to(SUFFIX + bits / bits_per_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addresses() {
        let whole = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.IP6.arpa.";
        for (name, expected) in [
            ("39.165.43.10.in-addr.arpa.", Some("10.43.165.39")),
            ("39.165.43.10.IN-ADDR.ARPA.", Some("10.43.165.39")),
            (whole, Some("2001:db8::1")),
            ("43.10.in-addr.arpa.", None),
            ("0.39.165.43.10.in-addr.arpa.", None),
            ("039.165.43.10.in-addr.arpa.", None),
            ("9a.165.43.10.in-addr.arpa.", None),
            ("256.165.43.10.in-addr.arpa.", None),
            ("8.b.d.0.1.0.0.2.ip6.arpa.", None),
            ("arpa.", None),
            (".", None),
            ("39.165.43.10.example.com.", None),
        ] {
            let parsed = Name::from_ascii(name).unwrap();
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(address(&parsed), expected, "{name}");
        }
    }

    #[test]
    fn a_prefix_is_cut_at_a_dot() {
        for (address, cidr, expected) in [
            ("10.43.165.39", Some("10.43.0.0/16"), "43.10.in-addr.arpa."),
            ("10.96.1.1", Some("10.96.0.0/12"), "10.in-addr.arpa."),
            ("10.42.0.10", None, "in-addr.arpa."),
            ("fd00::1", Some("fd00::/14"), "0.d.f.ip6.arpa."),
        ] {
            let cidr = cidr.map(|text| text.parse().unwrap());
            let apex = apex(address.parse().unwrap(), cidr.as_ref());
            assert_eq!(apex.to_string(), expected);
        }
    }
}
