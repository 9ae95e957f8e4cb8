//! After how long without a packet is a connection forgotten?

use lb_common::flow::Stage;

/// After how many seconds without a packet a connection at this stage is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// The stage's name.
    pub stage: &'static str,
    /// Seconds, at least one.
    pub seconds: u32,
}

/// A stage of connections whose time-out may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutKind {
    /// Its name.
    pub name: &'static str,
    /// The stage.
    pub stage: Stage,
    /// Seconds, unless somebody says otherwise.
    pub seconds: u32,
    /// What it is, for people, and whose default it is.
    pub meaning: &'static str,
}

/// Stages of connections and how long they last without a packet. Where `nf_conntrack` has the like
/// stage the default is its own, except where kube-proxy sets another.
pub const TIMEOUTS: &[TimeoutKind] = &[
    TimeoutKind {
        name: "tcp-opening",
        stage: Stage::Opening,
        seconds: 120,
        meaning: "TCP (here and below SCTP, too) before the handshake is complete (nf_conntrack: SYN_SENT)",
    },
    TimeoutKind {
        name: "tcp-established",
        stage: Stage::Established,
        seconds: 86_400,
        meaning: "TCP after it (kube-proxy; nf_conntrack alone would keep it for five days)",
    },
    TimeoutKind {
        name: "tcp-half-closed",
        stage: Stage::HalfClosed,
        seconds: 3_600,
        meaning: "TCP after one side's FIN, while the other may go on (kube-proxy: CLOSE_WAIT)",
    },
    TimeoutKind {
        name: "tcp-ended",
        stage: Stage::Ended,
        seconds: 120,
        meaning: "TCP after both sides' FIN (nf_conntrack: TIME_WAIT)",
    },
    TimeoutKind {
        name: "tcp-reset",
        stage: Stage::Reset,
        seconds: 10,
        meaning: "TCP after a reset (nf_conntrack: CLOSE)",
    },
    TimeoutKind {
        name: "udp",
        stage: Stage::Udp,
        seconds: 30,
        meaning: "UDP without answer, or a single question and answer (nf_conntrack)",
    },
    TimeoutKind {
        name: "udp-assured",
        stage: Stage::UdpAssured,
        seconds: 120,
        meaning: "UDP both ways for two seconds or longer (nf_conntrack: stream)",
    },
];

/// Twenty days: half of what 32 bits of jiffies tell apart where a second has a thousand of them, as
/// what seems longer ago counts as seen just now.
const LONGEST_TIMEOUT: u32 = 20 * 86_400;

pub(super) fn timeout(text: &str) -> Result<Timeout, String> {
    let (name, seconds) = text
        .split_once('=')
        .ok_or("no time: write it as tcp-established=86400")?;
    let kind = TIMEOUTS.iter().find(|kind| kind.name == name.trim());
    let kind = kind.ok_or_else(|| {
        let names: Vec<_> = TIMEOUTS.iter().map(|kind| kind.name).collect();
        format!("not a stage: choose from {}", names.join(", "))
    })?;
    let seconds = seconds.trim().parse().ok();
    let seconds = seconds.filter(|seconds| (1..=LONGEST_TIMEOUT).contains(seconds));
    Ok(Timeout {
        stage: kind.name,
        seconds: seconds.ok_or_else(|| {
            format!("not a time: choose a number of seconds from 1 to {LONGEST_TIMEOUT}")
        })?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_how_to_write_it() {
        for (text, remedy) in [
            ("udp", "tcp-established=86400"),
            ("tcp=7", "tcp-established"),
            ("udp=0", "from 1"),
            ("udp=9999999", "to 1728000"),
        ] {
            let error = timeout(text).unwrap_err();
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn stages_have_names_and_times_of_their_own() {
        use Stage::{Ended, Established, HalfClosed, Opening, Reset, Udp, UdpAssured};
        let stages: Vec<_> = TIMEOUTS.iter().map(|kind| kind.stage).collect();
        let all = [
            Opening,
            Established,
            HalfClosed,
            Ended,
            Reset,
            Udp,
            UdpAssured,
        ];
        assert_eq!(stages, all);
        for kind in TIMEOUTS {
            let written = format!("{}={}", kind.name, kind.seconds);
            let read = timeout(&written).expect("the default is valid");
            assert_eq!((read.stage, read.seconds), (kind.name, kind.seconds));
        }
    }
}
