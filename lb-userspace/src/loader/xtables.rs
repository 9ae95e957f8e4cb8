//! Which chains do the old iptables have (`iptables-legacy`), which are not in nftables? Their tables are
//! read whole, as getsockopt(2) gives them.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::bpf::socket_option;
use crate::netlink::chains::Chain;

/// Bytes of the name of a table, with its zeros (`XT_TABLE_MAXNAMELEN`).
const NAME_BYTES: usize = 32;
/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`; IPv6 has the same numbers.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// Bytes of `struct ipt_getinfo`; the last four are how many bytes the entries have.
const INFO_BYTES: usize = 84;
/// Bytes of `struct ipt_get_entries`, after which entries follow.
const ENTRIES_AT: usize = 40;
/// The target that begins a chain (`XT_ERROR_TARGET`), followed by the chain's name.
const BEGIN: &[u8] = b"ERROR\0";
/// In a target: its name, and what belongs to it.
const TARGET_NAME_AT: usize = 2;
const TARGET_DATA_AT: usize = 32;
/// A table that grew while it was read is asked for so often again.
const TRIES: usize = 4;

/// One of the two families.
struct Family {
    /// Names of the tables that are there; asking for another one would load it.
    tables: &'static str,
    level: i32,
    /// Where an entry says where its target is; behind it, where the next entry is. Both from the entry on.
    offsets_at: usize,
}

const V4: Family = Family {
    tables: "/proc/thread-self/net/ip_tables_names",
    level: libc::SOL_IP,
    offsets_at: 88,
};
const V6: Family = Family {
    tables: "/proc/thread-self/net/ip6_tables_names",
    level: libc::SOL_IPV6,
    offsets_at: 140,
};

/// All chains that somebody made, in the network namespace of this thread; needs `CAP_NET_ADMIN`. None where
/// the kernel has no such tables.
///
/// # Errors
/// What the kernel said.
pub(super) fn chains() -> io::Result<Vec<Chain>> {
    let mut chains = V4.chains(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    chains.extend(V6.chains(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)))?);
    Ok(chains)
}

impl Family {
    fn chains(&self, socket: impl FnOnce() -> io::Result<UdpSocket>) -> io::Result<Vec<Chain>> {
        let tables = match fs::read_to_string(self.tables) {
            Ok(tables) if !tables.is_empty() => tables,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(Vec::new()),
        };
        let socket = socket()?;
        let mut chains = Vec::new();
        for table in tables.lines() {
            let entries = self.entries(socket.as_fd(), table)?;
            let names = names(&entries, self.offsets_at).into_iter();
            chains.extend(names.map(|name| Chain {
                table: table.to_owned(),
                name,
            }));
        }
        Ok(chains)
    }

    fn entries(&self, socket: BorrowedFd<'_>, table: &str) -> io::Result<Vec<u8>> {
        let mut name = table.as_bytes().to_vec();
        name.resize(NAME_BYTES, 0);
        let mut tries = 0..TRIES;
        loop {
            tries.next();
            let mut info = name.clone();
            info.resize(INFO_BYTES, 0);
            socket_option(socket, self.level, GET_INFO, &mut info)?;
            let size: [u8; 4] = *info.last_chunk().expect("longer than that");
            let mut entries = [&name[..], &size].concat();
            entries.resize(ENTRIES_AT + u32::from_ne_bytes(size) as usize, 0);
            match socket_option(socket, self.level, GET_ENTRIES, &mut entries) {
                Ok(_) => return Ok(entries.split_off(ENTRIES_AT)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !tries.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Names of the chains that begin among these entries.
fn names(mut entries: &[u8], offsets_at: usize) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((target, next)) = offsets(entries, offsets_at) {
        names.extend(entries.get(target..next).and_then(chain));
        entries = &entries[next..];
    }
    // The end of a table is a chain by the target's own name.
    names.retain(|name| name.as_bytes() != &BEGIN[..BEGIN.len() - 1]);
    names
}

/// Where the first entry's target is, and where the next entry.
fn offsets(entries: &[u8], at: usize) -> Option<(usize, usize)> {
    let [a, b, c, d] = *entries.get(at..)?.first_chunk()?;
    let (target, next) = (u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]));
    let next = usize::from(next);
    (next > at && next <= entries.len()).then_some((target.into(), next))
}

fn chain(target: &[u8]) -> Option<String> {
    if !target.get(TARGET_NAME_AT..)?.starts_with(BEGIN) {
        return None;
    }
    let name = target
        .get(TARGET_DATA_AT..)?
        .split(|byte| *byte == 0)
        .next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offsets_at: usize, target: &str, data: &str) -> Vec<u8> {
        let head = (offsets_at + 24).next_multiple_of(8);
        let length = head + TARGET_DATA_AT + 32;
        let mut bytes = vec![0; length];
        bytes[offsets_at..][..2].copy_from_slice(&(head as u16).to_ne_bytes());
        bytes[offsets_at + 2..][..2].copy_from_slice(&(length as u16).to_ne_bytes());
        bytes[head + TARGET_NAME_AT..][..target.len()].copy_from_slice(target.as_bytes());
        bytes[head + TARGET_DATA_AT..][..data.len()].copy_from_slice(data.as_bytes());
        bytes
    }

    #[test]
    fn chains_begin_with_a_target_of_their_name() {
        for Family { offsets_at, .. } in [V4, V6] {
            let table = [
                entry(offsets_at, "", ""),
                entry(offsets_at, "ERROR", "KUBE-SERVICES"),
                entry(offsets_at, "DNAT", "KUBE-NODEPORTS"),
                entry(offsets_at, "ERROR", "ERROR"),
            ];
            let table = table.concat();
            assert_eq!(names(&table, offsets_at), ["KUBE-SERVICES"]);
            // What is cut off, or leads nowhere, ends the list.
            assert_eq!(names(&table[..table.len() / 2 - 1], offsets_at), [""; 0]);
            assert_eq!(names(&vec![0; 512], offsets_at), [""; 0]);
        }
    }
}
