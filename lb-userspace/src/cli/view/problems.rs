//! What is not served as it was written, and why?

use serde::Serialize;

use super::{Column, Record, column};
use crate::model::{ObjectName, Problem};
use crate::state::State;

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ProblemRecord(pub Problem);

/// All problems, sorted.
#[must_use]
pub fn problems(state: &State) -> Vec<ProblemRecord> {
    let mut records: Vec<_> = state.problems.iter().cloned().map(ProblemRecord).collect();
    records.sort();
    records
}

impl Record for ProblemRecord {
    const KIND: &'static str = "problem";
    const COLUMNS: &'static [Column<Self>] = &[
        column("OBJECT", |problem| {
            let object = &problem.0.object;
            format!("{}/{}", object.kind.to_lowercase(), object.name.name)
        }),
        column("FIELD", |problem| problem.0.field.clone()),
        column("WRITTEN-IN", |problem| {
            problem.0.place.as_ref().map_or_else(String::new, |place| {
                format!("{}:{}", place.file.display(), place.line)
            })
        }),
        column("PROBLEM", |problem| problem.0.why.clone()),
    ];

    fn object(&self) -> &ObjectName {
        &self.0.object.name
    }

    fn name(&self) -> String {
        self.0.object.name.name.to_string()
    }
}
