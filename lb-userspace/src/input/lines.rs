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
        let (mut part, mut rest) = (self, path);
        while let Some((inner, after)) = part.step(rest) {
            (part, rest) = (inner, after.strip_prefix('.').unwrap_or(after));
        }
        part.line
    }

    /// The part that a path begins with, and the rest of the path.
    fn step<'a, 'p>(&'a self, path: &'p str) -> Option<(&'a Self, &'p str)> {
        match &self.parts {
            Parts::None => None,
            Parts::Items(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                Some((items.get(index.parse::<usize>().ok()?)?, rest))
            }
            // Names may hold dots themselves (labels do), so they are compared, not split off.
            Parts::Fields(fields) => fields.iter().find_map(|(name, lines)| {
                let rest = path.strip_prefix(name.as_str())?;
                (rest.is_empty() || rest.starts_with(['.', '['])).then_some((lines, rest))
            }),
        }
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
