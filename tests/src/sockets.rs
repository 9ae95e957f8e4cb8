//! How does a test open a socket of a process that is in a cgroup? A helper process in that cgroup
//! opens it and passes it on.
//!
//! A socket belongs to the cgroup and the network namespace of whoever opened it, for as long as
//! it lives; so the clients here, which are threads of the test, use it as any other.

use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};

use crate::leftovers::{self, Guard};
use crate::netns::Netns;
use crate::program;

/// A helper process in a cgroup and a namespace.
#[derive(Debug)]
pub struct Sockets {
    child: Child,
    guard: Option<Guard>,
    stream: Mutex<Option<UnixStream>>,
}

impl Sockets {
    /// Starts the helper.
    ///
    /// # Errors
    /// There is no program `lb-peer`, or the cgroup takes no process.
    pub fn start(netns: &Netns, cgroup: &Path) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(program::find("lb-peer")?);
        command
            .arg(cgroup)
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = netns.run(|| command.spawn().context("starting lb-peer"))?;
        Ok(Self {
            guard: Some(leftovers::process(child.id())),
            child,
            stream: Mutex::new(Some(ours)),
        })
    }

    /// A socket of the helper.
    ///
    /// # Errors
    /// The kernel refuses it, or the helper is gone.
    pub fn open(&self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> Result<Socket> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = stream.as_mut().context("the helper is gone")?;
        let request = [
            i32::from(domain),
            i32::from(kind),
            protocol.map_or(0, i32::from),
        ];
        stream.write_all(&request.map(i32::to_ne_bytes).concat())?;
        receive(stream)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(
            self.stream
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if let Err(error) = self.child.wait() {
            eprintln!("lb-peer: {error}");
        }
        if let Some(guard) = self.guard.take() {
            guard.release();
        }
    }
}

/// The helper's side: opens what is asked for until the other side ends.
///
/// # Errors
/// The other side asks for what the kernel refuses.
pub fn serve(mut stream: UnixStream) -> Result<()> {
    // Ends when the other side does.
    while let Ok(domain) = read_int(&mut stream) {
        let (kind, protocol) = (read_int(&mut stream)?, read_int(&mut stream)?);
        let socket = Socket::new(domain.into(), kind.into(), Some(protocol.into()))?;
        let fds = [socket.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(
            stream.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &rights,
            MsgFlags::empty(),
            None,
        )?;
    }
    Ok(())
}

/// Takes a socket's connection away (connect(2) to nowhere, `AF_UNSPEC`).
///
/// # Errors
/// What the kernel said.
pub fn disconnect(socket: &Socket) -> std::io::Result<()> {
    let nowhere = libc::sockaddr {
        sa_family: 0,
        sa_data: [0; 14],
    };
    let length = size_of_val(&nowhere) as libc::socklen_t;
    // SAFETY: the address is as long as it says, and the descriptor is open.
    match unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, length) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn read_int(stream: &mut UnixStream) -> std::io::Result<i32> {
    let mut bytes = [0; size_of::<i32>()];
    stream.read_exact(&mut bytes)?;
    Ok(i32::from_ne_bytes(bytes))
}

fn receive(stream: &UnixStream) -> Result<Socket> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    ensure!(message.bytes == 1, "lb-peer has ended");
    let rights = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let fd = rights.context("lb-peer sent no socket")?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { Socket::from_raw_fd(fd) })
}
