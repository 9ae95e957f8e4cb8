//! Which flows does a capture hold? Files of tcpdump and Wireshark, in either format.

mod packet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Read;
use std::net::SocketAddr;

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::question::{Question, has_ports};
use packet::{Packet, Role};

/// A buffer that holds any packet of a usual capture (tcpdump takes 256 KiB of each), in bytes.
const BUFFER: usize = 1 << 19;
/// A packet that does not even fit this is none, in bytes.
const LONGEST: usize = 1 << 24;
/// So many flows are told apart; packets of further ones are only counted.
const FLOWS: usize = 1 << 16;

/// What a capture holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// Its packets, also those that no flow has.
    pub packets: u64,
    /// The flows, in the order of their first packets.
    pub flows: Vec<CapturedFlow>,
    /// How many packets belong to none, by the reason why.
    pub left_out: BTreeMap<String, u64>,
}

/// A flow of a capture, both directions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedFlow {
    /// The flow as its client began it, or else as its first packet went.
    pub question: Question,
    /// Whether the capture tells who began it.
    pub is_certain: bool,
    /// Packets that go as the question does.
    pub packets: u64,
    /// Packets that go back.
    pub replies: u64,
}

/// Why a file is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It is something else.
    #[error("it is no capture: give a file that `tcpdump -w` or Wireshark wrote (pcap or pcapng)")]
    Format,
    /// It begins as one, and does not go on as one.
    #[error("it is damaged after packet {after}: {why}")]
    Damaged {
        /// So many packets could be read.
        after: u64,
        /// What is wrong.
        why: String,
    },
    /// The system refused.
    #[error("it cannot be read to its end")]
    Read,
}

/// Reads a capture to its end. One that ends within a packet, as when tcpdump was killed, holds
/// what comes before.
///
/// # Errors
/// See [`CaptureError`].
pub fn read(source: impl Read + Send) -> Result<Capture, CaptureError> {
    let mut reader = create_reader(BUFFER, source).map_err(|error| match error {
        PcapError::ReadError => CaptureError::Read,
        _ => CaptureError::Format,
    })?;
    let mut reading = Reading::default();
    let mut room = BUFFER;
    loop {
        let missing = match reader.next() {
            Ok((length, block)) => {
                reading.take(&block);
                reader.consume(length);
                continue;
            }
            Err(PcapError::Eof) => return Ok(reading.capture),
            Err(PcapError::UnexpectedEof) => {
                reading.leave_out("cut off at the end of the file");
                return Ok(reading.capture);
            }
            Err(PcapError::Incomplete(_)) => false,
            Err(PcapError::BufferTooSmall) if room < LONGEST => true,
            Err(PcapError::ReadError) => return Err(CaptureError::Read),
            Err(error) => {
                return Err(CaptureError::Damaged {
                    after: reading.capture.packets,
                    why: error.to_string(),
                });
            }
        };
        if missing {
            room *= 2;
            reader.grow(room);
        }
        if reader.refill().is_err() {
            return Err(CaptureError::Read);
        }
    }
}

#[derive(Debug, Default)]
struct Reading {
    capture: Capture,
    /// Of each interface of the section, or of the whole file.
    links: Vec<Linktype>,
    /// Where in `capture.flows` a flow is, by its ends, the lower one first.
    places: BTreeMap<(u8, SocketAddr, SocketAddr), usize>,
}

impl Reading {
    fn take(&mut self, block: &PcapBlockOwned<'_>) {
        match block {
            PcapBlockOwned::LegacyHeader(header) => self.links = vec![header.network],
            PcapBlockOwned::Legacy(packet) => self.packet(0, packet.data, packet.caplen),
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.links.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(link)) => self.links.push(link.linktype),
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                self.packet(packet.if_id as usize, packet.data, packet.caplen);
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                self.packet(0, packet.data, packet.origlen);
            }
            PcapBlockOwned::NG(_) => {}
        }
    }

    /// `bytes` may be longer than the packet: blocks are padded.
    fn packet(&mut self, interface: usize, bytes: &[u8], length: u32) {
        self.capture.packets += 1;
        let bytes = &bytes[..bytes.len().min(length as usize)];
        let Some(link) = self.links.get(interface) else {
            return self.leave_out("of an interface that the file does not describe");
        };
        match packet::read(*link, bytes) {
            Ok(packet) => self.flow(&packet),
            Err(why) => self.leave_out(&why),
        }
    }

    fn flow(&mut self, packet: &Packet) {
        let [source, destination] = [packet.source, packet.destination];
        let key = (
            packet.protocol,
            source.min(destination),
            source.max(destination),
        );
        let place = match self.places.entry(key) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(_) if self.capture.flows.len() >= FLOWS => {
                return self.leave_out(&format!("of more flows than {FLOWS}"));
            }
            Entry::Vacant(place) => {
                let (client, server) = match packet.role {
                    Role::Server => (destination, source),
                    Role::Client | Role::Unknown => (source, destination),
                };
                self.capture.flows.push(CapturedFlow {
                    question: question(client, server, packet.protocol),
                    is_certain: packet.role != Role::Unknown,
                    packets: 0,
                    replies: 0,
                });
                *place.insert(self.capture.flows.len() - 1)
            }
        };
        let flow = &mut self.capture.flows[place];
        let goes = flow.question.source == source.ip()
            && flow.question.source_port.unwrap_or_default() == source.port();
        if goes {
            flow.packets += 1;
        } else {
            flow.replies += 1;
        }
    }

    fn leave_out(&mut self, why: &str) {
        *self.capture.left_out.entry(why.to_owned()).or_default() += 1;
    }
}

impl CapturedFlow {
    /// The same, as if the other end had begun it.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let asked = &self.question;
        let client = SocketAddr::new(asked.destination, asked.destination_port);
        let server = SocketAddr::new(asked.source, asked.source_port.unwrap_or_default());
        Self {
            question: question(client, server, asked.protocol),
            is_certain: self.is_certain,
            packets: self.replies,
            replies: self.packets,
        }
    }
}

fn question(client: SocketAddr, server: SocketAddr, protocol: u8) -> Question {
    Question {
        source: client.ip(),
        source_port: has_ports(protocol).then_some(client.port()),
        destination: server.ip(),
        destination_port: server.port(),
        protocol,
    }
}
