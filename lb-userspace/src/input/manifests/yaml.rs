//! What does YAML say, and on which line does it say so?
//!
//! The parser's events are read directly: fields need their lines, and large directories speed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{self, Event, Parser, Span, StrInput};

use super::document::{Document, Unreadable};
use super::scalar::scalar;
use crate::input::lines::{Lines, Parts};

/// So many values of one document may come from aliases: a slip cannot grow without end.
const ALIASED_VALUES_MAX: usize = 1_000_000;

/// No object of the API is nested deeper than a fraction of this.
const NESTING_MAX: usize = 64;

/// Makes documents of a parser's events.
pub(super) struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Anchored parts of this document, with the number of values in each.
    anchors: BTreeMap<usize, (Document, usize)>,
    values: usize,
    aliased_values: usize,
    /// Whether nothing readable is left.
    is_over: bool,
}

impl<'a> Reader<'a> {
    /// Reads nothing yet.
    pub(super) fn new(text: &'a str) -> Self {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: NESTING_MAX,
            block_nesting_limit: NESTING_MAX,
        };
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            anchors: BTreeMap::new(),
            values: 0,
            aliased_values: 0,
            is_over: false,
        }
    }

    /// The next document that has content; after a broken one, the one behind it.
    pub(super) fn next_document(&mut self) -> Option<Result<Document, Unreadable>> {
        let document = self.document();
        if document.is_err() {
            self.is_over = !self.parser.proceed_next_document().unwrap_or(false);
        }
        document.transpose()
    }

    fn document(&mut self) -> Result<Option<Document>, Unreadable> {
        if self.is_over {
            return Ok(None);
        }
        loop {
            match self.event()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::DocumentStart(..), _) => {
                    self.anchors.clear();
                    self.aliased_values = 0;
                }
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (event, span) => {
                    let document = self.part(event, &span)?;
                    if !document.value.is_null() {
                        return Ok(Some(document));
                    }
                }
            }
        }
    }

    fn event(&mut self) -> Result<(Event<'a>, Span), Unreadable> {
        match self.parser.next() {
            Some(event) => event.map_err(|error| Unreadable {
                line: error.marker().line() as u32,
                why: error.info(),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The part of a document that begins with this event.
    fn part(&mut self, event: Event<'a>, span: &Span) -> Result<Document, Unreadable> {
        let before = self.values;
        self.values += 1;
        let (document, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(text, style, tag.as_deref());
                (part(value, span, Parts::None), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.items(span)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.fields(span)?, anchor),
            Event::Alias(anchor) => return self.aliased(anchor, span),
            _ => return Err(at(span, "a value is missing")),
        };
        if anchor != 0 {
            let anchored = (document.clone(), self.values - before);
            self.anchors.insert(anchor, anchored);
        }
        Ok(document)
    }

    fn aliased(&mut self, anchor: usize, span: &Span) -> Result<Document, Unreadable> {
        let Some((document, values)) = self.anchors.get(&anchor) else {
            return Err(at(span, "an alias of something that it is part of"));
        };
        self.values += values;
        self.aliased_values += values;
        if self.aliased_values > ALIASED_VALUES_MAX {
            return Err(at(span, "its aliases stand for too many values"));
        }
        Ok(document.clone())
    }

    fn items(&mut self, start: &Span) -> Result<Document, Unreadable> {
        let (mut values, mut lines) = (Vec::new(), Vec::new());
        loop {
            match self.event()? {
                (Event::SequenceEnd, _) => break,
                (event, span) => {
                    let item = self.part(event, &span)?;
                    values.push(item.value);
                    lines.push(item.lines);
                }
            }
        }
        Ok(part(values.into(), start, Parts::Items(lines)))
    }

    fn fields(&mut self, start: &Span) -> Result<Document, Unreadable> {
        let mut fields = Map::new();
        let mut lines = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.event()?;
            let name = match event {
                Event::MappingEnd => break,
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(at(&span, "the name of a field is no text")),
            };
            let (event, value_span) = self.event()?;
            let mut field = self.part(event, &value_span)?;
            if name == "<<" {
                merged.push(field);
                continue;
            }
            field.lines.set_line(line(&span));
            if fields.insert(name.clone(), field.value).is_some() {
                return Err(at(&span, &format!("field {name} is there twice")));
            }
            lines.push((name, field.lines));
        }
        for source in merged {
            merge(source, &mut fields, &mut lines)
                .map_err(|()| at(start, "only fields can be merged with <<"))?;
        }
        Ok(part(fields.into(), start, Parts::Fields(lines)))
    }
}

fn part(value: Value, start: &Span, parts: Parts) -> Document {
    let lines = Lines::new(line(start), parts);
    Document { value, lines }
}

fn line(span: &Span) -> u32 {
    span.start.line() as u32
}

fn at(span: &Span, why: &str) -> Unreadable {
    Unreadable {
        line: line(span),
        why: why.into(),
    }
}

/// Takes over the fields that are not there yet, of one source or of a list of them.
fn merge(
    source: Document,
    fields: &mut Map<String, Value>,
    lines: &mut Vec<(String, Lines)>,
) -> Result<(), ()> {
    let mut parts = source.lines.into_parts();
    match (source.value, &mut parts) {
        (Value::Object(values), Parts::Fields(parts)) => {
            for (name, part) in std::mem::take(parts) {
                if !fields.contains_key(&name) {
                    let value = values.get(&name).cloned().unwrap_or_default();
                    fields.insert(name.clone(), value);
                    lines.push((name, part));
                }
            }
            Ok(())
        }
        (Value::Array(values), Parts::Items(parts)) => {
            let sources = values.into_iter().zip(std::mem::take(parts));
            sources
                .into_iter()
                .try_for_each(|(value, lines_of_source)| {
                    let source = Document {
                        value,
                        lines: lines_of_source,
                    };
                    merge(source, fields, lines)
                })
        }
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Unreadable> {
        let document = Reader::new(text).next_document().unwrap()?;
        Ok(document.value.to_string())
    }

    #[test]
    fn aliases_and_merges_stand_for_what_they_name() {
        for (text, expected) in [
            ("[&a 1, *a, &a 2, *a]", "[1,1,2,2]"),
            (
                "{a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}}",
                r#"{"a":{"x":1,"y":2},"b":{"x":1,"y":3}}"#,
            ),
            (
                "[&a {x: 1}, &b {x: 2, y: 2}, {<<: [*a, *b]}]",
                r#"[{"x":1},{"x":2,"y":2},{"x":1,"y":2}]"#,
            ),
        ] {
            assert_eq!(read(text).unwrap(), expected, "{text}");
        }
        for text in ["*a", "&a [*a]", "{<<: 1}", "{a: 1, a: 2}", "{[a]: 1}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn neither_aliases_nor_nesting_grow_without_end() {
        let mut bomb = "- &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
        for i in 1..20 {
            let alias = format!("*a{}, ", i - 1).repeat(10);
            bomb.extend([format!("- &a{i} [{alias}]\n")]);
        }
        assert!(read(&bomb).is_err());
        assert!(read(&"[".repeat(10_000)).is_err());
        assert!(read(&format!("{}1{}", "[".repeat(60), "]".repeat(60))).is_ok());
    }
}
