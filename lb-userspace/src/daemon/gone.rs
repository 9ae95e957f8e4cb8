//! Which sockets are connected to a backend that stopped serving? They hear of it at once, as the
//! hook at socket calls does not see them again.
//!
//! Only UDP: a TCP connection ends by itself or lives on. And only sockets that dialled a frontend:
//! one that dialled the backend itself knows what it does.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::dataplane::kernel::{KernelFamily, KernelTables};
use crate::netlink::Sockets;
use crate::netlink::sockets::UdpSocket;
use crate::plan::{Destinations, Stopped};
use crate::settings::SocketScope;

/// Ends the UDP sockets that the socket hook connected to one of these backends.
///
/// # Errors
/// What the kernel said; `Unsupported` where it was built without `CONFIG_INET_DIAG_DESTROY`.
pub(super) fn tell(tables: &KernelTables, stopped: &Stopped, scope: SocketScope) -> io::Result<()> {
    if stopped.is_empty() {
        return Ok(());
    }
    match scope {
        SocketScope::Off => Ok(()),
        SocketScope::Host => tell_here(tables, stopped),
        SocketScope::All => {
            let mut result = Ok(());
            for namespace in namespaces()? {
                // In a thread of its own, as it is the thread that moves.
                let told = thread::scope(|scope| {
                    let there = scope.spawn(|| {
                        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
                        tell_here(tables, stopped)
                    });
                    there.join().unwrap_or(Ok(()))
                });
                result = result.and(told);
            }
            result
        }
    }
}

/// As [`tell`], in the network namespace of this thread.
fn tell_here(tables: &KernelTables, stopped: &Stopped) -> io::Result<()> {
    let mut sockets = Sockets::connect()?;
    for socket in sockets.connected_udp()? {
        if !(is_left(tables, &stopped.v4, &socket) || is_left(tables, &stopped.v6, &socket)) {
            continue;
        }
        match sockets.destroy(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the socket dialled a frontend and got one of these backends.
fn is_left<A: KernelFamily>(
    tables: &KernelTables,
    stopped: &Destinations<A>,
    socket: &UdpSocket,
) -> bool {
    let Some(address) = A::from_ip(socket.peer().ip()) else {
        return false;
    };
    let port = socket.peer().port();
    let dialled = A::maps(tables).dialled(socket.cookie(), address, port);
    let service_port = dialled.ok().flatten();
    service_port.is_some_and(|service_port| stopped.contains(&(service_port, address, port)))
}

/// Every network namespace that a process is in, each once.
fn namespaces() -> io::Result<Vec<File>> {
    let mut seen = BTreeSet::new();
    let mut namespaces = Vec::new();
    for process in fs::read_dir("/proc")? {
        // Processes come and go.
        let Ok(namespace) = process.and_then(|process| File::open(process.path().join("ns/net")))
        else {
            continue;
        };
        if seen.insert(namespace.metadata()?.ino()) {
            namespaces.push(namespace);
        }
    }
    Ok(namespaces)
}
