//! How does ctnetlink say what a connection is?

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable as _, NLA_F_NESTED, NetlinkDeserializable, NetlinkHeader,
    Nla as _,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol,
    Status, TCPFlags, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

use super::{Connection, Ends, NewConnection, TcpState};

/// `CTA_NAT_SRC`, `CTA_ID`, `CTA_NAT_DST`, `CTA_ZONE`.
const NAT_SOURCE: u16 = 6;
pub(super) const ID: u16 = 12;
const NAT_DESTINATION: u16 = 13;
const ZONE: u16 = 18;
/// `CTA_NAT_V4_MINIP`, `CTA_NAT_V6_MINIP`; the last address of a range is one more.
const NAT_FIRST4: u16 = 1;
const NAT_FIRST6: u16 = 4;
/// `CTA_NAT_PROTO`, and in it `CTA_PROTONAT_PORT_MIN` and `…_MAX`.
const NAT_PORTS: u16 = 3;
const NAT_FIRST_PORT: u16 = 1;
const NAT_LAST_PORT: u16 = 2;
/// `IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL`: no packet is out of a window that nobody
/// has followed.
const LIBERAL: u8 = 0x02 | 0x08;

/// `enum tcp_conntrack`.
const ESTABLISHED: u8 = 3;
const FIN_WAIT: u8 = 4;
const CLOSE_WAIT: u8 = 5;
const SYN_SENT: u8 = 1;
const SYN_RECEIVED: u8 = 2;
const SYN_SENT_TWICE: u8 = 9;

impl TcpState {
    const fn of(number: u8) -> Self {
        match number {
            0 | SYN_SENT | SYN_RECEIVED | SYN_SENT_TWICE => Self::Opening,
            ESTABLISHED => Self::Established,
            FIN_WAIT | CLOSE_WAIT => Self::HalfClosed,
            _ => Self::Ended,
        }
    }
}

pub(super) fn message(family: NetfilterProtoFamily, inner: ConntrackMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)
}

pub(super) const fn family(ends: Ends) -> NetfilterProtoFamily {
    match ends.source {
        SocketAddr::V4(_) => NetfilterProtoFamily::IPv4,
        SocketAddr::V6(_) => NetfilterProtoFamily::IPv6,
    }
}

pub(super) fn tuple(protocol: u8, ends: &Ends) -> Vec<Tuple> {
    vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(ends.source.ip()),
            IPTuple::DestinationAddress(ends.destination.ip()),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Protocol::from(protocol)),
            ProtoTuple::SourcePort(ends.source.port()),
            ProtoTuple::DestinationPort(ends.destination.port()),
        ]),
    ]
}

pub(super) fn attributes_of(new: &NewConnection) -> Vec<ConntrackAttribute> {
    let untranslated = new.original.turned();
    let status = if new.answered {
        Status::Confirmed | Status::SeenReply | Status::Assured
    } else {
        Status::Confirmed
    };
    let mut attributes = vec![
        ConntrackAttribute::CtaTupleOrig(tuple(new.protocol, &new.original)),
        ConntrackAttribute::CtaTupleReply(tuple(new.protocol, &untranslated)),
        ConntrackAttribute::CtaStatus(status),
        ConntrackAttribute::CtaTimeout(new.timeout),
        ConntrackAttribute::CtaMark(new.mark),
    ];
    if new.protocol == lb_common::decide::TCP {
        let state = if new.half_closed {
            CLOSE_WAIT
        } else {
            ESTABLISHED
        };
        let mut about = vec![ProtoInfoTCP::State(state)];
        // Which bits, and that they count.
        if let Ok(flags) = TCPFlags::parse(&[LIBERAL, LIBERAL]) {
            about.push(ProtoInfoTCP::OriginalFlags(flags.clone()));
            about.push(ProtoInfoTCP::ReplyFlags(flags));
        }
        attributes.push(ConntrackAttribute::CtaProtoInfo(vec![ProtoInfo::TCP(
            about,
        )]));
    }
    if new.reply != untranslated {
        // Both, also where one changes nothing: what is not said, the kernel chooses, and where the
        // reply's ends are taken, it would choose others.
        attributes.push(translation(NAT_DESTINATION, new.reply.source));
        attributes.push(translation(NAT_SOURCE, new.reply.destination));
    }
    attributes
}

