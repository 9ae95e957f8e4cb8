//! What does a line of a watch, or a page of a list, tell?

use serde::Deserialize;
use serde_json::value::RawValue;

use super::read::{Reading, read};
use crate::input::declared::Kind;
use crate::model::ObjectName;

/// Annotation of the bookmark that ends the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// HTTP status of a version that is too old to go on from (410, in watches and in pages).
const GONE: u16 = 410;

/// What a line of a watch tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// An object is so now.
    Now(Reading),
    /// An object is gone, or none of those that were asked for any more.
    Gone(ObjectName, Version),
    /// Nothing happened up to this version.
    Bookmark {
        /// The version.
        version: Version,
        /// Whether every object that was there at the beginning has been told by now.
        is_list_complete: bool,
    },
    /// The version to go on from is too old: begin with a list.
    Expired,
    /// The server ends the watch and says why.
    Failed(String),
}

/// A `resourceVersion`: an opaque text.
pub(super) type Version = String;

/// A page of a list.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Its objects.
    pub(super) objects: Vec<Reading>,
    /// Token that asks for the next page; empty = this is the last one.
    pub(super) next: String,
    /// The version of the whole list.
    pub(super) version: Version,
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: Version,
    annotations: std::collections::BTreeMap<String, String>,
    r#continue: String,
}

/// Of what the API calls `Status`: why a request failed.
#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct List<'a> {
    metadata: Metadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// Reads a line.
///
/// # Errors
/// It is none of a watch.
pub(super) fn line(kind: Kind, text: &str) -> Result<Line, serde_json::Error> {
    let event: Event<'_> = serde_json::from_str(text)?;
    let object = event.object.get();
    Ok(match event.r#type {
        "ADDED" | "MODIFIED" => Line::Now(read(kind, object)?),
        "DELETED" => {
            let Reading { name, version, .. } = read(kind, object)?;
            Line::Gone(name, version)
        }
        "BOOKMARK" => {
            let Bookmark { metadata } = serde_json::from_str(object)?;
            Line::Bookmark {
                is_list_complete: metadata.annotations.contains_key(INITIAL_EVENTS_END),
                version: metadata.resource_version,
            }
        }
        _ => {
            let status: Status = serde_json::from_str(object)?;
            if status.code == GONE {
                Line::Expired
            } else {
                Line::Failed(status.message)
            }
        }
    })
}

/// Reads a page.
///
/// # Errors
/// It is none of a list.
pub(super) fn page(kind: Kind, text: &str) -> Result<Page, serde_json::Error> {
    let List { metadata, items } = serde_json::from_str(text)?;
    let items = items.unwrap_or_default().into_iter();
    Ok(Page {
        objects: items
            .map(|item| read(kind, item.get()))
            .collect::<Result<_, _>>()?,
        next: metadata.r#continue,
        version: metadata.resource_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_what_happened() {
        let bookmark = |annotations: &str| {
            let text = format!(
                r#"{{"type":"BOOKMARK","object":{{"kind":"Service","metadata":{{"resourceVersion":"12","annotations":{annotations}}}}}}}"#
            );
            line(Kind::Service, &text).expect("a line")
        };
        let version = || String::from("12");
        assert_eq!(
            bookmark("{}"),
            Line::Bookmark {
                version: version(),
                is_list_complete: false
            }
        );
        assert_eq!(
            bookmark(r#"{"k8s.io/initial-events-end":"true"}"#),
            Line::Bookmark {
                version: version(),
                is_list_complete: true
            }
        );
        let gone = r#"{"type":"DELETED","object":{"metadata":{"name":"kubia","namespace":"default","resourceVersion":"12"},"spec":{"ports":"?"}}}"#;
        assert_eq!(
            line(Kind::Service, gone).expect("a line"),
            Line::Gone(ObjectName::new("default", "kubia"), version())
        );
        let failed = |code: u16| {
            let text = format!(
                r#"{{"type":"ERROR","object":{{"kind":"Status","code":{code},"message":"too old"}}}}"#
            );
            line(Kind::Service, &text).expect("a line")
        };
        assert_eq!(failed(410), Line::Expired);
        assert_eq!(failed(500), Line::Failed("too old".into()));
        assert!(line(Kind::Service, "<html>").is_err());
    }

    #[test]
    fn pages_name_the_next_one_and_may_be_empty() {
        let text = r#"{"metadata":{"resourceVersion":"12","continue":"abc"},"items":[
            {"metadata":{"name":"default-cidr"},"spec":{"cidrs":["10.96.0.0/16"]}}]}"#;
        let page = page(Kind::ServiceCidr, text).expect("a page");
        assert_eq!((&*page.next, &*page.version), ("abc", "12"));
        assert_eq!(page.objects.len(), 1);
        let empty = r#"{"metadata":{"resourceVersion":"13"},"items":null}"#;
        let page = super::page(Kind::ServiceCidr, empty).expect("a page");
        assert!(page.objects.is_empty() && page.next.is_empty());
    }
}
