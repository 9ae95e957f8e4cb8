//! Why was a packet dropped or refused? The one list: metrics, CLI and docs derive from it.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)*) => {
        /// Why a packet was dropped, or refused with an answer.
        ///
        /// As wide as a BPF register: LLVM masks a narrower one to its width also on paths where
        /// there is none and the register holds a pointer, which the verifier refuses.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u64)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $name,)*
        }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason's name in metrics and tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means, as a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}

// A new one comes last: the others keep their numbers, which older versions have counted under.
reasons! {
    /// Refused: the Service has no usable endpoint anywhere.
    NoEndpoints = "no-endpoints",
    /// Refused: the ClusterIP exists, but not with this port and protocol.
    UndefinedPort = "undefined-port",
    /// Dropped: neither TCP, UDP nor SCTP (a ping, say) to a ClusterIP, which exists only together
    /// with its ports.
    NotAPort = "not-a-port",
    /// Dropped: the policy is `Local` and this node has no endpoint, but others do.
    NoLocalEndpoints = "no-local-endpoints",
    /// Dropped: `loadBalancerSourceRanges` does not contain the client.
    SourceRange = "source-range",
    /// Dropped: an address of a ServiceCIDR that no Service has.
    UnallocatedAddress = "unallocated-address",
    /// Refused: a TCP packet to a frontend that neither starts a connection nor belongs to one.
    NoFlow = "no-flow",
    /// Dropped: no SNAT port toward this backend is free.
    SnatExhausted = "snat-exhausted",
    /// Dropped: the flow table took no entry.
    FlowTableFull = "flow-table-full",
    /// Dropped: a fragment that came before its first one, so its flow is unknown.
    EarlyFragment = "early-fragment",
    /// Dropped: a fragment of SCTP to a frontend, whose checksum only the whole packet could follow.
    SctpFragment = "sctp-fragment",
    /// Dropped: the headers to a frontend, or those that an ICMP error quotes, end too early or
    /// contradict each other.
    Malformed = "malformed",
    /// Dropped, and its sender told: the time to live ended here.
    TimeExceeded = "time-exceeded",
    /// Dropped, and its sender told: too big for the way to the backend or back.
    TooBig = "too-big",
    /// Dropped: there is no route to the backend.
    NoRoute = "no-route",
    /// Dropped: the tables were between two states twice in a row, or name what is not there.
    Inconsistent = "inconsistent",
    /// Dropped: the kernel refused to change or send the packet.
    KernelRefused = "kernel-refused",
    /// Dropped: its flow is being handed over at this moment, and its sender will repeat it.
    HandedOver = "handed-over",
}

/// Where a program sits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Hook {
    /// Traffic control, at ingress or egress of a link.
    Tc,
    /// The driver's receive path.
    Xdp,
    /// Socket calls of a cgroup.
    Socket,
}

impl Hook {
    /// Every hook, in the order of its number.
    pub const ALL: &[Self] = &[Self::Tc, Self::Xdp, Self::Socket];

    /// The hook's name in flags, metrics and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::Socket => "socket",
        }
    }
}

/// Reasons that there is room for: one more is no new layout of the map.
const REASONS_AT_MOST: usize = 64;
const _: () = assert!(DropReason::ALL.len() <= REASONS_AT_MOST);

/// Elements of the per-CPU array `drops`: one for each hook and reason that may come.
pub const COUNTERS: u32 = (Hook::ALL.len() * REASONS_AT_MOST) as u32;

/// Index into map `drops`.
#[inline(always)]
#[must_use]
pub const fn counter(hook: Hook, reason: DropReason) -> u32 {
    hook as u32 * REASONS_AT_MOST as u32 + reason as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reasons of layout 3, by number.
    const NUMBERED: [&str; 18] = [
        "no-endpoints",
        "undefined-port",
        "not-a-port",
        "no-local-endpoints",
        "source-range",
        "unallocated-address",
        "no-flow",
        "snat-exhausted",
        "flow-table-full",
        "early-fragment",
        "sctp-fragment",
        "malformed",
        "time-exceeded",
        "too-big",
        "no-route",
        "inconsistent",
        "kernel-refused",
        "handed-over",
    ];

    #[test]
    fn a_reason_keeps_its_number_while_the_layout_has_its_version() {
        assert_eq!(crate::limits::LAYOUT_VERSION, 4, "NUMBERED is of another");
        let names = DropReason::ALL.iter().map(|reason| reason.name());
        let kept: [&str; NUMBERED.len()] = core::array::from_fn({
            let mut names = names;
            move |_| names.next().unwrap_or_default()
        });
        assert_eq!(kept, NUMBERED);
    }

    #[test]
    fn a_meaning_is_one_line_with_single_spaces() {
        for reason in DropReason::ALL {
            let meaning = reason.meaning();
            assert!(!meaning.contains("  "), "{meaning}");
            assert!(meaning.ends_with('.'), "{meaning}");
        }
    }
}
