//! What does the daemon itself use? Under the names that every Prometheus client gives it.

use std::fmt;
use std::fs;

use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads /proc/self (proc(5)).
#[derive(Debug)]
pub(super) struct Process;

/// What /proc/self/stat says.
#[derive(Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Both are far below 32 bits everywhere.
        let unit = |variable| {
            let value = sysconf(variable).ok().flatten();
            value
                .and_then(|value| u32::try_from(value).ok())
                .unwrap_or(1)
                .max(1)
        };
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let clock = unit(SysconfVar::CLK_TCK);
        let page = unit(SysconfVar::PAGE_SIZE);
        let Some(usage) = usage(&stat, clock, page) else {
            return Ok(());
        };
        let help = "User and system time";
        let name = "process_cpu_seconds";
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(usage.cpu_seconds).encode(metric)?;
        let help = "Memory that is in use and in place";
        let name = "process_resident_memory_bytes";
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(usage.resident_bytes).encode(metric)
    }
}

/// The fields behind the name, which may have blanks and parentheses in it.
fn usage(stat: &str, ticks_a_second: u32, page: u32) -> Option<Usage> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    // proc(5) counts from 1, and the third is the first here.
    let number = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
    Some(Usage {
        cpu_seconds: f64::from(number(14)?.saturating_add(number(15)?)) / f64::from(ticks_a_second),
        resident_bytes: u64::from(number(24)?) * u64::from(page),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 99 1000 25 1844";
        let expected = Usage {
            cpu_seconds: 2.0,
            resident_bytes: 25 * 4_096,
        };
        assert_eq!(usage(stat, 100, 4_096), Some(expected));
        assert_eq!(usage("", 100, 4_096), None);
    }
}
