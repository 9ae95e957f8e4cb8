//! Which messages are questions, and how is an answer written into one? Pure.

use hickory_proto::op::{
    Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode, emit_message_parts,
};
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_proto::serialize::binary::BinEncoder;

use super::answer::Answer;

/// Bytes of a message's header.
pub(super) const HEADER: usize = 12;

/// Longest message by UDP where the client does not say what it takes.
const UDP_DEFAULT: u16 = 512;

/// Longest message by UDP: it fits the smallest packet of IPv6, so that it is never fragmented.
pub(super) const UDP_LONGEST: u16 = 1_232;

/// Bytes of the record that carries extensions, without any option.
const OPT: u16 = 11;

/// How a message came, and goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// What a message is to us.
#[derive(Debug)]
pub(super) enum Received {
    /// No question: no answer either, or two servers would never end.
    Nothing,
    /// Something that is refused by this message.
    Refused(Vec<u8>),
    /// A question.
    Question(Question),
}

/// A question and all that its answer has to go by.
#[derive(Debug)]
pub(super) struct Question {
    metadata: Metadata,
    edns: Option<Edns>,
    /// What is asked.
    pub(super) query: Query,
    transport: Transport,
}

/// Reads a message.
pub(super) fn read(bytes: &[u8], transport: Transport) -> Received {
    if bytes.len() < HEADER {
        return Received::Nothing;
    }
    let Ok(mut message) = Message::from_vec(bytes) else {
        return unreadable(bytes);
    };
    if message.metadata.message_type == MessageType::Response {
        return Received::Nothing;
    }
    let metadata = message.metadata;
    let (Some(query), true) = (message.queries.pop(), message.queries.is_empty()) else {
        let refusal = Message::error_msg(metadata.id, metadata.op_code, ResponseCode::FormErr);
        return Received::Refused(refusal.to_vec().unwrap_or_default());
    };
    let question = Question {
        metadata,
        edns: message.edns,
        query,
        transport,
    };
    match question.objection() {
        Some(code) => Received::Refused(question.refuse(code)),
        None => Received::Question(question),
    }
}

/// Even of what cannot be read the header tells whom to answer.
fn unreadable(bytes: &[u8]) -> Received {
    let is_response = bytes[2] & 0x80 != 0;
    if is_response {
        return Received::Nothing;
    }
    let id = u16::from_be_bytes([bytes[0], bytes[1]]);
    let refusal = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    Received::Refused(refusal.to_vec().unwrap_or_default())
}

impl Question {
    /// Why it is not answered.
    fn objection(&self) -> Option<ResponseCode> {
        let version = self.edns.as_ref().map_or(0, Edns::version);
        let is_transfer = matches!(self.query.query_type, RecordType::AXFR | RecordType::IXFR);
        if self.metadata.op_code != OpCode::Query {
            Some(ResponseCode::NotImp)
        } else if version > 0 {
            Some(ResponseCode::BADVERS)
        } else if self.query.query_class != DNSClass::IN || is_transfer {
            Some(ResponseCode::Refused)
        } else {
            None
        }
    }

    /// Which of several records comes first: clients number their questions at random.
    pub(super) const fn turn(&self) -> u16 {
        self.metadata.id
    }

    /// Whether the client wants others asked.
    pub(super) const fn recursion_desired(&self) -> bool {
        self.metadata.recursion_desired
    }

    /// How it came.
    pub(super) const fn transport(&self) -> Transport {
        self.transport
    }

    /// The answer that there is none.
    pub(super) fn refuse(&self, code: ResponseCode) -> Vec<u8> {
        let answer = Answer {
            code,
            ..Answer::default()
        };
        let mut message = self.message(answer, false);
        message.metadata.authoritative = false;
        message.to_vec().unwrap_or_default()
    }

    /// The message that holds an answer of ours; `recursion` = others are asked for their names.
    /// What does not fit is left out: additional records silently, others for the client to ask
    /// again by TCP.
    pub(super) fn reply(&self, answer: Answer, recursion: bool) -> Vec<u8> {
        let mut message = self.message(answer, recursion);
        let longest = self.longest();
        match message.to_vec() {
            Ok(bytes) if bytes.len() <= usize::from(longest) => return bytes,
            Ok(_) => {}
            Err(_) => return self.refuse(ResponseCode::ServFail),
        }
        message.additionals.clear();
        let fitting = fitting(&message, longest.saturating_sub(OPT));
        if fitting < message.answers.len() {
            message.answers.truncate(fitting);
            message.metadata.truncation = true;
        }
        message.to_vec().unwrap_or_default()
    }

    fn message(&self, answer: Answer, recursion: bool) -> Message {
        let mut message = Message::response(self.metadata.id, self.metadata.op_code);
        message.metadata = Metadata::response_from_request(&self.metadata);
        message.metadata.authoritative = true;
        message.metadata.recursion_available = recursion;
        message.metadata.response_code = answer.code;
        message.add_query(self.query.clone());
        message.answers = answer.answers;
        message.authorities = answer.authorities;
        message.additionals = answer.additionals;
        if let Some(asked) = &self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_LONGEST)
                .set_dnssec_ok(asked.flags().dnssec_ok);
            message.set_edns(edns);
        }
        message
    }

    fn longest(&self) -> u16 {
        match (self.transport, &self.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, None) => UDP_DEFAULT,
            (Transport::Udp, Some(edns)) => edns.max_payload().clamp(UDP_DEFAULT, UDP_LONGEST),
        }
    }
}

/// How many of a message's answers fit into so many bytes.
fn fitting(message: &Message, bytes: u16) -> usize {
    let mut buffer = Vec::new();
    let nothing: [Query; 0] = [];
    let mut encoder = BinEncoder::new(&mut buffer);
    encoder.set_max_size(bytes);
    let header = emit_message_parts(
        &message.metadata,
        &mut message.queries.iter(),
        &mut message.answers.iter(),
        &mut nothing.iter(),
        &mut nothing.iter(),
        None,
        None,
        &mut encoder,
    );
    header.map_or(0, |header| usize::from(header.counts.answers))
}
