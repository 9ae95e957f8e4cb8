//! What do the programs count themselves? Read from their maps when somebody collects.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use lb_common::addr::{Ip4, Ip6};
use lb_common::layout::{FLOW_REPLY, text_bytes};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Labels;
use super::own::of_map;
use super::traffic::{Seen, Sums, Traffic};
use crate::dataplane::DataplaneError;
use crate::dataplane::kernel::{FlowEntry, KernelFamily, KernelTables, Usage};
use crate::model::Protocol;

/// The maps that programs write.
#[derive(Debug)]
pub(super) struct Kernel {
    tables: KernelTables,
    sums: Mutex<Sums>,
}

/// What was read in one go.
struct Reading {
    usage: Vec<Usage>,
    /// Traffic of each service port, by its labels.
    traffic: Vec<(Labels<4>, Traffic)>,
}

impl Kernel {
    pub(super) fn new(tables: KernelTables) -> Self {
        Self {
            tables,
            sums: Mutex::default(),
        }
    }

    fn read(&self) -> Result<Reading, DataplaneError> {
        let mut flows = Vec::new();
        let mut usage = self.walk::<Ip4>(&mut flows)?;
        usage.extend(self.walk::<Ip6>(&mut flows)?);
        let names = self.tables.services()?;
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |service_port| names.contains_key(&service_port);
        let traffic = sums.walk(flows.into_iter(), is_known).iter();
        let traffic = traffic.filter_map(|(service_port, traffic)| {
            let name = names.get(service_port)?;
            let text =
                |text| String::from_utf8_lossy(&text_bytes(text).collect::<Vec<_>>()).into_owned();
            let protocol = Protocol::from_number(name.protocol).unwrap_or_default();
            let labels = [
                ("namespace", text(&name.namespace)),
                ("service", text(&name.name)),
                ("port", name.port.to_string()),
                ("protocol", protocol.to_string()),
            ];
            Some((labels, *traffic))
        });
        Ok(Reading {
            usage,
            traffic: traffic.collect(),
        })
    }

    /// How full the family's maps are; its flows go to the others.
    fn walk<A: KernelFamily>(&self, flows: &mut Vec<Seen>) -> Result<Vec<Usage>, DataplaneError> {
        let maps = A::maps(&self.tables);
        maps.usage(|entry| flows.push(seen(entry))).map(Vec::from)
    }
}

fn seen<A: KernelFamily>((key, flow): &FlowEntry<A>) -> Seen {
    let mut hasher = DefaultHasher::new();
    (A::BITS, bytemuck::bytes_of(key), flow.created).hash(&mut hasher);
    Seen {
        identity: hasher.finish(),
        service_port: flow.service_port,
        is_forward: flow.flags & FLOW_REPLY == 0,
        packets: flow.packets,
        bytes: flow.bytes,
    }
}

fn drops(tables: &KernelTables, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let drops = match tables.drops() {
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
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// A number for people to read.
type Column<T> = (&'static str, &'static str, fn(&T) -> u64);

const USAGE: [Column<Usage>; 2] = [
    (
        "flow_map_elements",
        "Elements of maps that the programs write; a flow has two",
        |usage| usage.elements,
    ),
    (
        "flow_map_max_elements",
        "Elements that maps of the programs have room for",
        |usage| usage.room,
    ),
];

/// Name, help, and the numbers toward backends and back.
type Directions = (&'static str, &'static str, fn(&Traffic) -> [u64; 2]);

const BOTH_WAYS: [Directions; 2] = [
    (
        "service_packets",
        "Packets of connections to the port of a Service: in = to backends, out = to clients",
        |traffic| traffic.packets,
    ),
    (
        "service_bytes",
        "Bytes of connections to the port of a Service, IP headers included",
        |traffic| traffic.bytes,
    ),
];

impl Reading {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in USAGE {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for usage in &self.usage {
                let labels = of_map(usage.map);
                ConstGauge::new(value(usage)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, values) in BOTH_WAYS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, traffic) in &self.traffic {
                for (direction, value) in ["in", "out"].into_iter().zip(values(traffic)) {
                    let [a, b, c, d] = labels.clone();
                    let labels = [a, b, c, d, ("direction", direction.to_owned())];
                    ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let help = "Connections to the port of a Service that began";
        let name = "service_connections";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, traffic) in &self.traffic {
            ConstCounter::new(traffic.connections).encode(family.encode_family(labels)?)?;
        }
        let help = "Connections to the port of a Service that the flow table has";
        let name = "service_open_connections";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, traffic) in &self.traffic {
            ConstGauge::new(traffic.open).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Kernel {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        drops(&self.tables, &mut encoder)?;
        match self.read() {
            Ok(reading) => reading.encode(&mut encoder),
            Err(error) => {
                leave_out(&error);
                Ok(())
            }
        }
    }
}

/// A map that cannot be read has no numbers, and the others have theirs.
fn leave_out(error: &DataplaneError) {
    tracing::warn!(%error, "metrics of a map are left out");
}
