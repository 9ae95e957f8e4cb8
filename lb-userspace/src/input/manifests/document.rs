//! What does a text say, and on which line does it say so? YAML and JSON alike.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::input::lines::{Lines, Parts};

/// One document of a text.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// What it says.
    pub(super) value: Value,
    /// Where it says what.
    pub(super) lines: Lines,
}

/// A text that cannot be read as YAML or JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// Where it stops making sense, counted from 1.
    pub(super) line: u32,
    /// Why.
    pub(super) why: String,
}

/// Reads each document of a text; those without content are left out.
pub(super) fn read(text: &str) -> Vec<Result<Document, Unreadable>> {
    let mut documents = Vec::new();
    for (line, part) in parts(text) {
        match serde_saphyr::from_multiple_with_options::<Tree>(part, options()) {
            Ok(trees) => documents.extend(trees.into_iter().map(|mut tree| {
                tree.lines.shift(line);
                Ok(Document {
                    value: tree.value,
                    lines: tree.lines,
                })
            })),
            Err(error) => {
                let found = error.location().map_or(1, |at| at.line().max(1) as u32);
                documents.push(Err(Unreadable {
                    line: line + found,
                    why: error.without_snippet().to_string(),
                }));
            }
        }
    }
    documents
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // The files are the node's own: what they hold is served, however much it is. Aliases
        // stay limited, so that a slip cannot grow without end.
        budget: None,
        // `yes` is a word, as in YAML 1.2.
        strict_booleans: true,
        // 080 is no number that anybody means.
        leading_zero_numbers_as_strings: true,
        with_snippet: false,
    }
}

/// Cuts a text into its documents, each with the number of lines before it: at lines that begin
/// with `---`, so that a broken document leaves the next one readable, and between JSON objects
/// that follow each other.
fn parts(text: &str) -> Vec<(u32, &str)> {
    if text.trim_start().starts_with('{')
        && let Some(parts) = json_parts(text)
    {
        return parts;
    }
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (line, content) in text.split_inclusive('\n').enumerate() {
        let separates = content
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if separates && offset > start {
            parts.push((start_line, &text[start..offset]));
            (start, start_line) = (offset, line as u32);
        }
        offset += content.len();
    }
    parts.push((start_line, &text[start..]));
    parts.retain(|(_, part)| !is_blank(part));
    parts
}

/// Whether there is nothing but comments and separators.
fn is_blank(part: &str) -> bool {
    part.lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---" || line == "...")
}

/// The objects of a stream of JSON; none if that is not what the text is.
fn json_parts(text: &str) -> Option<Vec<(u32, &str)>> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let (mut parts, mut start, mut line) = (Vec::new(), 0, 0);
    while let Some(object) = stream.next() {
        object.ok()?;
        let part = &text[start..stream.byte_offset()];
        parts.push((line, part));
        line += part.matches('\n').count() as u32;
        start = stream.byte_offset();
    }
    Some(parts)
}

/// A value with its lines, as it comes out of the parser.
struct Tree {
    value: Value,
    lines: Lines,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned {
            value: Content(value, parts),
            referenced,
            ..
        } = Spanned::deserialize(deserializer)?;
        let line = referenced.line() as u32;
        Ok(Self {
            value,
            lines: Lines::new(line, parts),
        })
    }
}

struct Content(Value, Parts);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of YAML or JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content(value.into(), Parts::None))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content(value.into(), Parts::None))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content(value.into(), Parts::None))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Content, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Content(number.into(), Parts::None))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content(value.into(), Parts::None))
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content(value.into(), Parts::None))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content(Value::Null, Parts::None))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content(Value::Null, Parts::None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let (mut values, mut lines) = (Vec::new(), Vec::new());
        while let Some(item) = items.next_element::<Tree>()? {
            values.push(item.value);
            lines.push(item.lines);
        }
        Ok(Content(values.into(), Parts::Items(lines)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Content, A::Error> {
        let (mut values, mut lines) = (Map::new(), Vec::new());
        while let Some(name) = fields.next_key::<Spanned<String>>()? {
            let mut field = fields.next_value::<Tree>()?;
            field.lines.set_line(name.referenced.line() as u32);
            lines.push((name.value.clone(), field.lines));
            if values.insert(name.value.clone(), field.value).is_some() {
                return Err(A::Error::custom(format!("{} is there twice", name.value)));
            }
        }
        Ok(Content(values.into(), Parts::Fields(lines)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn all(text: &str) -> Vec<Document> {
        read(text).into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn every_field_knows_its_line() {
        let text = "# a comment\n\nkind: Service\nspec:\n  ports:\n  - port: 80\n    name: http\n  \
                    - name: https\n    port: 443\n";
        let document = &all(text)[0];
        for (path, line) in [
            ("kind", 3),
            ("spec", 4),
            ("spec.ports", 5),
            ("spec.ports[0].name", 7),
            ("spec.ports[1]", 8),
            ("spec.ports[1].port", 9),
            // Not written: the innermost part that is.
            ("spec.ports[1].nodePort", 8),
            ("spec.selector.app", 4),
            ("", 3),
        ] {
            assert_eq!(document.lines.line(path), line, "{path}");
        }
    }

    #[test]
    fn documents_are_cut_at_separators_and_keep_their_lines() {
        let documents = all("---\n# nothing here\n---\na: 1\n---\n\nb: 2\n...\n--- \n{c: 3}\n");
        let found: Vec<_> = documents
            .iter()
            .map(|document| (document.value.to_string(), document.lines.line("")))
            .collect();
        assert_eq!(
            found,
            [
                (r#"{"a":1}"#.into(), 4),
                (r#"{"b":2}"#.into(), 7),
                (r#"{"c":3}"#.into(), 10)
            ]
        );
    }

    #[test]
    fn json_is_read_one_object_after_the_other() {
        let documents = all("{\n\t\"a\": 1\n}\n{\"b\":\n \"\\u00e9\\ud83d\\ude00\"}");
        assert_eq!(documents[0].lines.line("a"), 2);
        assert_eq!(documents[1].lines.line("b"), 4);
        assert_eq!(documents[1].value["b"], "é😀");
    }

    #[test]
    fn a_broken_document_names_its_line_and_leaves_the_next_one_readable() {
        let documents = read("a: 1\n---\nb: [1,\nc: 2\n---\nd: 4\n");
        assert!(documents[0].is_ok() && documents[2].is_ok());
        let line = documents[1].as_ref().unwrap_err().line;
        assert!((3..=5).contains(&line), "{line}");
        let cut = read("{\"kind\": \"Service\", \"spec\": {");
        assert!(cut[0].is_err());
    }

    #[test]
    fn a_field_that_is_there_twice_is_an_error() {
        let error = read("a: 1\nb: 2\na: 3\n").remove(0).unwrap_err();
        assert_eq!(error.line, 3);
    }

    #[test]
    fn words_stay_words() {
        let document = &all("a: yes\nb: 080\nc: '80'\nd: true\ne: ~\nf: 1.5\n")[0];
        assert_eq!(
            document.value.to_string(),
            r#"{"a":"yes","b":"080","c":"80","d":true,"e":null,"f":1.5}"#
        );
    }
}
