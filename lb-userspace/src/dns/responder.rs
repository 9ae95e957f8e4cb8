//! Who answers a message: we, at once, or others, later?

use std::sync::Arc;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::Directory;
use super::answer::{Answer, answer};
use super::message::{Question, Received, Transport, read};
use super::upstream::Upstream;

/// Answers messages.
#[derive(Clone, Debug)]
pub struct Responder {
    directory: Directory,
    upstream: Arc<Upstream>,
}

/// What comes next of a message.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// This goes back.
    Reply(Vec<u8>),
    /// Others are to be asked.
    Ask(Box<Errand>),
}

/// What others are to be asked.
#[derive(Debug)]
pub(super) struct Errand {
    question: Question,
    ask: Ask,
}

#[derive(Debug)]
enum Ask {
    /// The whole question.
    Everything(Vec<u8>),
    /// What this name says, to which our answers lead.
    Rest(Box<Answer>, Name),
}

impl Responder {
    /// Answers from these.
    #[must_use]
    pub fn new(directory: Directory, upstream: Upstream) -> Self {
        Self {
            directory,
            upstream: Arc::new(upstream),
        }
    }

    /// Answers a message.
    pub async fn respond(&self, bytes: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match self.begin(bytes, transport) {
            Next::Nothing => None,
            Next::Reply(reply) => Some(reply),
            Next::Ask(errand) => Some(self.finish(*errand).await),
        }
    }

    /// Does what can be done at once.
    pub(super) fn begin(&self, bytes: &[u8], transport: Transport) -> Next {
        let question = match read(bytes, transport) {
            Received::Nothing => return Next::Nothing,
            Received::Refused(refusal) => return Next::Reply(refusal),
            Received::Question(question) => question,
        };
        let Query {
            name, query_type, ..
        } = &question.query;
        let turn = question.turn();
        let answer = (self.directory).read(|zone| answer(zone, name, *query_type, turn));
        let asks = self.upstream.is_there() && question.recursion_desired();
        match answer {
            None if asks => Next::Ask(Box::new(Errand {
                question,
                ask: Ask::Everything(bytes.to_vec()),
            })),
            None => Next::Reply(question.refuse(ResponseCode::Refused)),
            Some(mut answer) => match answer.rest.take() {
                Some(rest) if asks && *query_type != RecordType::ANY => {
                    Next::Ask(Box::new(Errand {
                        question,
                        ask: Ask::Rest(Box::new(answer), rest),
                    }))
                }
                _ => Next::Reply(question.reply(answer, self.upstream.is_there())),
            },
        }
    }

    /// Asks others.
    pub(super) async fn finish(&self, errand: Errand) -> Vec<u8> {
        let Errand { question, ask } = errand;
        let transport = question.transport();
        let reply = match ask {
            Ask::Everything(bytes) => self.upstream.relay(&bytes, transport).await,
            Ask::Rest(mut answer, name) => {
                let query = Query::query(name, question.query.query_type);
                let rest = self.upstream.ask(query).await;
                rest.map(|mut rest| {
                    answer.code = rest.metadata.response_code;
                    answer.answers.append(&mut rest.answers);
                    answer.authorities = rest.authorities;
                    question.reply(*answer, true)
                })
            }
        };
        reply.unwrap_or_else(|| question.refuse(ResponseCode::ServFail))
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, MessageType, OpCode};

    use super::*;
    use crate::dns::Domain;

    #[test]
    fn what_is_no_question_is_refused_or_left() {
        let directory = Directory::new(Domain::default());
        let responder = Responder::new(directory, Upstream::new(Vec::new()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let respond = |bytes: &[u8]| {
            let reply = runtime.block_on(responder.respond(bytes, Transport::Udp))?;
            Some(Message::from_vec(&reply).unwrap().metadata.response_code)
        };
        let question = |kind: &str| {
            let mut message = Message::query();
            let name = Name::from_ascii("cluster.local.").unwrap();
            message.add_query(Query::query(name, kind.parse().unwrap()));
            message
        };
        let mut two = question("A");
        two.add_query(Query::new());
        let mut response = question("A");
        response.metadata.message_type = MessageType::Response;
        let mut update = question("A");
        update.metadata.op_code = OpCode::Update;
        for (bytes, expected) in [
            (
                question("SOA").to_vec().unwrap(),
                Some(ResponseCode::NoError),
            ),
            (
                question("AXFR").to_vec().unwrap(),
                Some(ResponseCode::Refused),
            ),
            (update.to_vec().unwrap(), Some(ResponseCode::NotImp)),
            (two.to_vec().unwrap(), Some(ResponseCode::FormErr)),
            (response.to_vec().unwrap(), None),
            (vec![0; 11], None),
            (vec![0xff; 40], None),
            (
                [&[1, 2, 0, 0, 0, 9][..], &[0; 30]].concat(),
                Some(ResponseCode::FormErr),
            ),
        ] {
            assert_eq!(respond(&bytes), expected, "{bytes:?}");
        }
    }
}
