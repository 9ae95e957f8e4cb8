//! What do the programs count themselves? Read from their maps when somebody collects.

use std::fmt;

use lb_common::addr::{Ip4, Ip6};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::own::of_map;
use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::{KernelFamily, KernelTables, Usage};

/// The maps that programs write.
#[derive(Debug)]
pub(super) struct Kernel {
    tables: KernelTables,
}

impl Kernel {
    pub(super) const fn new(tables: KernelTables) -> Self {
        Self { tables }
    }

    fn usage<A: KernelFamily>(&self) -> Result<[Usage; 3], DataplaneError> {
        A::maps(&self.tables).usage()
    }

    fn drops(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let drops = match self.tables.drops() {
            Ok(drops) => drops,
            Err(error) => {
                leave_out(&error);
                return Ok(());
            }
        };
        let help = "Packets that were dropped or refused, by hook and reason";
        let mut family = encoder.encode_descriptor("drops", help, None, MetricType::Counter)?;
        for (hook, reason, count) in drops {
            let labels = [("hook", hook.name()), ("reason", reason.name())];
            let encoder: MetricEncoder<'_> = family.encode_family(&labels)?;
            ConstCounter::new(count).encode(encoder)?;
        }
        Ok(())
    }

    /// Entries of a flow table are two for each flow.
    fn tables(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let usage = self
            .usage::<Ip4>()
            .and_then(|v4| Ok([v4, self.usage::<Ip6>()?].concat()));
        let usage = match usage {
            Ok(usage) => usage,
            Err(error) => {
                leave_out(&error);
                return Ok(());
            }
        };
        for (name, help, value) in [
            (
                "flow_map_elements",
                "Elements of maps that the programs write; a flow has two",
                (|usage| usage.elements) as fn(&Usage) -> u64,
            ),
            (
                "flow_map_max_elements",
                "Elements that maps of the programs have room for",
                |usage| usage.room,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for usage in &usage {
                let labels = of_map(usage.map);
                let encoder = family.encode_family(&labels)?;
                ConstGauge::new(value(usage)).encode(encoder)?;
            }
        }
        Ok(())
    }
}

impl Collector for Kernel {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.drops(&mut encoder)?;
        self.tables(&mut encoder)
    }
}

/// A map that cannot be read has no numbers, and the others have theirs.
fn leave_out(error: &DataplaneError) {
    tracing::warn!(%error, "metrics of a map are left out");
}
