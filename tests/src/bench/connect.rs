//! What does connect(2) on a VIP cost, what the close(2) after it, and what a datagram that names one? The
//! whole time of the program, as the kernel counts it around real calls of sockets in a cgroup of their own;
//! nothing is subtracted.

use std::any::Any;
use std::fs::File;

use anyhow::{Context as _, Result, bail, ensure};
use aya::Ebpf;
use aya::programs::{CgroupAttachMode, Program};
use aya::sys::{Stats, enable_stats};
use lb_common::connected;
use lb_common::drops::Hook;
use lb_common::layout::{Connected, SocketFlow, SocketKey};
use lb_userspace::tables::PerFamily;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::load::{Objects, Whose};
use super::report::Row;
use super::rounds::interleave;
use super::world::{self, address};
use crate::datapath::maps::{Plain, element, hash};
use crate::leftovers::{self, Guard};
use crate::netns::Netns;
use crate::sockets::Sockets;
use crate::topology::Family;

/// Calls in a turn.
const CALLS: u32 = 400;

/// Our program that sees sockets go.
const RELEASE: &str = "sock_release";

/// Where the calls are made: a cgroup, and a process in it that opens the sockets.
pub(super) struct Callers {
    // Before the cgroup, which has to be empty when it goes.
    sockets: Sockets,
    cgroup: Guard,
}

impl Callers {
    /// Starts the process in the namespace.
    pub(super) fn new(netns: &Netns) -> Result<Self> {
        let cgroup = leftovers::cgroup("bench")?;
        Ok(Self {
            sockets: Sockets::start(netns, cgroup.path())?,
            cgroup,
        })
    }

    /// Waits until the process has let go of the sockets that it opened: it does one thing after the other, and
    /// a program at close(2) sees the last of both ends.
    fn settle(&self) -> Result<()> {
        let other = self.sockets.open(Domain::UNIX, Type::DGRAM, None);
        other.map(drop)
    }
}

/// One program with the calls that it is timed on.
#[derive(Clone, Copy, Debug)]
struct Calls {
    whose: Whose,
    program: &'static str,
    family: Family,
    kind: Kind,
}

/// What a socket does, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// connect(2), a new socket each time.
    Tcp,
    Udp,
    /// sendto(2), always the same socket.
    Datagrams,
    /// The last close(2) of what had connected.
    Close,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Close, Self::Datagrams];

    /// Our program that has to be there, too, for ours to find what it would find.
    const fn other(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Close, Family::V4) => "sock_connect4",
            (Self::Close, Family::V6) => "sock_connect6",
            _ => RELEASE,
        }
    }

    /// The floor's program, and ours.
    const fn programs(self, family: Family) -> [&'static str; 2] {
        match (self, family) {
            (Self::Datagrams, Family::V4) => ["send_lookup4", "sock_sendmsg4"],
            (Self::Datagrams, Family::V6) => ["send_lookup6", "sock_sendmsg6"],
            (Self::Close, Family::V4) => ["connect_lookup4", RELEASE],
            (Self::Close, Family::V6) => ["connect_lookup6", RELEASE],
            (_, Family::V4) => ["connect_lookup4", "sock_connect4"],
            (_, Family::V6) => ["connect_lookup6", "sock_connect6"],
        }
    }

    /// As rows name it: the case, the packets, and what is wanted.
    const fn row(self) -> (&'static str, &'static str, [f64; 2]) {
        match self {
            Self::Tcp => ("connect", "TCP", [1.6, 1.3]),
            Self::Udp => ("connect", "UDP", [2.0, 1.3]),
            Self::Close => ("close", "TCP", [1.0, 0.5]),
            Self::Datagrams => ("sendmsg", "UDP, one socket", [2.0, 1.3]),
        }
    }
}

/// What these calls cost for both families.
pub(super) fn measure(
    objects: &mut Objects,
    callers: &Callers,
    rounds: u32,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Row>> {
    let _counting = enable_stats(Stats::RunTime)?;
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        for kind in Kind::ALL.into_iter().filter(|kind| is_wanted(kind.row().0)) {
            for (whose, program) in [Whose::Floors, Whose::Ours]
                .into_iter()
                .zip(kind.programs(family))
            {
                all.push(Calls {
                    whose,
                    program,
                    family,
                    kind,
                });
            }
        }
    }
    let series = interleave(all.len(), rounds, |i, _| all[i].turn(objects, callers))?;
    let pairs = all.chunks_exact(2).zip(series.chunks_exact(2));
    let rows = pairs.map(|(calls, series)| {
        let (case, packets, targets) = calls[1].kind.row();
        Row {
            hook: Hook::Socket,
            family: calls[1].family,
            case,
            packets,
            program: calls[1].program,
            cost: series[1].spread(),
            floor: "connect-lookup",
            floor_cost: series[0].spread(),
            targets,
        }
    });
    Ok(rows.collect())
}

