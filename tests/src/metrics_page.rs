//! Which metrics does docs/metrics.md name, and with which labels? What is answered, and what alerts and
//! dashboards ask for, is compared with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Metrics and their labels.
pub type Metrics = BTreeMap<String, BTreeSet<String>>;

/// What the page says.
///
/// # Errors
/// It cannot be read, or a row of its tables is not understood.
pub fn documented() -> Result<Metrics> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let metrics = read(&page)?;
    ensure!(metrics.len() > 20, "{metrics:?}");
    Ok(metrics)
}

/// The metrics in the first cells of tables whose heading is `metric`.
fn read(page: &str) -> Result<Metrics> {
    let mut metrics = Metrics::new();
    let (mut is_table, mut above) = (false, BTreeSet::new());
    for line in page.lines() {
        let cell = line
            .strip_prefix("| ")
            .and_then(|rest| rest.split(" |").next());
        match cell {
            None => is_table = is_table && line.starts_with('|'),
            Some("metric") => is_table = true,
            Some(cell) if is_table => {
                for (name, labels) in names(cell, &above).with_context(|| cell.to_owned())? {
                    above.clone_from(&labels);
                    let is_new = metrics.insert(name, labels).is_none();
                    ensure!(is_new, "twice: {cell}");
                }
            }
            Some(_) => {}
        }
    }
    Ok(metrics)
}

/// ```a_{b,c}_d{e}`, `f{…,g}` ``: braces within a name are several names, those at its end are labels, and `…`
/// stands for those of the metric before.
fn names(cell: &str, above: &BTreeSet<String>) -> Result<Vec<(String, BTreeSet<String>)>> {
    let mut all = Vec::new();
    let mut above = above.clone();
    for (place, word) in cell.split('`').enumerate() {
        if place % 2 == 0 {
            continue;
        }
        let (name, labels) = match word
            .strip_suffix('}')
            .and_then(|word| word.rsplit_once('{'))
        {
            Some((name, labels)) => (name, labels),
            None => (word, ""),
        };
        let mut set = BTreeSet::new();
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            if label == "…" {
                set.extend(above.iter().cloned());
            } else {
                set.insert(label.to_owned());
            }
        }
        above.clone_from(&set);
        let names = match name.split_once('{') {
            Some((before, rest)) => {
                let (several, after) = rest.split_once('}').context("no end of the braces")?;
                let several = several.split(',');
                several.map(|one| format!("{before}{one}{after}")).collect()
            }
            None => vec![name.to_owned()],
        };
        all.extend(names.into_iter().map(|name| (name, set.clone())));
    }
    ensure!(!all.is_empty(), "no metric");
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_name_metrics_and_labels() {
        let page = "| path | |\n|---|---|\n| `/a` | |\n\n| metric | |\n|---|---|\n| `a_{b,c}_d{x,y}` | e |\n\
                    | `f{…}`, `g{…,z}` | `h` |\nEnd `i`.\n";
        let metrics = read(page).expect("metrics");
        let shown: Vec<_> = metrics
            .iter()
            .map(|(name, labels)| {
                format!(
                    "{name} {}",
                    labels.iter().map(String::as_str).collect::<String>()
                )
            })
            .collect();
        assert_eq!(shown, ["a_b_d xy", "a_c_d xy", "f xy", "g xyz"]);
    }
}
