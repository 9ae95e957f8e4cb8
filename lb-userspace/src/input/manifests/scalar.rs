//! What is a single text of YAML: a number, a truth, nothing, or just a text?

use std::borrow::Cow;

use serde_json::{Number, Value};
use serde_saphyr::granit_parser::{ScalarStyle, Tag};

/// The value of a text: quoted or tagged as one it stays a text, else YAML 1.2's core schema tells.
pub(super) fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_plain = match tag.map(Tag::core_suffix) {
        None => style == ScalarStyle::Plain,
        Some(Some(kind)) => kind != "str",
        Some(None) => false,
    };
    let value = if is_plain { plain(&text) } else { None };
    value.unwrap_or_else(|| Value::String(text.into_owned()))
}

/// The value of a plain text, if it is more than that.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Value::Null),
        "true" | "True" | "TRUE" => Some(true.into()),
        "false" | "False" | "FALSE" => Some(false.into()),
        _ => number(text),
    }
}

/// A number of the core schema; one with zeros in front is more likely meant as a text.
fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let other_base = [("0x", 16), ("0o", 8)];
    for (prefix, base) in other_base {
        if let Some(digits) = text.strip_prefix(prefix) {
            return u64::from_str_radix(digits, base).ok().map(Value::from);
        }
    }
    let begins = |bytes: &[u8]| matches!(bytes, [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..]);
    let leading_zero = matches!(digits.as_bytes(), [b'0', b'0'..=b'9', ..]);
    if !begins(digits.as_bytes()) || leading_zero {
        return None;
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = unsigned.parse::<i64>() {
        return Some(number.into());
    }
    if let Ok(number) = unsigned.parse::<u64>() {
        return Some(number.into());
    }
    let number = unsigned.parse::<f64>().ok()?;
    Number::from_f64(number).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use crate::input::manifests::yaml::Reader;

    #[test]
    fn texts_become_what_the_core_schema_says() {
        for (text, expected) in [
            ("80", "80"),
            ("-1", "-1"),
            ("+1", "1"),
            ("0", "0"),
            ("18446744073709551615", "18446744073709551615"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("1.5", "1.5"),
            (".5e1", "5.0"),
            ("080", "\"080\""),
            ("10.96.0.1", "\"10.96.0.1\""),
            ("fd00:96::1", "\"fd00:96::1\""),
            ("1_000", "\"1_000\""),
            (".inf", "\".inf\""),
            ("-", "[null]"),
            ("yes", "\"yes\""),
            ("True", "true"),
            ("'true'", "\"true\""),
            ("\"80\"", "\"80\""),
            ("!!str 80", "\"80\""),
            ("!!int '80'", "80"),
            ("[~, null, ]", "[null,null]"),
            ("|\n 80\n", "\"80\\n\""),
        ] {
            let document = Reader::new(text).next_document().unwrap().unwrap();
            assert_eq!(document.value.to_string(), expected, "{text}");
        }
    }
}
