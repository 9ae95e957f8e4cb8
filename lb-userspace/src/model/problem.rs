//! What is wrong with an object, and what to do about it? One bad object never stops the others.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ObjectName;

/// Something that is not served as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// What it is about.
    pub object: Object,
    /// Path of the field, as `spec.ports[0].nodePort`; empty = the whole object.
    pub field: String,
    /// What is wrong, what follows and what to do, as a sentence.
    pub why: String,
    /// Where it is written, if it is in a file.
    pub place: Option<Place>,
}

/// An object of the API, or a thing of this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// Kind, as `Service`, `EndpointSlice`, `File`, `Link`.
    pub kind: String,
    /// Namespace and name.
    #[serde(flatten)]
    pub name: ObjectName,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line, counted from 1.
    pub line: u32,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line }) = &self.place {
            write!(f, "{}:{line}: ", file.display())?;
        }
        write!(f, "{} {}", self.object.kind, self.object.name)?;
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.why)
    }
}
