//! What is an interpreted program told of its packet or call? The fields that programs here read, where
//! the kernel's headers have them (linux/bpf.h).

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use lb_userspace::model::Protocol;

use super::{State, UPLINK, helpers};

/// Room before and behind a packet.
const ROOM: usize = 256;

/// Of `struct xdp_md`.
mod xdp {
    pub(super) const SIZE: usize = 24;
    pub(super) const IFINDEX: usize = 12;
    pub(super) const DATA: u64 = 0;
    pub(super) const DATA_END: u64 = 4;
}

/// Of `struct __sk_buff`.
mod skb {
    pub(super) const SIZE: usize = 192;
    pub(super) const LEN: u64 = 0;
    pub(super) const PROTOCOL: usize = 16;
    pub(super) const IFINDEX: usize = 40;
    pub(super) const DATA: u64 = 76;
    pub(super) const DATA_END: u64 = 80;
}

/// Of `struct bpf_sock_addr`.
mod call {
    pub(super) const SIZE: usize = 72;
    pub(super) const USER_FAMILY: usize = 0;
    pub(super) const USER_IP4: usize = 4;
    pub(super) const USER_IP6: usize = 8;
    pub(super) const USER_PORT: usize = 24;
    pub(super) const TYPE: usize = 32;
    pub(super) const PROTOCOL: usize = 36;
}

/// Of `struct bpf_fib_lookup`.
mod route {
    pub(super) const IFINDEX: u64 = 8;
}

/// Where a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tc,
    Xdp,
}

/// The context of a packet on a link.
pub(super) fn of_packet(place: Place, link: u32, packet: &[u8], state: &mut State) -> Result<u64> {
    let around = [vec![0; ROOM], packet.to_vec(), vec![0; ROOM]].concat();
    let data = state.memory.add(around) + ROOM as u64;
    let (mut bytes, ifindex) = match place {
        Place::Xdp => (vec![0; xdp::SIZE], xdp::IFINDEX),
        Place::Tc => {
            let mut bytes = vec![0; skb::SIZE];
            let ether_type = packet.get(12..14).context("no Ethernet header")?;
            bytes[skb::PROTOCOL..][..2].copy_from_slice(ether_type);
            (bytes, skb::IFINDEX)
        }
    };
    bytes[ifindex..][..4].copy_from_slice(&link.to_le_bytes());
    let context = state.memory.add(bytes);
    (state.place, state.data) = (Some(place), data);
    resize(context, packet.len() as u64, state)?;
    let at = if place == Place::Xdp {
        xdp::DATA
    } else {
        skb::DATA
    };
    state.memory.write(context + at, 4, data)?;
    Ok(context)
}

/// Bytes of the packet.
pub(super) fn length(context: u64, state: &State) -> Result<u64> {
    let at = match state.place {
        Some(Place::Xdp) => xdp::DATA_END,
        _ => skb::DATA_END,
    };
    Ok(state.memory.read(context + at, 4)? - state.data)
}

/// Makes the packet shorter or longer; the helper's answer.
pub(super) fn resize(context: u64, length: u64, state: &mut State) -> Result<u64> {
    let State { memory, data, .. } = state;
    if memory.bytes(*data, usize::try_from(length)?).is_err() {
        return Ok(helpers::REFUSED);
    }
    if state.place == Some(Place::Xdp) {
        memory.write(context + xdp::DATA_END, 4, *data + length)?;
    } else {
        memory.write(context + skb::DATA_END, 4, *data + length)?;
        memory.write(context + skb::LEN, 4, length)?;
    }
    Ok(0)
}

/// The packet as it is now.
pub(super) fn packet(context: u64, state: &State) -> Result<Vec<u8>> {
    let length = usize::try_from(length(context, state)?)?;
    Ok(state.memory.bytes(state.data, length)?.to_vec())
}

/// Every way leads out of the uplink, to a neighbour that is known.
pub(super) fn write_route(parameters: u64, state: &mut State) -> Result<()> {
    let link = parameters + route::IFINDEX;
    state.memory.write(link, 4, UPLINK.into())
}

/// The context of a socket's call that names an address.
pub(super) fn of_call(protocol: Protocol, to: SocketAddr, state: &mut State) -> u64 {
    const STREAM: u8 = 1;
    const DATAGRAM: u8 = 2;
    let mut bytes = vec![0; call::SIZE];
    let family: libc::c_int = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    bytes[call::USER_FAMILY..][..4].copy_from_slice(&family.to_le_bytes());
    match to.ip() {
        IpAddr::V4(ip) => bytes[call::USER_IP4..][..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes[call::USER_IP6..][..16].copy_from_slice(&ip.octets()),
    }
    bytes[call::USER_PORT..][..2].copy_from_slice(&to.port().to_be_bytes());
    bytes[call::TYPE] = if protocol == Protocol::Tcp {
        STREAM
    } else {
        DATAGRAM
    };
    bytes[call::PROTOCOL] = protocol.number();
    state.place = None;
    state.memory.add(bytes)
}

/// Whom the call names now.
pub(super) fn named(context: u64, is_ipv4: bool, state: &State) -> Result<SocketAddr> {
    let bytes = state.memory.bytes(context, call::SIZE)?;
    let ip = if is_ipv4 {
        let octets: [u8; 4] = bytes[call::USER_IP4..][..4].try_into()?;
        IpAddr::from(octets)
    } else {
        let octets: [u8; 16] = bytes[call::USER_IP6..][..16].try_into()?;
        IpAddr::from(octets)
    };
    let port = u16::from_be_bytes(bytes[call::USER_PORT..][..2].try_into()?);
    Ok(SocketAddr::new(ip, port))
}
