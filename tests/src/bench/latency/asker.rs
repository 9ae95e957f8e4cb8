//! Which datagram is the first that a new endpoint answers? A client that asks many Services at the same time.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Type};

use super::SIDES;
use crate::peer::HOST_NAME;
use crate::topology::{Family, Place};

/// Between two questions about a change, at first.
const TICK: Duration = Duration::from_millis(1);
/// Later: this part of the time that has passed, so that who is slow is not asked more often than can be told.
const PART: u32 = 50;
/// Each question about a change is from a port of its own: conntrack would let a known one go on with the
/// endpoint that it began with. There are enough for [`PATIENCE`].
const PORTS: std::ops::Range<u16> = 20_000..20_512;
/// A slow machine, and somebody who writes all rules anew.
pub(super) const PATIENCE: Duration = Duration::from_mins(3);

/// The client; it goes when dropped.
pub(super) struct Asker {
    orders: Option<Sender<Order>>,
    reports: Receiver<Result<Duration>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Whom to ask from now on, until this side answers.
struct Order {
    frontend: SocketAddr,
    side: usize,
    since: Instant,
}

impl Asker {
    /// Opens the sockets of a client in this place.
    pub(super) fn start(client: &Place) -> Result<Self> {
        let (orders, taken) = channel();
        let (told, reports) = channel();
        let mut questions = Questions::new(client)?;
        let thread = thread::spawn(move || {
            if let Err(error) = questions.ask(&taken, &told) {
                // Whoever waits for it is gone otherwise.
                let _nobody_waits = told.send(Err(error));
            }
        });
        Ok(Self {
            orders: Some(orders),
            reports,
            thread: Some(thread),
        })
    }

    /// Asks this frontend from now on, until the side answers.
    pub(super) fn ask(&mut self, frontend: SocketAddr, side: usize) -> Result<()> {
        let order = Order {
            frontend,
            side,
            since: Instant::now(),
        };
        let orders = self.orders.as_ref().context("it is over")?;
        orders.send(order).ok().context("the client is gone")
    }

    /// For each that was asked, how long it took until the first question that the side answered was sent.
    pub(super) fn answered(&self, count: u32) -> Result<Vec<f64>> {
        let reports = (0..count).map(|_| Ok(self.reports.recv()??.as_secs_f64()));
        reports.collect()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the client failed");
        }
    }
}

/// What is asked at present.
struct Questions {
    /// The n-th question about each change leaves from the n-th.
    sockets: Vec<UdpSocket>,
    open: BTreeMap<SocketAddr, Open>,
}

struct Open {
    side: usize,
    since: Instant,
    /// When each question was sent, as time since then.
    sent: Vec<Duration>,
    due: Duration,
}

impl Questions {
    fn new(client: &Place) -> Result<Self> {
        let own = client.address(Family::V4);
        let socket = |port| {
            let socket = client.socket(Domain::IPV4, Type::DGRAM, None)?;
            socket.bind(&SocketAddr::new(own, port).into())?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        };
        Ok(Self {
            sockets: PORTS.map(socket).collect::<Result<_>>()?,
            open: BTreeMap::new(),
        })
    }

    /// Until nobody orders any more.
    fn ask(&mut self, orders: &Receiver<Order>, told: &Sender<Result<Duration>>) -> Result<()> {
        while self.take(orders) {
            self.send()?;
            for took in self.receive()? {
                told.send(Ok(took)).ok().context("nobody listens")?;
            }
        }
        Ok(())
    }

    /// Takes what is ordered, and waits for it only if nothing else is to be done. Whether there may be more.
    fn take(&mut self, orders: &Receiver<Order>) -> bool {
        loop {
            let order = if self.open.is_empty() {
                orders
                    .recv()
                    .map_err(|RecvError| TryRecvError::Disconnected)
            } else {
                orders.try_recv()
            };
            match order {
                Ok(order) => {
                    let open = Open {
                        side: order.side,
                        since: order.since,
                        sent: Vec::new(),
                        due: Duration::ZERO,
                    };
                    self.open.insert(order.frontend, open);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn send(&mut self) -> Result<()> {
        for (frontend, open) in &mut self.open {
            let now = open.since.elapsed();
            if now < open.due {
                continue;
            }
            let Some(socket) = self.sockets.get(open.sent.len()).filter(|_| now < PATIENCE) else {
                bail!(
                    "{frontend}: {} did not answer within {now:?}",
                    SIDES[open.side]
                );
            };
            socket.send_to(HOST_NAME.as_bytes(), frontend)?;
            open.sent.push(now);
            open.due = now + TICK.max(now / PART);
        }
        Ok(())
    }

    /// Waits a moment for answers; how long those took that were awaited.
    fn receive(&mut self) -> Result<Vec<Duration>> {
        let used = self.open.values().map(|open| open.sent.len()).max();
        let sockets = &self.sockets[..used.unwrap_or(0)];
        let watch = |socket| PollFd::new(socket, PollFlags::POLLIN);
        let mut ready: Vec<_> = sockets.iter().map(|socket| watch(socket.as_fd())).collect();
        poll(&mut ready, PollTimeout::try_from(TICK)?)?;
        let mut answered = Vec::new();
        for (n, socket) in sockets.iter().enumerate() {
            if ready[n].any() != Some(true) {
                continue;
            }
            let mut answer = [0; 128];
            loop {
                let (length, from) = match socket.recv_from(&mut answer) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    received => received?,
                };
                let Some(open) = self.open.get(&from) else {
                    // An earlier question was answered before.
                    continue;
                };
                if answer[..length].starts_with(SIDES[open.side].as_bytes()) {
                    answered.push(open.sent[n]);
                    self.open.remove(&from);
                }
            }
        }
        Ok(answered)
    }
}