/// The end becomes this very one.
fn translation(kind: u16, to: SocketAddr) -> ConntrackAttribute {
    let (first, address) = match to.ip() {
        IpAddr::V4(ip) => (NAT_FIRST4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (NAT_FIRST6, ip.octets().to_vec()),
    };
    let port = to.port().to_be_bytes().to_vec();
    let ports = nested(
        NAT_PORTS,
        &[
            DefaultNla::new(NAT_FIRST_PORT, port.clone()),
            DefaultNla::new(NAT_LAST_PORT, port),
        ],
    );
    let range = [
        DefaultNla::new(first, address.clone()),
        DefaultNla::new(first + 1, address),
        ports,
    ];
    ConntrackAttribute::Other(nested(kind, &range))
}

fn nested(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

/// What a message says of a connection; none if it is of a protocol without ports.
pub(super) struct Heard(pub(super) Option<Connection>);

impl NetlinkDeserializable for Heard {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        // Read at once, as a full table's messages would be many times its size.
        let message = NetfilterMessage::deserialize(header, payload)?;
        Ok(Self(match message.inner {
            NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => {
                connection(&attributes)
            }
            _ => None,
        }))
    }
}

fn connection(attributes: &[ConntrackAttribute]) -> Option<Connection> {
    let (mut original, mut reply, mut tcp) = (None, None, None);
    let (mut status, mut mark, mut zone, mut id) = (Status::empty(), 0, 0, 0);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = ends(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = ends(tuple),
            ConntrackAttribute::CtaStatus(bits) => status = *bits,
            ConntrackAttribute::CtaMark(value) => mark = *value,
            ConntrackAttribute::CtaProtoInfo(about) => tcp = tcp_state(about),
            ConntrackAttribute::Other(other) => {
                let mut value = vec![0; other.value_len()];
                other.emit_value(&mut value);
                match other.kind() {
                    ID => id = u32::from_be_bytes(value.try_into().ok()?),
                    ZONE => zone = u16::from_be_bytes(value.try_into().ok()?),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let ((protocol, original), (_, reply)) = (original?, reply?);
    Some(Connection {
        protocol,
        original,
        reply,
        status,
        tcp,
        mark,
        zone,
        id,
    })
}

fn ends(tuple: &[Tuple]) -> Option<(u8, Ends)> {
    let (mut source, mut destination) = (None, None);
    let (mut protocol, mut source_port, mut destination_port) = (None, None, None);
    for part in tuple {
        match part {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(ip) => source = Some(*ip),
                        IPTuple::DestinationAddress(ip) => destination = Some(*ip),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(about) => {
                for about in about {
                    match about {
                        ProtoTuple::Protocol(number) => protocol = Some(u8::from(*number)),
                        ProtoTuple::SourcePort(port) => source_port = Some(*port),
                        ProtoTuple::DestinationPort(port) => destination_port = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let ends = Ends {
        source: SocketAddr::new(source?, source_port?),
        destination: SocketAddr::new(destination?, destination_port?),
    };
    Some((protocol?, ends))
}

fn tcp_state(about: &[ProtoInfo]) -> Option<TcpState> {
    about.iter().find_map(|about| match about {
        ProtoInfo::TCP(about) => about.iter().find_map(|about| match about {
            ProtoInfoTCP::State(number) => Some(TcpState::of(*number)),
            _ => None,
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use lb_common::decide::TCP;

    use super::*;

    fn ends_of(source: &str, destination: &str) -> Ends {
        Ends {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
        }
    }

    #[test]
    fn what_is_asked_for_reads_back_as_what_it_is() {
        for (original, reply) in [
            (
                ends_of("203.0.113.7:40000", "10.43.0.1:80"),
                ends_of("10.42.0.10:8080", "172.18.0.2:50000"),
            ),
            (
                ends_of("[fd00::7]:40000", "[fd00::1]:80"),
                ends_of("[fd00::10]:8080", "[fd00::7]:40000"),
            ),
        ] {
            let new = NewConnection {
                protocol: TCP,
                original,
                reply,
                answered: true,
                half_closed: false,
                mark: 7,
                timeout: 60,
            };
            let attributes = attributes_of(&new);
            let read = connection(&attributes).expect("a connection");
            assert_eq!((read.original, read.mark), (original, 7));
            assert_eq!(read.tcp, Some(TcpState::Established));
            assert!(read.status.contains(Status::Assured));
            let mut translations = attributes.iter().filter_map(|attribute| match attribute {
                ConntrackAttribute::Other(other) => {
                    let mut bytes = vec![0; other.value_len()];
                    other.emit_value(&mut bytes);
                    Some((other.kind() & !NLA_F_NESTED, bytes))
                }
                _ => None,
            });
            for (kind, to) in [
                (NAT_DESTINATION, reply.source),
                (NAT_SOURCE, reply.destination),
            ] {
                let (found, bytes) = translations.next().expect("both are translated");
                assert_eq!(found, kind);
                let address = match to.ip() {
                    IpAddr::V4(ip) => ip.octets().to_vec(),
                    IpAddr::V6(ip) => ip.octets().to_vec(),
                };
                assert_eq!(bytes[4..4 + address.len()], address);
                assert!(bytes.ends_with(&[&to.port().to_be_bytes()[..], &[0, 0]].concat()));
            }
        }
    }

    #[test]
    fn what_is_not_translated_says_nothing_of_translation() {
        let original = ends_of("10.42.0.9:40000", "10.42.0.10:8080");
        let new = NewConnection {
            protocol: TCP,
            original,
            reply: original.turned(),
            answered: true,
            half_closed: true,
            mark: 0,
            timeout: 60,
        };
        let attributes = attributes_of(&new);
        let others = attributes
            .iter()
            .filter(|attribute| matches!(attribute, ConntrackAttribute::Other(_)));
        assert_eq!(others.count(), 0);
        let read = connection(&attributes).expect("a connection");
        assert_eq!(read.tcp, Some(TcpState::HalfClosed));
        assert_eq!(read.reply, original.turned());
    }
}
