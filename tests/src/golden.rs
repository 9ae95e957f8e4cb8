//! Where does a test's outcome become documentation? Between two markers of a file, which say whose
//! it is; `LB_UPDATE_GOLDEN=1` writes it anew.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Compares the part of the file between the comments `<!-- begin NAME -->` and `<!-- end NAME -->`.
///
/// # Errors
/// They differ, or the file has no such part.
pub fn check_part(path: &Path, name: &str, part: &str) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let new = replace(&text, name, part).with_context(|| {
        format!(
            "{}: no lines `{}` and `{}`",
            path.display(),
            begin(name),
            end(name)
        )
    })?;
    if std::env::var_os("LB_UPDATE_GOLDEN").is_some() {
        return fs::write(path, new).with_context(|| path.display().to_string());
    }
    ensure!(
        new == text,
        "{}: part {name} should be as follows (LB_UPDATE_GOLDEN=1 writes it):\n{part}",
        path.display()
    );
    Ok(())
}

fn begin(name: &str) -> String {
    format!("<!-- begin {name} -->")
}

fn end(name: &str) -> String {
    format!("<!-- end {name} -->")
}

fn replace(text: &str, name: &str, part: &str) -> Option<String> {
    let (before, rest) = text.split_once(&begin(name))?;
    let (_, after) = rest.split_once(&end(name))?;
    Some(format!(
        "{before}{}\n{}\n{}{after}",
        begin(name),
        part.trim(),
        end(name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n";
        let new = replace(text, "x", "new\n").expect("the part is there");
        assert_eq!(new, "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n");
        assert_eq!(replace(text, "y", "new"), None);
    }
}