impl Calls {
    /// Nanoseconds for each call.
    fn turn(&self, objects: &mut Objects, callers: &Callers) -> Result<f64> {
        let cgroup = File::open(callers.cgroup.path())?;
        // Both are detached when they go.
        let _attached = attach(objects.of_mut(self.whose), self.program, &cgroup)?;
        let _other = match self.whose {
            Whose::Floors => None,
            Whose::Ours => Some(attach(
                &mut objects.ours,
                self.kind.other(self.family),
                &cgroup,
            )?),
        };
        callers.settle()?;
        let before = objects.program_info(self.whose, self.program)?;
        let mut last = None;
        for _ in 0..CALLS {
            let socket = match last.take() {
                Some(socket) if self.kind == Kind::Datagrams => socket,
                _ => self.open(callers)?,
            };
            self.call(&socket);
            last = Some(socket);
        }
        let last = last.context("no calls")?;
        let cookie = last.cookie()?;
        if self.kind == Kind::Close {
            drop(last);
        }
        callers.settle()?;
        let after = objects.program_info(self.whose, self.program)?;
        let count = after.run_count() - before.run_count();
        ensure!(
            count == u64::from(CALLS),
            "{}: the kernel counted {count} calls of {CALLS}",
            self.program
        );
        self.check(objects, cookie)?;
        let took = after.run_time().saturating_sub(before.run_time());
        Ok(took.as_secs_f64() * 1e9 / f64::from(CALLS))
    }

    fn open(&self, callers: &Callers) -> Result<Socket> {
        let (kind, protocol) = match self.kind {
            Kind::Tcp | Kind::Close => (Type::STREAM, Protocol::TCP),
            Kind::Udp | Kind::Datagrams => (Type::DGRAM, Protocol::UDP),
        };
        let domain = Domain::for_address(world::cluster_ip(self.family));
        (callers.sockets).open(domain, kind.nonblocking(), Some(protocol))
    }

    /// Names the first Service. Nobody answers, and nobody waits for that: it is in progress, or refused
    /// where the loopback is dialled.
    fn call(&self, socket: &Socket) {
        let service = SockAddr::from(world::cluster_ip(self.family));
        let _either = match self.kind {
            Kind::Tcp | Kind::Udp | Kind::Close => socket.connect(&service).is_ok(),
            Kind::Datagrams => socket.send_to(b"hello", &service).is_ok(),
        };
    }

    /// The last call must have been given a backend, and a socket that is closed must be forgotten.
    fn check(&self, objects: &mut Objects, cookie: u64) -> Result<()> {
        if self.whose == Whose::Floors {
            return Ok(());
        }
        let is_noted = match self.family {
            Family::V4 => self.is_noted::<lb_common::Ip4>(objects, cookie)?,
            Family::V6 => self.is_noted::<lb_common::Ip6>(objects, cookie)?,
        };
        ensure!(
            is_noted == (self.kind != Kind::Close),
            "{}: the last call left a wrong note, or none",
            self.program
        );
        Ok(())
    }

    /// Whether the socket is noted with one of the backends.
    fn is_noted<A: PerFamily>(&self, objects: &mut Objects, cookie: u64) -> Result<bool> {
        let ours = &mut objects.ours;
        let is_of: Box<dyn Fn(A, u16) -> bool> = if self.kind == Kind::Datagrams {
            let name = if A::WORDS == 1 {
                "sockets4"
            } else {
                "sockets6"
            };
            let noted = hash::<SocketKey<A>, SocketFlow<A>>(ours, name)?;
            Box::new(move |backend, port| {
                let key = SocketKey::new(cookie, backend, port);
                noted.get(&Plain(key), 0).is_ok()
            })
        } else {
            let name = if A::WORDS == 1 {
                "connected4"
            } else {
                "connected6"
            };
            let noted: Connected<A> = element(ours, name, connected::index(cookie))?;
            Box::new(move |backend, port| noted.get(cookie, &backend, port).is_some())
        };
        for backend in world::backends(self.family) {
            if is_of(address::<A>(backend.ip())?, backend.port()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Attaches a program to the cgroup, beside whatever is there at other hooks.
fn attach(ebpf: &mut Ebpf, name: &str, cgroup: &File) -> Result<Box<dyn Any>> {
    let program = ebpf.program_mut(name);
    let program = program.with_context(|| format!("no program {name}"))?;
    Ok(match program {
        Program::CgroupSockAddr(program) => {
            let link = program.attach(cgroup, CgroupAttachMode::Single)?;
            Box::new(program.take_link(link)?)
        }
        Program::CgroupSock(program) => {
            let link = program.attach(cgroup, CgroupAttachMode::Single)?;
            Box::new(program.take_link(link)?)
        }
        _ => bail!("{name} is for no cgroup"),
    })
}
