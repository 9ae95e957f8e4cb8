//! Which objects does a file hold, and what is wrong with them?

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{self, Document};
use super::kinds::{Meaning, meaning};
use crate::input::declared::{Key, Kind, Origin, Placed};
use crate::input::findings::{Finding, Findings};
use crate::input::kubernetes::{self, Written};
use crate::input::lines::{Lines, Packed};
use crate::model::{self, ObjectName, Place, Problem};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Its objects in their order.
    pub(super) objects: Vec<(Key, Placed)>,
    /// Objects that are there, but not as the API server would take them.
    pub(super) refused: BTreeSet<Key>,
    /// Whether there is something of which cannot be told what it is: then an object that is not
    /// there may only be hidden.
    pub(super) is_broken: bool,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
}

impl Reading {
    /// Whether everything in it is in force as it is written.
    pub(super) fn is_in_order(&self) -> bool {
        !self.is_broken && self.refused.is_empty()
    }
}

/// Reads the text of a file.
pub(super) fn parse(file: &Path, text: &str) -> Reading {
    let mut parser = Parser {
        file: file.into(),
        written: BTreeSet::new(),
        reading: Reading::default(),
    };
    for document in document::read(text) {
        match document {
            Ok(Document { value, lines }) => parser.object(value, lines, None),
            Err(unreadable) => parser.broken(
                unreadable.line,
                "",
                &format!("not readable as YAML or JSON: {}; mend it", unreadable.why),
            ),
        }
    }
    parser.reading
}

/// The object that problems with a file as a whole are about.
pub(super) fn file_object(file: &Path) -> model::Object {
    model::Object {
        kind: "File".into(),
        name: ObjectName::new("", file.display().to_string()),
    }
}

struct Parser {
    file: Arc<Path>,
    /// How objects are written so far: many are written alike.
    written: BTreeSet<Arc<Packed>>,
    reading: Reading,
}

/// `apiVersion` and `kind` of the items of a list that says them for all.
type OfList<'a> = Option<(&'a str, &'a str)>;

impl Parser {
    /// Reads one object, or each object of a list.
    fn object(&mut self, value: Value, lines: Lines, of_list: OfList<'_>) {
        let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let api_version = text("apiVersion").or(of_list.map(|(version, _)| version.into()));
        let kind = text("kind").or(of_list.map(|(_, kind)| kind.into()));
        let (Some(api_version), Some(kind)) = (api_version, kind) else {
            self.broken(
                lines.line(""),
                "",
                "not an object of the API; write apiVersion, kind and metadata.name",
            );
            return;
        };
        let (field, why) = match meaning(&api_version, &kind) {
            Meaning::Read(kind) => return self.read(kind, value, &lines),
            Meaning::List(item_kind) => return self.list(value, lines, &api_version, item_kind),
            Meaning::Irrelevant => return,
            Meaning::OtherVersion(version) => (
                "apiVersion",
                format!("{kind} is not read in {api_version}; write it as {version}"),
            ),
            Meaning::Foreign => (
                "kind",
                format!("{kind} of {api_version} is nothing to a load balancer and is left out"),
            ),
            Meaning::Unknown => (
                "kind",
                format!("{api_version} has no {kind:?}; check how it is written"),
            ),
        };
        if value["metadata"]["name"].is_null() {
            // Cut off: who knows what it was to become.
            self.broken(lines.line(field), field, &why);
        } else {
            self.remark(lines.line(field), field, why);
        }
    }

    fn list(&mut self, mut value: Value, mut lines: Lines, api_version: &str, kind: &str) {
        let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) else {
            let why = "a List has a list of items; write each with a leading -, or [] for none";
            self.broken(lines.line("items"), "items", why);
            return;
        };
        let of_list = (!kind.is_empty()).then_some((api_version, kind));
        for (item, lines) in items.into_iter().zip(lines.take_items("items")) {
            self.object(item, lines, of_list);
        }
    }

    fn read(&mut self, kind: Kind, value: Value, lines: &Lines) {
        let metadata = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
        let name = metadata("name");
        if name.is_empty() {
            let why = match value["metadata"]["name"] {
                Value::Null | Value::String(_) => "has no name; write one",
                _ => "has a name that is no text; write it in quotes",
            };
            self.broken(
                lines.line("metadata.name"),
                "metadata.name",
                &format!("this {} {why}", kind.name()),
            );
            return;
        }
        let namespace = match (kind, metadata("namespace")) {
            (Kind::Node | Kind::ServiceCidr, _) => "",
            (_, "") => "default",
            (_, namespace) => namespace,
        };
        let key = Key {
            kind,
            name: ObjectName::new(namespace, name),
        };
        let mut findings = Findings::default();
        let object = kubernetes::declare(&key, ByHand(value), &mut findings);
        let mut origin = Origin {
            file: Arc::clone(&self.file),
            line: lines.line(""),
            lines: self.written_so(lines),
        };
        let found = findings.refusals.iter().chain(&findings.remarks);
        self.reading
            .problems
            .extend(found.map(|finding| key.problem(finding, Some(&origin))));
        if !findings.refusals.is_empty() {
            self.reading.refused.insert(key);
        } else if let Some(object) = object {
            if kind != Kind::Service {
                // Only what a Service asks for can turn out wrong because of other objects.
                origin.lines = self.written_so(&lines.first());
            }
            self.reading.objects.push((key, Placed { object, origin }));
        }
    }

    fn written_so(&mut self, lines: &Lines) -> Arc<Packed> {
        let lines = Packed::new(lines);
        if let Some(alike) = self.written.get(&lines) {
            return Arc::clone(alike);
        }
        let lines = Arc::new(lines);
        self.written.insert(Arc::clone(&lines));
        lines
    }

    fn broken(&mut self, line: u32, field: &str, why: &str) {
        self.reading.is_broken = true;
        let why = format!("{why}; until then the objects of this file stay as they were");
        self.remark(line, field, why);
    }

    fn remark(&mut self, line: u32, field: &str, why: String) {
        self.reading.problems.push(Problem {
            object: file_object(&self.file),
            field: field.into(),
            why,
            place: Some(Place {
                file: self.file.to_path_buf(),
                line,
            }),
        });
    }
}

/// An object as somebody wrote it: what the API would silently ignore is a slip of the pen here.
struct ByHand(Value);

impl Written for ByHand {
    fn typed<T: DeserializeOwned>(self, findings: &mut Findings) -> Option<T> {
        typed(self.0, findings)
    }
}

/// Reads an object as Kubernetes defines it.
fn typed<T: DeserializeOwned>(value: Value, findings: &mut Findings) -> Option<T> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(field_path(&path));
    let ignoring = serde_ignored::Deserializer::new(tracked, &mut note);
    match T::deserialize(ignoring) {
        Ok(object) => {
            findings.remarks.extend(unknown.into_iter().map(|field| {
                Finding::new(
                    field,
                    "the API has no such field, so it has no effect; check how it is written",
                )
            }));
            Some(object)
        }
        Err(error) => {
            let field = match track.path().to_string() {
                root if root == "." => String::new(),
                path => path,
            };
            let why = format!("{error}; write it as the API has it");
            findings.refusals.push(Finding::new(field, why));
            None
        }
    }
}

/// A path as `spec.ports[0].port`.
fn field_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path as P;
    match path {
        P::Root => String::new(),
        P::Seq { parent, index } => format!("{}[{index}]", field_path(parent)),
        P::Map { parent, key } => match field_path(parent) {
            root if root.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        P::Some { parent } | P::NewtypeStruct { parent } | P::NewtypeVariant { parent } => {
            field_path(parent)
        }
    }
}
