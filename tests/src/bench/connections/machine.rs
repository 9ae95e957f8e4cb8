//! What did the machine spend, and what was lost on the way? From what the kernel counts anyway.

use std::fs;

use anyhow::{Context as _, Result};

use crate::bench::float;
use crate::topology::Place;

/// Time of all CPUs so far that was not idle, nor spent on what is asked to be `nice`, in seconds: the
/// namespaces of client, node and server share the machine, so it is the time of all three. What else the machine does counts too.
pub(super) fn cpu_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock")?;
    busy(&text)
        .map(|busy| float(busy) / float(ticks.unsigned_abs()))
        .context("/proc/stat has no line for all CPUs")
}

/// user, nice, system, idle, iowait, irq, softirq (proc(5)).
fn busy(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields = fields.split_whitespace().map(|field| field.parse().ok());
    let fields: Vec<u64> = fields.collect::<Option<_>>()?;
    Some(fields.first()? + fields.get(2)? + fields.get(5)? + fields.get(6)?)
}

/// TCP segments that the place has sent again so far.
pub(super) fn retransmitted(place: &Place) -> Result<u64> {
    let text = place
        .netns()
        .run(|| Ok(fs::read_to_string("/proc/thread-self/net/snmp")?))?;
    field(&text, "Tcp", "RetransSegs").context("the kernel does not count segments sent again")
}

/// A figure of a table whose names are in one line and whose figures are in the next.
fn field(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| {
        line.split_once(':')
            .is_some_and(|(before, _)| before == table)
    });
    let (names, figures) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|one| one == name)?;
    figures.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{busy, field};

    #[test]
    fn what_the_kernel_counts_is_read() {
        let stat = "cpu  100 20 300 4000 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(busy(stat), Some(100 + 300 + 6 + 7));
        let snmp =
            "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoMin RetransSegs InErrs\nTcp: 200 17 3\n";
        assert_eq!(field(snmp, "Tcp", "RetransSegs"), Some(17));
        assert_eq!(field(snmp, "Udp", "RetransSegs"), None);
    }
}
