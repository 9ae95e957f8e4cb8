//! Which UDP sockets of this network namespace are connected to whom, and how do they hear that
//! whoever it is has gone? sock_diag(7).

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_UDP, SockDiagDestroy, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::Conversation;

/// A connection for questions about sockets, and for orders to end them.
#[derive(Debug)]
pub struct Sockets(Conversation);

/// A connected UDP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSocket {
    family: u8,
    id: SocketId,
}

impl UdpSocket {
    /// Whom it is connected to; an IPv4 address in an IPv6 socket as such.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        let address = self.id.destination_address.to_canonical();
        SocketAddr::new(address, self.id.destination_port)
    }

    /// The number that no other socket of this machine has.
    #[must_use]
    pub const fn cookie(&self) -> u64 {
        u64::from_ne_bytes(self.id.cookie)
    }
}

impl Sockets {
    /// Connects to the kernel, in the network namespace of this thread.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect() -> io::Result<Self> {
        Conversation::connect(NETLINK_SOCK_DIAG).map(Self)
    }

    /// The UDP sockets that are connected.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connected_udp(&mut self) -> io::Result<Vec<UdpSocket>> {
        let mut sockets = Vec::new();
        for (family, any) in [
            (AF_INET, SocketId::new_v4()),
            (AF_INET6, SocketId::new_v6()),
        ] {
            let question = SockDiagMessage::InetRequest(request(family, any));
            let (answers, _) = self.0.ask::<_, SockDiagMessage>(question, NLM_F_DUMP)?;
            sockets.extend(answers.into_iter().filter_map(|answer| match answer {
                SockDiagMessage::InetResponse(socket) => Some(UdpSocket {
                    family,
                    id: socket.header.socket_id,
                }),
                _ => None,
            }));
        }
        Ok(sockets)
    }

    /// Ends a socket: whoever waits at it gets an error (`ECONNABORTED`), and it is connected no
    /// more. Linux 4.9, if built with `CONFIG_INET_DIAG_DESTROY`.
    ///
    /// # Errors
    /// What the kernel said: `NotFound` if it has gone, `Unsupported` if the kernel cannot.
    pub fn destroy(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let id = socket.id.clone();
        let order = SockDiagMessage::InetRequest(request(socket.family, id));
        let order = SockDiagDestroy::new(order);
        self.0.ask::<_, SockDiagMessage>(order, NLM_F_ACK).map(drop)
    }

    /// Whether the kernel can end sockets: asked to end one that there is not, it says what is
    /// missing.
    #[must_use]
    pub fn can_destroy(&mut self) -> bool {
        let mut id = SocketId::new_v4();
        id.source_address = IpAddr::from([127, 0, 0, 1]);
        id.destination_address = id.source_address;
        id.cookie = [0xfe; 8];
        let nobody = UdpSocket {
            family: AF_INET,
            id,
        };
        self.destroy(&nobody)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}

fn request(family: u8, socket_id: SocketId) -> InetRequest {
    InetRequest {
        family,
        protocol: IPPROTO_UDP,
        extensions: ExtensionFlags::empty(),
        // UDP sockets have this state while they are connected.
        states: StateFlags::ESTABLISHED,
        socket_id,
    }
}
