//! How do people write down a flow? `10.42.0.9:40000 10.43.165.39:80/tcp`.

use std::net::{IpAddr, SocketAddr};

use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::decide::{SCTP, TCP, UDP};

/// A flow, asked about before its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub source: IpAddr,
    /// The client's port; none = any.
    pub source_port: Option<u16>,
    /// Whom it dials; of the source's family.
    pub destination: IpAddr,
    /// The port that it dials; 0 where the protocol has none.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// Why a text is no question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// One side cannot be read.
    #[error("{side}: {text:?} is {wrong}; write {example}")]
    Side {
        /// `source` or `destination`.
        side: &'static str,
        /// What was written.
        text: String,
        /// What it is instead.
        wrong: &'static str,
        /// How to write it.
        example: &'static str,
    },
    /// The protocol is not known.
    #[error("protocol: {0:?} is not known; write tcp, udp, sctp or icmp")]
    Protocol(String),
    /// Two protocols.
    #[error("the destination says /{written}, --protocol says {flag}; leave one of them out")]
    TwoProtocols {
        /// Behind the destination.
        written: String,
        /// By flag.
        flag: String,
    },
    /// An address of each family.
    #[error(
        "source {source_address} and destination {destination} are of different families; a flow has one: write both as IPv4 or both as IPv6"
    )]
    Families {
        /// Who asks.
        source_address: IpAddr,
        /// Whom it dials.
        destination: IpAddr,
    },
}

const SOURCE_EXAMPLE: &str = "10.42.0.9, 10.42.0.9:40000 or [fd00::9]:40000";
const DESTINATION_EXAMPLE: &str = "10.43.165.39:80, [fd00::80]:53/udp or 10.43.165.39/icmp";

impl Question {
    /// Reads both sides; the protocol stands behind the destination or in `protocol`, else it is
    /// TCP.
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn parse(
        source: &str,
        destination: &str,
        protocol: Option<&str>,
    ) -> Result<Self, QuestionError> {
        let (destination_text, written) = match destination.rsplit_once('/') {
            Some((text, written)) => (text, Some(written)),
            None => (destination, None),
        };
        let name = match (written, protocol) {
            (Some(written), Some(flag)) if !written.eq_ignore_ascii_case(flag) => {
                return Err(QuestionError::TwoProtocols {
                    written: written.to_owned(),
                    flag: flag.to_owned(),
                });
            }
            (written, flag) => written.or(flag).unwrap_or("tcp"),
        };
        let wrong = |side, text: &str, wrong, example| QuestionError::Side {
            side,
            text: text.to_owned(),
            wrong,
            example,
        };
        let (source, source_port) = address_and_port(source)
            .ok_or_else(|| wrong("source", source, "no address", SOURCE_EXAMPLE))?;
        let of_destination = |what| wrong("destination", destination, what, DESTINATION_EXAMPLE);
        let (to, to_port) =
            address_and_port(destination_text).ok_or_else(|| of_destination("no address"))?;
        if source.is_ipv4() != to.is_ipv4() {
            return Err(QuestionError::Families {
                source_address: source,
                destination: to,
            });
        }
        let protocol = number(name, to)?;
        let destination_port = match to_port {
            Some(port) => port,
            None if has_ports(protocol) => return Err(of_destination("without a port")),
            None => 0,
        };
        Ok(Self {
            source,
            source_port: source_port.filter(|_| has_ports(protocol)),
            destination: to,
            destination_port: if has_ports(protocol) {
                destination_port
            } else {
                0
            },
            protocol,
        })
    }
}

/// Whether packets of the protocol have ports that Services know.
#[must_use]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}

/// The protocol's name, in capitals; its number where it has no name here.
#[must_use]
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        TCP => "TCP".to_owned(),
        UDP => "UDP".to_owned(),
        SCTP => "SCTP".to_owned(),
        Ip4::ICMP => "ICMP".to_owned(),
        Ip6::ICMP => "ICMPv6".to_owned(),
        number => format!("protocol {number}"),
    }
}

fn number(name: &str, destination: IpAddr) -> Result<u8, QuestionError> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "tcp" => TCP,
        "udp" => UDP,
        "sctp" => SCTP,
        "icmp" | "icmpv6" | "ping" if destination.is_ipv4() => Ip4::ICMP,
        "icmp" | "icmpv6" | "ping" => Ip6::ICMP,
        _ => return Err(QuestionError::Protocol(name.to_owned())),
    })
}

/// An address with or without a port; IPv4 written as IPv6 is IPv4.
fn address_and_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let text = text.trim();
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some((socket.ip().to_canonical(), Some(socket.port())));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(text).parse().ok()?;
    Some((address.to_canonical(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: &str, destination: &str) -> Question {
        Question::parse(source, destination, None).expect("a question")
    }

    #[test]
    fn both_sides_are_read_with_and_without_ports() {
        let question = parse("10.42.0.9:40000", "10.43.165.39:80/udp");
        assert_eq!(question.source_port, Some(40_000));
        assert_eq!(
            (question.destination_port, question.protocol),
            (80, lb_common::decide::UDP)
        );
        let question = parse("fd00::9", "[fd00::80]:53");
        assert_eq!(
            (question.source_port, question.destination_port),
            (None, 53)
        );
        assert_eq!(parse("10.42.0.9", "10.43.165.39/icmp").protocol, Ip4::ICMP);
        assert_eq!(parse("[fd00::9]", "fd00::80/ping").protocol, Ip6::ICMP);
        assert_eq!(
            parse("::ffff:10.42.0.9", "10.43.165.39:80").source,
            parse("10.42.0.9", "10.43.165.39:80").source
        );
    }

    #[test]
    fn errors_show_how_to_write_it() {
        for (source, destination, flag, part) in [
            ("kubia", "10.43.165.39:80", None, "source: \"kubia\""),
            ("10.42.0.9", "10.43.165.39", None, "without a port"),
            ("10.42.0.9", "10.43.165.39:80/ip", None, "tcp, udp, sctp"),
            ("10.42.0.9", "10.43.165.39:80/tcp", Some("udp"), "leave one"),
            ("10.42.0.9", "[fd00::80]:53", None, "different families"),
        ] {
            let error = Question::parse(source, destination, flag).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
