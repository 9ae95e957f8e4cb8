//! Which paths does a Rust source name? Enough of the grammar to tell code from comments and texts, and to unfold `use`.

use std::iter::Peekable;

/// A path, as `std::fs::File` is one, with the line of its first segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
}

/// All paths that the source names, those of `use` unfolded, in order. Plain names in expressions count as paths of one.
pub(super) fn paths(source: &str) -> Vec<Named> {
    let tokens = tokens(source);
    let mut tokens = tokens.iter().peekable();
    let mut paths = Vec::new();
    while let Some(Token { line, kind }) = tokens.next() {
        match kind {
            Kind::Word(word) if word == "use" => use_tree(&mut tokens, &[], &mut paths),
            Kind::Word(word) => {
                let mut segments = vec![word.clone()];
                while let Some(next) = segment(&mut tokens) {
                    segments.push(next);
                }
                paths.push(Named {
                    line: *line,
                    segments,
                });
            }
            Kind::PathSeparator | Kind::Sign(_) => {}
        }
    }
    paths
}

type Tokens<'a> = Peekable<std::slice::Iter<'a, Token>>;

/// Takes `::word`, if that follows.
fn segment(tokens: &mut Tokens<'_>) -> Option<String> {
    tokens.next_if(|token| token.kind == Kind::PathSeparator)?;
    match &tokens.peek()?.kind {
        Kind::Word(word) => {
            tokens.next();
            Some(word.clone())
        }
        _ => None,
    }
}

/// Unfolds what follows `use`, or one branch within its braces, up to `,`, `}` or `;`.
fn use_tree(tokens: &mut Tokens<'_>, parents: &[String], paths: &mut Vec<Named>) {
    let mut segments = parents.to_vec();
    let mut line = 0;
    let mut is_group = false;
    while let Some(token) = tokens.peek() {
        match &token.kind {
            Kind::Sign(',' | '}' | ';') => break,
            Kind::Sign('{') => {
                tokens.next();
                is_group = true;
                use_group(tokens, &segments, paths);
            }
            Kind::Word(word) if word == "as" => {
                tokens.next();
                // The new name is no path of anybody's.
                tokens.next();
            }
            Kind::Word(word) => {
                line = if line == 0 { token.line } else { line };
                segments.push(word.clone());
                tokens.next();
            }
            Kind::PathSeparator | Kind::Sign(_) => {
                tokens.next();
            }
        }
    }
    if !is_group && segments.len() > parents.len() {
        paths.push(Named { line, segments });
    }
}

fn use_group(tokens: &mut Tokens<'_>, parents: &[String], paths: &mut Vec<Named>) {
    loop {
        use_tree(tokens, parents, paths);
        match tokens.next().map(|token| &token.kind) {
            Some(Kind::Sign(',')) => {}
            _ => return,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Token {
    line: usize,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Word(String),
    PathSeparator,
    Sign(char),
}

/// The source without comments, texts, characters, lifetimes and numbers.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let len = ignorable(rest);
        let (len, kind) = if len > 0 {
            (len, None)
        } else if first.is_alphabetic() || first == '_' {
            let len = rest.find(|char: char| !is_word(char)).unwrap_or(rest.len());
            (len, Some(Kind::Word(rest[..len].to_owned())))
        } else if rest.starts_with("::") {
            (2, Some(Kind::PathSeparator))
        } else {
            (
                first.len_utf8(),
                (!first.is_whitespace()).then_some(Kind::Sign(first)),
            )
        };
        tokens.extend(kind.map(|kind| Token { line, kind }));
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    tokens
}

/// How many bytes at the beginning are a comment, a text, a character, a lifetime or a number; 0 when none is.
fn ignorable(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest);
    }
    let prefix = rest
        .find(|char| !matches!(char, 'b' | 'c' | 'r'))
        .unwrap_or(rest.len());
    if prefix <= 2 && rest[prefix..].starts_with(['"', '#']) && rest[..prefix].ends_with('r') {
        return raw_text(rest, prefix);
    }
    if prefix == 1 && rest[1..].starts_with('"') {
        return 1 + quoted(&rest[1..]);
    }
    if rest.starts_with('\'') {
        return character_or_lifetime(rest);
    }
    if rest.starts_with(|char: char| char.is_ascii_digit()) {
        return rest.find(|char| !is_word(char)).unwrap_or(rest.len());
    }
    0
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = char == '\\' && !is_escaped,
        }
    }
    rest.len()
}

/// `r"…"` or `r#"…"#`; `r#word` is no text, and then the answer is the length of its prefix.
fn raw_text(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..]
        .bytes()
        .take_while(|byte| *byte == b'#')
        .count();
    let start = prefix + hashes;
    if !rest[start..].starts_with('"') {
        return start;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    rest[start + 1..]
        .find(&end)
        .map_or(rest.len(), |at| start + 1 + at + end.len())
}

/// `'a'` and `'\n'` end with a quote; a lifetime's `'` stands before a word without one.
fn character_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(rest.len(), |at| 3 + at + 1),
        Some((at, char)) => {
            let after = at + char.len_utf8();
            let is_character = rest[after..].starts_with('\'');
            let lifetime = 1 + rest[1..]
                .find(|char| !is_word(char))
                .unwrap_or(rest.len() - 1);
            if is_character { after + 1 } else { lifetime }
        }
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::paths;

    fn named(source: &str) -> Vec<String> {
        paths(source)
            .into_iter()
            .map(|named| named.segments.join("::"))
            .collect()
    }

    #[test]
    fn use_is_unfolded() {
        assert_eq!(
            named("use std::{fs, io::{self, Read as _}, time::*}; use ::aya as a;"),
            [
                "std::fs",
                "std::io::self",
                "std::io::Read",
                "std::time",
                "aya"
            ]
        );
    }

    #[test]
    fn paths_in_code_are_whole() {
        assert_eq!(
            named("let x = std::fs::read(y)?;"),
            ["let", "x", "std::fs::read", "y"]
        );
    }

    #[test]
    fn comments_texts_characters_and_lifetimes_name_nothing() {
        let source = r##"a /* aya /* kube */ */ // aya
            "aya \" kube" b"aya" r#"aya " "# '"' '\'' 'x' &'aya b r#c"##;
        assert_eq!(named(source), ["a", "b", "c"]);
    }

    #[test]
    fn the_line_is_that_of_the_first_segment() {
        let lines: Vec<_> = paths("a\n/*\n*/b\nuse c::{\n  d,\n e};")
            .into_iter()
            .map(|named| named.line)
            .collect();
        assert_eq!(lines, [1, 3, 5, 6]);
    }
}
