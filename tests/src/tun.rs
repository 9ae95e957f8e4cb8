//! What comes by a link, to the last byte? A link whose other end is the test itself.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Netns;

/// What packets of a link begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// An Ethernet header.
    Ethernet,
    /// Their IP header.
    Ip,
}

/// A link of a namespace; it goes when this is dropped.
#[derive(Debug)]
pub struct Tun {
    device: File,
}

/// The longest packet that is read.
const PACKET: usize = 1 << 16;

impl Tun {
    /// Makes a link of this name. It is down and has no address.
    ///
    /// # Errors
    /// The kernel refuses.
    ///
    /// # Panics
    /// If the name is longer than a link's may be.
    pub fn new(netns: &Netns, name: &str, begins: Begins) -> Result<Self> {
        netns.run(|| {
            let device = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/net/tun")
                .context("/dev/net/tun")?;
            // SAFETY: integers and arrays of such: zero is valid.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            assert!(name.len() < request.ifr_name.len(), "{name}");
            for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from.cast_signed();
            }
            let kind = match begins {
                Begins::Ethernet => libc::IFF_TAP,
                Begins::Ip => libc::IFF_TUN,
            };
            request.ifr_ifru.ifru_flags = (kind | libc::IFF_NO_PI) as i16;
            // SAFETY: the request is valid, and the kernel reads and writes no more than that.
            let done =
                unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
            if done < 0 {
                return Err(std::io::Error::last_os_error())
                    .with_context(|| format!("link {name}"));
            }
            Ok(Self { device })
        })
    }

    /// Lets a packet come by the link.
    ///
    /// # Errors
    /// The link is not up.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        (&self.device).write_all(packet)?;
        Ok(())
    }

    /// The next packet that leaves by the link and is one of those meant; none if there is none for
    /// so long.
    ///
    /// # Errors
    /// The link is gone.
    pub fn receive(
        &self,
        patience: Duration,
        is_meant: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + patience;
        let mut packet = vec![0; PACKET];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, left)? == 0 {
                return Ok(None);
            }
            let length = (&self.device).read(&mut packet)?;
            if is_meant(&packet[..length]) {
                return Ok(Some(packet[..length].to_vec()));
            }
        }
    }
}
