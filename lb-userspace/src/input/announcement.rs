//! What is told about an object to those who look at it in the cluster?

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use lb_common::names;

use super::declared::Kind;
use crate::model::{Problem, World};

/// The API takes no longer note, in bytes.
const LONGEST_NOTE: usize = 1024;
/// The API takes no longer name; ours ends with a sum of 16 digits.
const LONGEST_NAME: usize = 253 - 17;

/// A problem of an object, for those who look at the object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement {
    /// The problem.
    pub problem: Problem,
    /// `metadata.uid` of the object: `kubectl describe` asks by it; empty = unknown.
    pub uid: String,
}

impl Announcement {
    /// A problem of an object of the world.
    pub(super) fn new(problem: &Problem, world: &World) -> Self {
        let is_service = problem.object.kind == Kind::Service.name();
        let service = world.service(&problem.object.name).filter(|_| is_service);
        Self {
            problem: problem.clone(),
            uid: service
                .map(|service| service.uid.clone())
                .unwrap_or_default(),
        }
    }

    /// Whether the problem is of an object that people look at: of a Service, or a slice of one.
    pub(super) fn is_of_object(problem: &Problem) -> bool {
        api_version(&problem.object.kind).is_some()
    }

    /// The same on every node that has the problem, so that all of them tell it by one Event.
    pub(super) fn name(&self) -> String {
        let Problem {
            object, field, why, ..
        } = &self.problem;
        let parts = [&object.kind, &self.uid, field, why];
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
        // FNV-1a: against accidents, not against forgers.
        let sum = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{}.{sum:016x}", cut(&object.name.name, LONGEST_NAME))
    }

    /// The Event that this node would write.
    pub(super) fn event(&self, reporter: &str, now: Timestamp) -> Event {
        let Problem {
            object, field, why, ..
        } = &self.problem;
        let note = if field.is_empty() {
            why.clone()
        } else {
            format!("{field}: {why}")
        };
        Event {
            metadata: ObjectMeta {
                name: Some(self.name()),
                namespace: Some(object.name.namespace.to_string()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some("Warning".into()),
            reason: Some("NotServedAsWritten".into()),
            action: Some("Serve".into()),
            note: Some(cut(&note, LONGEST_NOTE).into()),
            regarding: Some(ObjectReference {
                api_version: api_version(&object.kind).map(Into::into),
                kind: Some(object.kind.clone()),
                namespace: Some(object.name.namespace.to_string()),
                name: Some(object.name.name.to_string()),
                uid: Some(self.uid.clone()).filter(|uid| !uid.is_empty()),
                ..ObjectReference::default()
            }),
            reporting_controller: Some(names::NAME.into()),
            reporting_instance: Some(reporter.into()),
            ..Event::default()
        }
    }
}

/// The version of the API in which objects of a kind are looked at; none for other things.
fn api_version(kind: &str) -> Option<&'static str> {
    if kind == Kind::Service.name() {
        Some("v1")
    } else if kind == Kind::EndpointSlice.name() {
        Some("discovery.k8s.io/v1")
    } else {
        None
    }
}

/// As much of a text as has so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Object, ObjectName};

    fn announcement(why: &str, uid: &str) -> Announcement {
        Announcement {
            problem: Problem {
                object: Object {
                    kind: "Service".into(),
                    name: ObjectName::new("default", "kubia"),
                },
                field: "metadata.annotations.lb/algorithm".into(),
                why: why.into(),
                place: None,
            },
            uid: uid.into(),
        }
    }

    #[test]
    fn nodes_agree_on_the_name_of_the_event_and_on_nothing_else() {
        let one = announcement("it is not known", "a");
        let now = Timestamp::UNIX_EPOCH;
        let (here, there) = (one.event("node-a", now), one.event("node-b", now));
        assert_eq!(here.metadata.name, there.metadata.name);
        assert_ne!(here.reporting_instance, there.reporting_instance);
        // The next Service of that name, and the next problem, have Events of their own.
        for other in [
            announcement("it is not known", "b"),
            announcement("it is too long", "a"),
        ] {
            assert_ne!(one.name(), other.name());
        }
        assert!(one.name().starts_with("kubia."), "{}", one.name());
    }

    #[test]
    fn a_long_note_is_cut_where_a_character_ends() {
        let long = announcement(&"ä".repeat(LONGEST_NOTE), "");
        let event = long.event("node-a", Timestamp::UNIX_EPOCH);
        let note = event.note.expect("a note");
        assert!(note.len() <= LONGEST_NOTE && note.ends_with('ä'), "{note}");
        assert_eq!(event.regarding.expect("an object").uid, None);
    }
}
