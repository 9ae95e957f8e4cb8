//! What is the answer to a question, as far as it is ours to give? Pure.

use std::collections::BTreeSet;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::zone::Zone;

/// Names that may lead from one to the next before they are taken for a circle.
const LONGEST_CHAIN: usize = 8;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub code: ResponseCode,
    /// What was asked for.
    pub answers: Vec<Record>,
    /// Who says so, where the answer is that there is nothing.
    pub authorities: Vec<Record>,
    /// What will be asked for next.
    pub additionals: Vec<Record>,
    /// The name that the answers lead to, where others know what it says.
    pub rest: Option<Name>,
}

/// The answer to a question; none if the name is somebody else's. Of several records the one that
/// comes first changes with `turn`, for clients that only ever take the first.
#[must_use]
pub fn answer(zone: &Zone, name: &Name, kind: RecordType, turn: u16) -> Option<Answer> {
    let mut answer = Answer::default();
    let mut name = name.clone();
    for _ in 0..LONGEST_CHAIN {
        let Some(found) = zone.find(&name) else {
            if answer.answers.is_empty() {
                return None;
            }
            answer.rest = Some(name);
            return Some(answer);
        };
        let data = found.data.as_deref().unwrap_or_default();
        if let [RData::CNAME(CNAME(target))] = data
            && !is_wanted(kind, RecordType::CNAME)
        {
            let target = target.clone();
            let alias = RData::CNAME(CNAME(target.clone()));
            answer
                .answers
                .push(Record::from_rdata(name, found.ttl, alias));
            name = target;
            continue;
        }
        let mut wanted: Vec<_> = data
            .iter()
            .filter(|data| is_wanted(kind, data.record_type()))
            .map(|data| Record::from_rdata(name.clone(), found.ttl, data.clone()))
            .collect();
        if wanted.is_empty() {
            if found.data.is_none() {
                if !zone.is_complete() {
                    // It may come yet: the client asks again, or somebody else.
                    return Some(Answer {
                        code: ResponseCode::ServFail,
                        ..Answer::default()
                    });
                }
                answer.code = ResponseCode::NXDomain;
            }
            let why = zone.start_of_authority();
            let why = Record::from_rdata(found.apex, found.ttl, why);
            answer.authorities.push(why);
            return Some(answer);
        }
        let first = usize::from(turn) % wanted.len();
        wanted.rotate_left(first);
        answer.additionals = addresses(zone, &wanted);
        answer.answers.append(&mut wanted);
        return Some(answer);
    }
    Some(Answer {
        code: ResponseCode::ServFail,
        ..Answer::default()
    })
}

fn is_wanted(kind: RecordType, there: RecordType) -> bool {
    kind == there || kind == RecordType::ANY
}

/// The addresses of the hosts that SRV records name.
fn addresses(zone: &Zone, records: &[Record]) -> Vec<Record> {
    let hosts = records.iter().filter_map(|record| match &record.data {
        RData::SRV(SRV { target, .. }) => Some(target),
        _ => None,
    });
    let mut addresses = Vec::new();
    for host in hosts.collect::<BTreeSet<_>>() {
        let Some(found) = zone.find(host) else {
            continue;
        };
        let data = found.data.into_iter().flatten();
        let data = data.filter(|data| matches!(data, RData::A(_) | RData::AAAA(_)));
        let of_host = data.map(|data| Record::from_rdata(host.clone(), found.ttl, data));
        addresses.extend(of_host);
    }
    addresses
}
