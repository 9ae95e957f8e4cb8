//! How do datagrams come and go, so that each answer leaves from the address that was asked?
//!
//! A socket that listens on every address of the node would answer from whichever the route out
//! prefers, and clients take no answer from an address that they did not ask.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    SockaddrStorage, bind, recvmsg, sendmsg, setsockopt, socket,
};
use nix::{cmsg_space, libc};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// A socket that datagrams come to.
#[derive(Debug)]
pub(super) struct Datagrams(UdpSocket);

/// The two ends of a datagram's way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    client: SocketAddr,
    /// The address that the client asked.
    asked: Option<IpAddr>,
}

/// A bound socket of this type, closed to the other family's clients.
///
/// # Errors
/// The kernel's.
pub(super) fn bound(address: SocketAddr, kind: SockType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let descriptor = socket(family, kind, flags, None)?;
    if address.is_ipv6() {
        setsockopt(&descriptor, Ipv6V6Only, &true)?;
    }
    if kind == SockType::Stream {
        setsockopt(&descriptor, ReuseAddr, &true)?;
    }
    bind(descriptor.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(descriptor)
}

impl Datagrams {
    /// Listens on an address.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let descriptor = bound(address, SockType::Datagram)?;
        match address {
            SocketAddr::V4(_) => setsockopt(&descriptor, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&descriptor, Ipv6RecvPacketInfo, &true)?,
        }
        UdpSocket::from_std(StdSocket::from(descriptor)).map(Self)
    }

    /// The address that is listened on.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits for a datagram; returns its length.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Way)> {
        self.0
            .async_io(Interest::READABLE, || self.receive_now(buffer))
            .await
    }

    fn receive_now(&self, buffer: &mut [u8]) -> io::Result<(usize, Way)> {
        let mut slices = [IoSliceMut::new(buffer)];
        let mut control = cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let received = recvmsg::<SockaddrStorage>(
            self.0.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::empty(),
        )?;
        let asked = received.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::V4(u32::from_be(info.ipi_addr.s_addr).into()))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(IpAddr::V6(info.ipi6_addr.s6_addr.into()))
            }
            _ => None,
        });
        let client = received.address.as_ref().and_then(socket_address);
        let client = client.ok_or(io::ErrorKind::InvalidData)?;
        Ok((received.bytes, Way { client, asked }))
    }

    /// Sends an answer the way back. One that the socket has no room for is lost like any other
    /// datagram: clients ask again.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn send(&self, answer: &[u8], way: Way) -> io::Result<()> {
        let to = SockaddrStorage::from(way.client);
        let slices = [IoSlice::new(answer)];
        let send = |control: &[ControlMessage<'_>]| {
            let flags = MsgFlags::empty();
            sendmsg(self.0.as_raw_fd(), &slices, control, flags, Some(&to))
        };
        match way.asked {
            Some(IpAddr::V4(address)) => {
                let source = libc::in_addr {
                    s_addr: u32::from(address).to_be(),
                };
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: source,
                    ipi_addr: source,
                };
                send(&[ControlMessage::Ipv4PacketInfo(&info)])?;
            }
            Some(IpAddr::V6(address)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: address.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                send(&[ControlMessage::Ipv6PacketInfo(&info)])?;
            }
            None => {
                send(&[])?;
            }
        }
        Ok(())
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(address), _) => Some(SocketAddr::V4((*address).into())),
        (_, Some(address)) => Some(SocketAddr::V6((*address).into())),
        _ => None,
    }
}
