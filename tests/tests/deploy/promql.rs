//! Do alerts and dashboard ask for metrics and labels that there are? Their expressions are taken apart into
//! words; docs/metrics.md says what there is.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use lb_tests::metrics_page::{Metrics, documented};
use serde_json::Value;

use crate::files::{documents, text};

/// Labels that Prometheus gives to whatever it collects.
const OF_TARGETS: [&str; 2] = ["instance", "job"];
/// What Prometheus says itself of each target.
const UP: &str = "up";
/// Words of the language besides functions, which parentheses follow.
const KEYWORDS: [&str; 8] = [
    "and", "or", "unless", "bool", "offset", "inf", "nan", "atan2",
];
/// Words that labels follow, in parentheses.
const BEFORE_LABELS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// What an expression asks for.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    /// Metrics, with the labels that are compared.
    metrics: Vec<(String, BTreeSet<String>)>,
    /// Labels that it groups by.
    groups: BTreeSet<String>,
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == ':'
}

/// Without what stands in quotation marks, and without ranges (`[5m]`).
fn bare(expression: &str) -> String {
    let mut bare = String::new();
    let mut inside = None;
    for char in expression.chars() {
        match inside {
            Some(end) if char == end => inside = None,
            Some(_) => {}
            None if char == '"' || char == '\'' => inside = Some(char),
            None if char == '[' => inside = Some(']'),
            None => bare.push(char),
        }
    }
    bare
}

/// What is between parentheses or braces that this text begins with, and what follows.
fn enclosed(text: &str, [begin, end]: [char; 2]) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix(begin)?.split_once(end)
}

fn words(text: &str) -> BTreeSet<String> {
    let words = text
        .split(|char| !is_word(char))
        .filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn asked(expression: &str) -> Result<Asked> {
    let expression = bare(expression);
    let mut asked = Asked::default();
    let mut rest = &*expression;
    while let Some(begin) = rest.find(is_word) {
        let end = rest[begin..].find(|char| !is_word(char));
        let end = end.map_or(rest.len(), |length| begin + length);
        let word = &rest[begin..end];
        rest = &rest[end..];
        if BEFORE_LABELS.contains(&word) {
            let (labels, after) = enclosed(rest, ['(', ')']).context("no labels")?;
            asked.groups.extend(words(labels));
            rest = after;
            continue;
        }
        let next = rest.trim_start();
        let is_call =
            next.starts_with('(') || ["by", "without"].iter().any(|word| next.starts_with(word));
        let is_number = word.starts_with(|char: char| char.is_ascii_digit());
        if is_call || is_number || KEYWORDS.contains(&&*word.to_lowercase()) {
            continue;
        }
        let mut labels = BTreeSet::new();
        if let Some((matchers, after)) = enclosed(rest, ['{', '}']) {
            labels = words(matchers);
            rest = after;
        }
        asked.metrics.push((word.to_owned(), labels));
    }
    Ok(asked)
}

/// What of it there is not.
fn unknown(asked: &Asked, documented: &Metrics) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut all: BTreeSet<_> = OF_TARGETS.map(str::to_owned).into();
    for (metric, labels) in &asked.metrics {
        let histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| metric.strip_suffix(end));
        let histogram = histogram.and_then(|name| documented.get(name));
        let mut known = match documented.get(metric).or(histogram) {
            Some(labels) => labels.clone(),
            None if metric == UP => BTreeSet::new(),
            None => {
                unknown.push(metric.clone());
                continue;
            }
        };
        known.extend(OF_TARGETS.map(str::to_owned));
        if metric.ends_with("_bucket") {
            known.insert("le".to_owned());
        }
        unknown.extend(
            labels
                .difference(&known)
                .map(|label| format!("{metric}{{{label}}}")),
        );
        all.extend(known);
    }
    unknown.extend(asked.groups.difference(&all).cloned());
    unknown
}

/// All texts under this key, wherever it is.
fn all<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                found.extend(value.as_str().filter(|_| name == key));
                all(value, key, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                all(item, key, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_metric_and_label_that_is_asked_for_is_documented() -> Result<()> {
    let documented = documented()?;
    for (file, enough) in [
        ("prometheus/alerts.yaml", 8),
        ("grafana/dashboard.json", 18),
    ] {
        let documents = documents(&text(file)?)?;
        let mut expressions = Vec::new();
        for document in &documents {
            all(document, "expr", &mut expressions);
        }
        ensure!(expressions.len() >= enough, "{file}: {expressions:?}");
        for expression in expressions {
            let asked = asked(expression).with_context(|| expression.to_owned())?;
            ensure!(!asked.metrics.is_empty(), "{file}: {expression}");
            let unknown = unknown(&asked, &documented);
            ensure!(
                unknown.is_empty(),
                "{file}: {expression}: docs/metrics.md has no {unknown:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn what_is_asked_for_is_found_in_expressions() -> Result<()> {
    let documented = documented()?;
    for (expression, expected) in [
        (
            "lb_ready == 0 and up{job=\"lb\"} > 0.5 or 1e3 * lb_services",
            &[][..],
        ),
        ("lb_reddy{instance=~\"$instance\"} == 0", &["lb_reddy"]),
        (
            "increase(lb_map_writes_total{outcome=\"failed\"}[5m]) > 0",
            &["lb_map_writes_total{outcome}"],
        ),
        ("sum by (instance, kinds) (lb_problems) > 0", &["kinds"]),
        (
            "sum(rate(lb_drops_total[$__rate_interval])) by (reason, le)",
            &["le"],
        ),
        (
            "histogram_quantile(0.9, sum by (le) (rate(kubeproxy_network_programming_duration_seconds_bucket[5m])))",
            &[],
        ),
        (
            "lb_map_elements / on (map, instance) group_left (x) lb_map_max_elements",
            &["x"],
        ),
    ] {
        let unknown = unknown(&asked(expression)?, &documented);
        ensure!(unknown == expected, "{expression}: {unknown:?}");
    }
    Ok(())
}
