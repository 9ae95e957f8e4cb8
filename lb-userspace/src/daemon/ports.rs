//! Which ports may SNAT use, without taking them from anybody?

use std::fs;
use std::ops::RangeInclusive;

use crate::settings::PortRange;

/// Ports below are the system's.
const FIRST: u16 = 1_024;

/// The largest range of ports that no other user of ports claims: NodePorts, the stack's own
/// connections (`ip_local_port_range`), and what the administrator reserved
/// (`ip_local_reserved_ports`). Ports repeat across backends, so this many connections toward each
/// backend can be open at once.
#[must_use]
pub(super) fn snat_ports(node_ports: PortRange) -> [u16; 2] {
    let mut taken = vec![node_ports.ports()];
    taken.extend(sysctl("ip_local_port_range").and_then(|text| local_range(&text)));
    taken.extend(
        sysctl("ip_local_reserved_ports")
            .iter()
            .flat_map(|text| reserved(text)),
    );
    largest_gap(taken)
}

fn sysctl(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()
}

/// Two numbers: `32768 60999`.
fn local_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
}

/// `8080,9000-9010`
fn reserved(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.trim().split(',').filter_map(range).collect()
}

fn largest_gap(mut taken: Vec<RangeInclusive<u16>>) -> [u16; 2] {
    taken.sort_by_key(|range| *range.start());
    let mut best = [FIRST, FIRST];
    let mut free = u32::from(FIRST);
    let end = u32::from(u16::MAX) + 1;
    for (start, next) in taken
        .iter()
        .map(|range| (u32::from(*range.start()), u32::from(*range.end()) + 1))
        .chain([(end, end)])
    {
        if start.saturating_sub(free) > u32::from(best[1] - best[0]) + 1 {
            best = [free as u16, (start - 1) as u16];
        }
        free = free.max(next);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_range_that_nobody_claims_is_used() {
        let usual = vec![30_000..=32_767, 32_768..=60_999];
        assert_eq!(largest_gap(usual.clone()), [1_024, 29_999]);
        let with_reserved = [usual, reserved("8080,20000-29999\n")].concat();
        assert_eq!(largest_gap(with_reserved), [8_081, 19_999]);
        assert_eq!(
            largest_gap(vec![30_000..=32_767, 1_024..=29_999]),
            [32_768, 65_535]
        );
    }

    #[test]
    fn sysctls_are_read_as_the_kernel_writes_them() {
        assert_eq!(local_range("32768\t60999\n"), Some(32_768..=60_999));
        assert_eq!(reserved("\n"), []);
    }
}
