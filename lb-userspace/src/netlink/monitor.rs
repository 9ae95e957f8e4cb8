//! What changes in this network namespace, as it happens?

use std::io;

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

/// Multicast groups of rtnetlink (`RTNLGRP_*`): links, traffic control, addresses and routes.
const GROUPS: [u32; 6] = [1, 4, 5, 7, 9, 11];

/// Bytes of news that may wait: some thousand links that come at once.
const BUFFER: usize = 4 << 20;

/// Hears of changes.
pub struct Monitor {
    socket: TokioSocket,
}

/// What was heard.
#[derive(Debug)]
pub enum News {
    /// These changes, in their order.
    Changes(Vec<RouteNetlinkMessage>),
    /// There were too many: ask for everything again.
    Lost,
}

impl Monitor {
    /// Begins to listen, within a tokio runtime; news waits from now on.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn new() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let inner = socket.socket_mut();
        inner.bind(&SocketAddr::new(0, 0))?;
        inner.set_rx_buf_sz(BUFFER)?;
        for group in GROUPS {
            inner.add_membership(group)?;
        }
        Ok(Self { socket })
    }

    /// Waits for news.
    ///
    /// # Errors
    /// What the kernel said.
    pub async fn next(&mut self) -> io::Result<News> {
        match self.socket.recv_from_full().await {
            Ok((datagram, _)) => Ok(News::Changes(
                super::messages(&datagram)
                    .filter_map(|message| match message.payload {
                        NetlinkPayload::InnerMessage(change) => Some(change),
                        _ => None,
                    })
                    .collect(),
            )),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(News::Lost),
            Err(error) => Err(error),
        }
    }
}
