//! Which chains do nftables have, those of iptables-nft included? nfnetlink, asked once.

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    /// Name of its table.
    pub table: String,
    /// Its own.
    pub name: String,
}

/// Bytes of `struct nlmsghdr`, of `struct nfgenmsg` and of `struct nlattr`.
const HEADER: usize = 16;
const FAMILY_HEADER: usize = 4;
const ATTRIBUTE: usize = 4;

/// `NLMSG_ERROR`, `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NFNL_SUBSYS_NFTABLES << 8`, and two of its messages.
const NFTABLES: u16 = 10 << 8;
const NEW_CHAIN: u16 = NFTABLES | 3;
const GET_CHAIN: u16 = NFTABLES | 4;
/// `NFTA_CHAIN_TABLE`, `NFTA_CHAIN_NAME`.
const TABLE: u16 = 1;
const NAME: u16 = 3;

/// Rules that change while they are listed are asked for so often again.
const TRIES: usize = 4;

/// All chains of all families, in the network namespace of this thread; needs `CAP_NET_ADMIN`. None where
/// the kernel has no nftables.
///
/// # Errors
/// What the kernel said; `Interrupted` if rules changed again and again while they were listed.
pub fn chains() -> io::Result<Vec<Chain>> {
    let mut tries = 0..TRIES;
    loop {
        tries.next();
        match listed() {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted && !tries.is_empty() => {}
            listed => return listed,
        }
    }
}

/// Without nfnetlink there is no such socket; without nftables it knows no such question.
fn is_absent(error: &io::Error) -> bool {
    let of_absence = [libc::EPROTONOSUPPORT, libc::EINVAL, libc::EOPNOTSUPP];
    error
        .raw_os_error()
        .is_some_and(|code| of_absence.contains(&code))
}

fn listed() -> io::Result<Vec<Chain>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&question(), 0)?;
    let mut chains = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if take_in(&datagram, &mut chains)? {
            return Ok(chains);
        }
    }
}

fn question() -> Vec<u8> {
    let length = (HEADER + FAMILY_HEADER) as u32;
    let flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(GET_CHAIN.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and sender; then any family, and nothing else.
    message.extend([0; 8 + FAMILY_HEADER]);
    message
}

/// Reads the messages of a datagram; whether the last one is among them. `Interrupted` if rules changed
/// while they were listed, so that some may be missing.
fn take_in(mut rest: &[u8], chains: &mut Vec<Chain>) -> io::Result<bool> {
    while let (Some(length), Some(kind), Some(flags)) =
        (u32_at(rest, 0), u16_at(rest, 4), u16_at(rest, 6))
    {
        let length = length as usize;
        let Some(body) = rest.get(HEADER..length) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if flags & NLM_F_DUMP_INTR != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match kind {
            // Either ends the answers, well or with an error number below zero.
            DONE | ERROR => {
                let code = u32_at(body, 0).unwrap_or_default().cast_signed();
                return match code {
                    0 => Ok(true),
                    code => Err(io::Error::from_raw_os_error(-code)),
                };
            }
            NEW_CHAIN => chains.extend(body.get(FAMILY_HEADER..).and_then(chain)),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn chain(mut attributes: &[u8]) -> Option<Chain> {
    let (mut table, mut name) = (None, None);
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(ATTRIBUTE..length)?;
        let text = || {
            let text = value.split(|byte| *byte == 0).next();
            text.map(|text| String::from_utf8_lossy(text).into_owned())
        };
        match kind {
            TABLE => table = text(),
            NAME => name = text(),
            _ => {}
        }
        attributes = attributes
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Some(Chain {
        table: table?,
        name: name?,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, text: &str) -> Vec<u8> {
        let length = (ATTRIBUTE + text.len() + 1) as u16;
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(text.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = (HEADER + body.len()) as u32;
        let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10]].concat();
        [&head, body].concat()
    }

    #[test]
    fn chains_are_read_up_to_the_last_message() {
        let body = [
            vec![2, 0, 0, 0],
            attribute(TABLE, "nat"),
            attribute(9, "other"),
            attribute(NAME, "KUBE-SERVICES"),
        ];
        let new = message(NEW_CHAIN, &body.concat());
        let mut found = Vec::new();
        let datagram = [new.clone(), message(DONE, &[0; 4])].concat();
        assert!(take_in(&datagram, &mut found).unwrap());
        let expected = Chain {
            table: "nat".to_owned(),
            name: "KUBE-SERVICES".to_owned(),
        };
        assert_eq!(found, [expected]);
        assert!(!take_in(&new, &mut found).unwrap());
        let refused = message(ERROR, &(-libc::EPERM).to_ne_bytes());
        let error = take_in(&refused, &mut found).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(take_in(&new[..new.len() - 4], &mut found).is_err());
        let mut changed = new;
        changed[6..8].copy_from_slice(&NLM_F_DUMP_INTR.to_ne_bytes());
        let error = take_in(&changed, &mut found).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
