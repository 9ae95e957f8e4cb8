//! Which documents does a text hold? YAML and JSON alike.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::yaml::Reader;
use crate::input::lines::Lines;

/// One document of a text, or a part of one.
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

/// Reads each document of a text; those without content are left out. A broken one leaves the next
/// one readable.
pub(super) fn read(text: &str) -> Vec<Result<Document, Unreadable>> {
    let mut documents = Vec::new();
    for (line, part) in json_objects(text).unwrap_or_else(|| vec![(0, text)]) {
        let mut reader = Reader::new(part);
        while let Some(mut document) = reader.next_document() {
            match &mut document {
                Ok(document) => document.lines.shift(line),
                Err(unreadable) => unreadable.line += line,
            }
            documents.push(document);
        }
    }
    documents
}

/// The objects of a stream of JSON, each with the number of lines before it; none if that is not
/// what the text is. To YAML such a stream would be an error.
fn json_objects(text: &str) -> Option<Vec<(u32, &str)>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let (mut objects, mut start, mut line) = (Vec::new(), 0, 0);
    while let Some(object) = stream.next() {
        object.ok()?;
        let part = &text[start..stream.byte_offset()];
        objects.push((line, part));
        line += part.matches('\n').count() as u32;
        start = stream.byte_offset();
    }
    Some(objects)
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
