//! Whose packet is it, at any kind of link? Addresses and ports, as far as they were captured.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, Ipv6ExtensionSlice, LaxNetSlice, LaxSlicedPacket};
use lb_common::addr::{Family, Ip4, Ip6};
use lb_common::decide::TCP;
use pcap_parser::Linktype;

use crate::explain::question::has_ports;

/// `LINKTYPE_RAW` as OpenBSD and others number it.
const RAW_ELSEWHERE: [i32; 2] = [12, 14];
/// `LINKTYPE_LINUX_SLL`: two bytes of protocol at the end of 16.
const SLL: usize = 16;
/// `LINKTYPE_LINUX_SLL2`: two bytes of protocol at the begin of 20.
const SLL2: usize = 20;
/// `LINKTYPE_NULL`: four bytes that say which family follows, as its version does.
const NULL: usize = 4;

/// TCP's flags are so far into its header, in bytes.
const TCP_FLAGS: usize = 13;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A packet, as far as it tells whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Port 0 where the protocol has none.
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) protocol: u8,
    /// What the sender is, if the packet says so.
    pub(super) role: Role,
}

/// Who sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Who began the flow.
    Client,
    /// Who was asked.
    Server,
    /// One of the two.
    Unknown,
}

/// Reads a packet as it was on such a link.
///
/// # Errors
/// Why it belongs to no flow.
pub(super) fn read(link: Linktype, bytes: &[u8]) -> Result<Packet, String> {
    let cut = || "cut off before its addresses".to_owned();
    let ether_type = |at: usize| {
        let field = bytes.get(at..at + 2).ok_or_else(cut)?;
        Ok::<_, String>(EtherType(u16::from_be_bytes([field[0], field[1]])))
    };
    let sliced = match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).map_err(|_| cut())?,
        Linktype::LINUX_SLL => {
            let rest = bytes.get(SLL..).ok_or_else(cut)?;
            LaxSlicedPacket::from_ether_type(ether_type(SLL - 2)?, rest)
        }
        Linktype::LINUX_SLL2 => {
            let rest = bytes.get(SLL2..).ok_or_else(cut)?;
            LaxSlicedPacket::from_ether_type(ether_type(0)?, rest)
        }
        Linktype::NULL | Linktype::LOOP => {
            let rest = bytes.get(NULL..).ok_or_else(cut)?;
            LaxSlicedPacket::from_ip(rest).map_err(|_| cut())?
        }
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => {
            LaxSlicedPacket::from_ip(bytes).map_err(|_| cut())?
        }
        Linktype(number) if RAW_ELSEWHERE.contains(&number) => {
            LaxSlicedPacket::from_ip(bytes).map_err(|_| cut())?
        }
        Linktype(number) => return Err(format!("of link type {number}, which is not read")),
    };
    of_ip(&sliced)
}

fn of_ip(sliced: &LaxSlicedPacket<'_>) -> Result<Packet, String> {
    let (source, destination, is_later): (IpAddr, IpAddr, bool) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(packet)) => {
            let header = packet.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                header.fragments_offset().value() != 0,
            )
        }
        Some(LaxNetSlice::Ipv6(packet)) => {
            let header = packet.header();
            let mut extensions = packet.extensions().clone().into_iter();
            let is_later = extensions.any(|extension| {
                matches!(extension, Ipv6ExtensionSlice::Fragment(part)
                    if part.fragment_offset().value() != 0)
            });
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                is_later,
            )
        }
        _ => return Err("no IP".to_owned()),
    };
    if is_later {
        return Err("a later fragment, which has no ports".to_owned());
    }
    let payload = sliced
        .net
        .as_ref()
        .and_then(LaxNetSlice::ip_payload_ref)
        .ok_or("cut off before its ports")?;
    let protocol = payload.ip_number.0;
    let ([source_port, destination_port], role) = of_transport(protocol, payload.payload)?;
    Ok(Packet {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
        protocol,
        role,
    })
}

/// The ports, which TCP, UDP and SCTP have at the same place, and who sent it.
fn of_transport(protocol: u8, bytes: &[u8]) -> Result<([u16; 2], Role), String> {
    if has_ports(protocol) {
        let [a, b, c, d] = *bytes.first_chunk().ok_or("cut off before its ports")?;
        let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        let role = match bytes.get(TCP_FLAGS).filter(|_| protocol == TCP) {
            Some(flags) if flags & (SYN | ACK) == SYN => Role::Client,
            Some(flags) if flags & (SYN | ACK) == SYN | ACK => Role::Server,
            _ => Role::Unknown,
        };
        return Ok((ports, role));
    }
    let role = match (protocol, bytes.first()) {
        (Ip4::ICMP, Some(8)) | (Ip6::ICMP, Some(128)) => Role::Client,
        (Ip4::ICMP, Some(0)) | (Ip6::ICMP, Some(129)) => Role::Server,
        (Ip4::ICMP | Ip6::ICMP, _) => return Err("ICMP that is no ping".to_owned()),
        _ => Role::Unknown,
    };
    Ok(([0, 0], role))
}
