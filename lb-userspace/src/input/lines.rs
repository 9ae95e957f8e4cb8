//! On which line does each part of a document stand?

/// Where each part of a document is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Counted from 1; of a field: where its name stands.
    line: u32,
    parts: Parts,
}

/// What a part of a document consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Parts {
    #[default]
    /// Nothing: a text, a number.
    None,
    /// A list.
    Items(Vec<Lines>),
    /// Fields by name.
    Fields(Vec<(String, Lines)>),
}

impl Lines {
    /// A part on this line.
    pub(super) fn new(line: u32, parts: Parts) -> Self {
        Self { line, parts }
    }

    /// The line of the document alone, without its parts.
    pub(super) fn first(&self) -> Self {
        Self::new(self.line, Parts::None)
    }

    /// What it consists of.
    pub(super) fn into_parts(self) -> Parts {
        self.parts
    }

    /// Says that the part stands on this line.
    pub(super) fn set_line(&mut self, line: u32) {
        self.line = line;
    }

    /// The line of a field's path such as `spec.ports[0].port`, or of the innermost part of it
    /// that is written.
    pub(super) fn line(&self, path: &str) -> u32 {
        self.line + Packed::new(self).below(path)
    }

    /// Takes the lines of each item of a list field out.
    pub(super) fn take_items(&mut self, field: &str) -> Vec<Self> {
        let Parts::Fields(fields) = &mut self.parts else {
            return Vec::new();
        };
        let found = fields.iter_mut().find(|(name, _)| name == field);
        match found.map(|(_, lines)| std::mem::take(&mut lines.parts)) {
            Some(Parts::Items(items)) => items,
            _ => Vec::new(),
        }
    }

    /// Moves everything down by so many lines.
    pub(super) fn shift(&mut self, lines: u32) {
        self.line += lines;
        match &mut self.parts {
            Parts::None => {}
            Parts::Items(items) => items.iter_mut().for_each(|item| item.shift(lines)),
            Parts::Fields(fields) => fields.iter_mut().for_each(|(_, part)| part.shift(lines)),
        }
    }
}

/// [`Lines`] that are kept, in little memory: a part, then all that it consists of. Lines are counted from
/// the first part's, so that objects that are written alike have the same ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packed {
    parts: Box<[Part]>,
    /// Of all fields, one after the other.
    names: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    line: u32,
    /// How many parts it consists of, and these, and so on: they come next.
    within: u32,
    /// Where its name begins and ends; nothing in between for what has none, as an item of a list.
    name: (u32, u32),
}

impl Packed {
    pub(super) fn new(lines: &Lines) -> Self {
        let (mut parts, mut names) = (Vec::new(), String::new());
        pack(lines.line, "", lines, &mut parts, &mut names);
        Self {
            parts: parts.into(),
            names: names.into(),
        }
    }

    /// How many lines below the first the field of a path stands, such as `spec.ports[0].port`, or the
    /// innermost part of it that is written.
    pub(super) fn below(&self, path: &str) -> u32 {
        let (mut at, mut rest) = (0, path);
        while let Some((inner, after)) = self.step(at, rest) {
            (at, rest) = (inner, after.strip_prefix('.').unwrap_or(after));
        }
        self.parts[at].line
    }

    /// The part that a path begins with, and the rest of the path.
    fn step<'p>(&self, at: usize, path: &'p str) -> Option<(usize, &'p str)> {
        let mut parts = self.parts_of(at);
        if let Some(index) = path.strip_prefix('[') {
            let (index, rest) = index.split_once(']')?;
            let (item, "") = parts.nth(index.parse().ok()?)? else {
                return None;
            };
            return Some((item, rest));
        }
        // Names may hold dots themselves (labels do), so they are compared, not split off.
        parts.find_map(|(field, name)| {
            let rest = path.strip_prefix(name)?;
            let ends = rest.is_empty() || rest.starts_with(['.', '[']);
            (ends && !name.is_empty()).then_some((field, rest))
        })
    }

    /// Of which parts, by place and name, one consists.
    fn parts_of(&self, at: usize) -> impl Iterator<Item = (usize, &str)> {
        let end = at + 1 + self.parts[at].within as usize;
        let mut next = at + 1;
        std::iter::from_fn(move || {
            let part = (next < end).then(|| self.parts[next])?;
            let (from, to) = part.name;
            let found = (next, &self.names[from as usize..to as usize]);
            next += 1 + part.within as usize;
            Some(found)
        })
    }
}

fn pack(first: u32, name: &str, lines: &Lines, parts: &mut Vec<Part>, names: &mut String) {
    let (at, from) = (parts.len(), names.len() as u32);
    names.push_str(name);
    parts.push(Part {
        line: lines.line.saturating_sub(first),
        within: 0,
        name: (from, names.len() as u32),
    });
    match &lines.parts {
        Parts::None => {}
        Parts::Items(items) => items
            .iter()
            .for_each(|item| pack(first, "", item, parts, names)),
        Parts::Fields(fields) => {
            for (name, field) in fields {
                pack(first, name, field, parts, names);
            }
        }
    }
    parts[at].within = (parts.len() - at - 1) as u32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_dots_and_begin_like_others() {
        let leaf = |line| Lines::new(line, Parts::None);
        let labels = Lines::new(
            1,
            Parts::Fields(vec![
                ("app".into(), leaf(2)),
                ("application".into(), leaf(3)),
                ("kubernetes.io/service-name".into(), leaf(4)),
            ]),
        );
        assert_eq!(labels.line("app"), 2);
        assert_eq!(labels.line("application"), 3);
        assert_eq!(labels.line("kubernetes.io/service-name"), 4);
        assert_eq!(labels.line("kubernetes"), 1);
    }
}
