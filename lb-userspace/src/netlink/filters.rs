//! Which tc filters hang on a link's clsact qdisc, and how is one set or removed there? Used for
//! our own programs where the kernel has no tcx, and to see those of others.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};
use serde::{Deserialize, Serialize};

use super::{CREATE, Netlink, SET};

/// Direction of packets at a network link, seen from the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Into the node: ingress.
    In,
    /// Out of the node: egress.
    Out,
}

impl Direction {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// As it stands in names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// What filters of this direction hang on (`TC_H_CLSACT` with `TC_H_MIN_INGRESS` or `_EGRESS`).
    const fn parent(self) -> TcHandle {
        TcHandle {
            major: CLSACT.major,
            minor: match self {
                Self::In => 0xfff2,
                Self::Out => 0xfff3,
            },
        }
    }
}

/// What the clsact qdisc hangs on (`TC_H_CLSACT`).
const CLSACT: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0xfff1,
};

/// The handle that a clsact qdisc has.
const CLSACT_HANDLE: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0,
};

/// `ETH_P_ALL`: the filter sees packets of every protocol.
const EVERY_PROTOCOL: u16 = 3;

/// Where a filter is: the kernel runs them by priority, the lowest number first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Index of the link.
    pub ifindex: u32,
    /// Direction.
    pub direction: Direction,
    /// Priority (`pref`).
    pub priority: u16,
    /// Handle.
    pub handle: u32,
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Where it is.
    pub slot: Slot,
    /// Its kind, as `bpf` or `flower`.
    pub kind: String,
    /// Id of its program, if it is of kind `bpf`.
    pub program: Option<u32>,
}

impl Netlink {
    /// Indices of the links that have a clsact qdisc.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn with_clsact(&mut self) -> io::Result<BTreeSet<u32>> {
        let answers = self.dump(&RouteNetlinkMessage::GetQueueDiscipline(message(0)))?;
        let indices = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewQueueDiscipline(qdisc) if kind(qdisc) == "clsact" => {
                Some(qdisc.header.index.cast_unsigned())
            }
            _ => None,
        });
        Ok(indices.collect())
    }

    /// Gives the link a clsact qdisc.
    ///
    /// # Errors
    /// What the kernel said: `EEXIST` if it has one.
    pub fn add_clsact(&mut self, ifindex: u32) -> io::Result<()> {
        self.order(
            RouteNetlinkMessage::NewQueueDiscipline(clsact(ifindex)),
            CREATE,
        )
    }

    /// Takes the clsact qdisc from the link, with everything on it.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn remove_clsact(&mut self, ifindex: u32) -> io::Result<()> {
        self.order(RouteNetlinkMessage::DelQueueDiscipline(clsact(ifindex)), 0)
    }

    /// The filters in this direction, in no order; none where there is no clsact qdisc.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn filters(&mut self, ifindex: u32, direction: Direction) -> io::Result<Vec<Filter>> {
        let mut question = message(ifindex);
        question.header.parent = direction.parent();
        let answers = match self.dump(&RouteNetlinkMessage::GetTrafficFilter(question)) {
            // The link has no qdisc that could have filters.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(Vec::new()),
            answers => answers?,
        };
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewTrafficFilter(filter) => filter_of(filter, direction),
                _ => None,
            })
            .collect())
    }

    /// Hangs a program there; if there is one already, every packet meets the one or the other.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_filter(
        &mut self,
        slot: Slot,
        program: BorrowedFd<'_>,
        name: &str,
    ) -> io::Result<()> {
        let mut order = at(slot);
        order.attributes = vec![
            TcAttribute::Kind("bpf".to_owned()),
            TcAttribute::Options(vec![
                TcOption::Bpf(TcFilterBpfOption::ProgFd(
                    program.as_raw_fd().cast_unsigned(),
                )),
                TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
                TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
            ]),
        ];
        self.order(RouteNetlinkMessage::NewTrafficFilter(order), SET)
    }

    /// Removes the filter that is there.
    ///
    /// # Errors
    /// What the kernel said: `ENOENT` if there is none.
    pub fn remove_filter(&mut self, slot: Slot) -> io::Result<()> {
        let mut order = at(slot);
        order.attributes = vec![TcAttribute::Kind("bpf".to_owned())];
        self.order(RouteNetlinkMessage::DelTrafficFilter(order), 0)
    }
}

fn message(ifindex: u32) -> TcMessage {
    TcMessage::with_index(ifindex.cast_signed())
}

fn clsact(ifindex: u32) -> TcMessage {
    let mut message = message(ifindex);
    message.header.parent = CLSACT;
    message.header.handle = CLSACT_HANDLE;
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    message
}

fn at(slot: Slot) -> TcMessage {
    let mut message = message(slot.ifindex);
    message.header = TcHeader {
        parent: slot.direction.parent(),
        handle: slot.handle.into(),
        info: u32::from(slot.priority) << 16 | u32::from(EVERY_PROTOCOL.to_be()),
        ..message.header
    };
    message
}

fn kind(message: &TcMessage) -> &str {
    let kind = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Kind(kind) => Some(kind.as_str()),
            _ => None,
        });
    kind.unwrap_or_default()
}

/// The filter in a dump; none for entries that stand for all filters of one priority.
fn filter_of(message: &TcMessage, direction: Direction) -> Option<Filter> {
    let handle = u32::from(message.header.handle);
    if handle == 0 {
        return None;
    }
    let options = message
        .attributes
        .iter()
        .flat_map(|attribute| match attribute {
            TcAttribute::Options(options) => options.as_slice(),
            _ => &[],
        });
    let program = options.into_iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    });
    Some(Filter {
        slot: Slot {
            ifindex: message.header.index.cast_unsigned(),
            direction,
            priority: (message.header.info >> 16) as u16,
            handle,
        },
        kind: kind(message).to_owned(),
        program,
    })
}
